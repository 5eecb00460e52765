"""What is besieged: a daemon with page, metrics, alerts, replay and evidence, and cameras of which two are hostile."""

from __future__ import annotations

import http.server
import json
import socketserver
import threading
import time
import urllib.error
import urllib.request
from functools import cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from benchmarks.soaking.cameras import MjpegCamera
from tests.ports import free_port
from tests.tiny_model import footage, write_model, write_video

__all__ = ["TOKEN", "HugeCamera", "SiegeSite"]

TOKEN = "correct-horse-battery"  # noqa: S105 (opens nothing but the siege's own page)
SIM = "size=0.6&start=4&end=7&duration=10&loop=1&fps=10&width=160&height=120&motion=0.05"
HUGE = 16_000  # pixels a side
CONFIG = """\
site = "siege"
[model]
path = "{folder}/tiny.onnx"
device = "cpu"
threads = 1
{calibration}[learn]
folder = "{folder}/state"
minutes = 1
frames = 125
[vote]
k = 3
n = 5
minimum_hold_s = 0.5
cool_down_s = 0.5
[publish]
bind = "tcp://127.0.0.1:{alerts}"
heartbeat_s = 0.5
status_s = 0.5
[evidence]
folder = "{folder}/evidence"
clip_before_s = 1
clip_after_s = 1
max_mb = 3
replay = "tcp://127.0.0.1:{replay}"
[metrics]
enabled = true
bind = "127.0.0.1:{metrics}"
[web]
bind = "127.0.0.1:{page}"
token_file = "{folder}/page.token"
trials = "{folder}/trials"
[[camera]]
name = "door"
source = "sim:{folder}/room.png?patch={folder}/magenta.png&{sim}"
[[camera]]
name = "decoy"
source = "{folder}/walk.mp4"
loop = true
realtime = true
[[camera]]
name = "mjpeg"
source = "{mjpeg}"
read_timeout_s = 2.0
stale_after_s = 1.5
[[camera]]
name = "huge"
source = "{huge}"
read_timeout_s = 5.0
"""


class SiegeSite:
    """Everything that the daemon needs, made on the spot, and its owner's way to the page."""

    def __init__(self, folder: Path, mjpeg: MjpegCamera, huge: HugeCamera) -> None:
        self.folder = folder
        self.config = folder / "siege.toml"
        self.ports = {name: free_port() for name in ("alerts", "replay", "metrics", "page")}
        self._urls = {"mjpeg": mjpeg.url, "huge": huge.url}
        self.endpoint = f"tcp://127.0.0.1:{self.ports['alerts']}"
        self.replay = f"tcp://127.0.0.1:{self.ports['replay']}"
        write_model(folder / "tiny.onnx")
        write_video(folder / "walk.mp4", footage(80, range(40, 60), (120, 160)), fps=10)
        for name, picture in (("room", footage(1, (), (240, 320))[0]), ("magenta", footage(1, (0,))[0])):
            cv2.imwrite(str(folder / f"{name}.png"), picture if name == "room" else picture[12:36, 16:40])
        (folder / "page.token").touch(0o600)
        (folder / "page.token").write_text(TOKEN)
        (folder / "trials").mkdir()
        (folder / "evidence").mkdir(mode=0o700)
        self.configure()

    def configure(self, calibration: Path | None = None) -> None:
        """Write the configuration, with a calibration where one is given."""
        line = "" if calibration is None else f'calibration = "{calibration}"\n'
        text = CONFIG.format(folder=self.folder, sim=SIM, calibration=line, **self.ports, **self._urls)
        partial = self.config.with_suffix(".part")
        partial.write_text(text)
        partial.rename(self.config)

    def ask(self, path: str, body: dict[str, Any] | None = None, timeout_s: float = 60.0, **headers: str) -> Any:
        """Ask the page as its owner does; return the JSON. Raises `OSError`."""
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.ports['page']}{path}",
            None if body is None else json.dumps(body).encode(),
            {"Authorization": f"Bearer {TOKEN}"} | {name.replace("_", "-"): value for name, value in headers.items()},
        )
        with urllib.request.urlopen(request, timeout=timeout_s) as answer:  # noqa: S310 (our own address)
            return json.loads(answer.read())

    def healthy(self) -> bool:
        """Whether monitoring is told that all is well."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.ports['metrics']}/healthz", timeout=10) as answer:
                return bool(answer.status == 200)
        except urllib.error.HTTPError:
            return False

    def pin(self) -> str:
        """Acknowledge the last ended alert of the door and write a note to it; return its id."""
        while True:
            known = self.ask("/api/alerts?camera=door&state=cleared")
            if known and self.ask(f"/api/alerts/{known[0]['event_id']}")["files"]:
                break
            time.sleep(0.5)
        event_id = str(known[0]["event_id"])
        csrf = str(self.ask("/api/about")["csrf"])
        self.ask(f"/api/alerts/{event_id}/acknowledge", {"acknowledged": True}, x_taintwatch_csrf=csrf)
        self.ask(f"/api/alerts/{event_id}/note", {"note": "keep this"}, x_taintwatch_csrf=csrf)
        return event_id

    def is_intact(self, event_id: str) -> bool:
        """Whether a pinned alert still has its pictures and its note."""
        alert = self.ask(f"/api/alerts/{event_id}")
        return {"frame", "overlay"} <= set(alert["files"]) and alert["note"] == "keep this"


class HugeCamera:
    """An MJPEG camera whose pictures are small files and enormous pictures."""

    def __init__(self) -> None:
        class Handler(http.server.BaseHTTPRequestHandler):
            def log_message(self, *_: object) -> None:
                return

            def do_GET(self) -> None:
                self.send_response(200)
                self.send_header("Content-Type", "multipart/x-mixed-replace;boundary=f")
                self.end_headers()
                picture = _huge_jpeg()
                try:
                    while True:
                        head = f"--f\r\nContent-Type: image/jpeg\r\nContent-Length: {len(picture)}\r\n\r\n"
                        self.wfile.write(head.encode() + picture + b"\r\n")
                        camera.sent += 1
                        time.sleep(0.5)
                except OSError:
                    return

        class Server(socketserver.ThreadingMixIn, http.server.HTTPServer):
            daemon_threads = True

        camera = self
        self.sent = 0
        self._server = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/huge.mjpg"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        """Stop serving."""
        self._server.shutdown()
        self._server.server_close()


@cache
def _huge_jpeg() -> bytes:
    _, encoded = cv2.imencode(".jpg", np.zeros((HUGE, HUGE, 3), np.uint8), [cv2.IMWRITE_JPEG_QUALITY, 1])
    return bytes(encoded.tobytes())
