"""The folder that a soak runs in: the model, the footage, the configuration, and the evidence's small disk."""

from __future__ import annotations

import subprocess
from contextlib import suppress
from pathlib import Path

import cv2

from benchmarks.soaking.cameras import MjpegCamera, RtspCamera
from taintwatch.config.sections import Config
from tests.tiny_model import footage, write_model, write_video

__all__ = ["CAMERAS", "SoakSite"]

CAMERAS = ("rtsp", "mjpeg", "file", "sim")
EVIDENCE_MB = 16
SIM = "size=0.6&start=4&end=7&duration=10&loop=1&fps=10&width=160&height=120&motion=0.05"

CONFIG = """\
site = "soak"
[learn]
enabled = false
[model]
path = "{folder}/tiny.onnx"
device = "cpu"
threads = 1
[vote]
k = 3
n = 5
minimum_hold_s = 0.5
cool_down_s = 0.5
[publish]
bind = "tcp://127.0.0.1:{port}"
heartbeat_s = 0.5
status_s = 0.5
[metrics]
enabled = true
bind = "127.0.0.1:{metrics}"
[[camera]]
name = "rtsp"
source = "{rtsp}"
open_timeout_s = 10.0
read_timeout_s = 2.0
stale_after_s = 1.5
[[camera]]
name = "mjpeg"
source = "{mjpeg}"
open_timeout_s = 3.0
read_timeout_s = 2.0
stale_after_s = 1.5
[[camera]]
name = "file"
source = "{folder}/walk.mp4"
loop = true
realtime = true
[[camera]]
name = "sim"
source = "sim:{folder}/room.png?patch={folder}/magenta.png&{sim}"
stale_after_s = 1.5
"""
EVIDENCE = """\
[evidence]
folder = "{folder}/evidence"
clip_before_s = 1
clip_after_s = 1
max_mb = 8
min_free_mb = 1
replay = "tcp://127.0.0.1:{replay}"
"""
EXTRA_CAMERA = """\
[[camera]]
name = "extra"
source = "sim:{folder}/room.png?fps=5&width=160&height=120&loop=1"
"""


class SoakSite:
    """Everything that the daemon needs, made on the spot; a small disk for the evidence where that may be mounted."""

    def __init__(
        self, folder: Path, rtsp: RtspCamera, mjpeg: MjpegCamera, port: int, replay_port: int, metrics_port: int
    ) -> None:
        self.folder = folder
        self.config = folder / "soak.toml"
        self.evidence = folder / "evidence"
        self.endpoint = f"tcp://127.0.0.1:{port}"
        self.metrics = f"http://127.0.0.1:{metrics_port}"
        write_model(folder / "tiny.onnx")
        write_video(folder / "walk.mp4", footage(80, range(40, 60), (120, 160)), fps=10)
        for name, picture in (("room", footage(1, (), (240, 320))[0]), ("magenta", footage(1, (0,))[0])):
            cv2.imwrite(str(folder / f"{name}.png"), picture if name == "room" else picture[12:36, 16:40])
        self._text = CONFIG.format(
            folder=folder, port=port, metrics=metrics_port, rtsp=rtsp.url, mjpeg=mjpeg.url, sim=SIM
        ) + (EVIDENCE.format(folder=folder, replay=replay_port) if "evidence" in Config.model_fields else "")
        self.evidence.mkdir(mode=0o700)
        self.small_disk = self._mount()
        self.configure()

    def configure(self, *, extra_camera: bool = False, broken: bool = False) -> None:
        """Write the configuration: as it is, with one more camera, or with a mistake."""
        text = self._text + (EXTRA_CAMERA.format(folder=self.folder) if extra_camera else "")
        partial = self.config.with_suffix(".part")
        partial.write_text(text + ("[vote]\nk = 0\n" if broken else ""))
        partial.rename(self.config)

    def fill_disk(self) -> None:
        """Fill the evidence's disk to the last byte."""
        with suppress(OSError), self._ballast.open("wb") as file:
            while True:
                file.write(bytes(65_536))
                file.flush()

    def empty_disk(self) -> None:
        """Make room again."""
        self._ballast.unlink(missing_ok=True)

    def close(self) -> None:
        """Take the small disk away."""
        if self.small_disk:
            subprocess.run(["umount", "-l", str(self.evidence)], check=False, capture_output=True)

    @property
    def _ballast(self) -> Path:
        return self.evidence / "ballast"

    def _mount(self) -> bool:
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={EVIDENCE_MB}m,mode=700", "soak", str(self.evidence)],
            check=False,
            capture_output=True,
        )
        return done.returncode == 0
