"""A camera of real footage behind an RTSP server, before which prints are held: a crafted patch, a busy poster."""

from __future__ import annotations

import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from benchmarks.held_print import HeldPrint
from taintwatch.sources.camera_model import SimulatedCamera
from tests.ports import free_port

__all__ = ["FootageCamera", "serving"]

SERVER = Path(__file__).parents[2] / "benchmarks" / "soaking" / "rtsp_server.py"
FPS = 12

Picture = NDArray[np.uint8]


class FootageCamera:
    """Plays footage to and fro through a camera model: its first half until `later` is called, then its second.

    A print before it is laid into the footage before the camera model makes its picture of both.
    """

    def __init__(self, footage: Path) -> None:
        with av.open(str(footage)) as container:
            decoded = (frame.to_ndarray(format="bgr24") for frame in container.decode(video=0))
            self._frames = [np.asarray(frame, np.uint8) for frame in decoded]
        self._model = SimulatedCamera(drift=0.02, noise=2.0)
        self._first, self._count, self._index = 0, len(self._frames) // 2, 0
        self.height, self.width = self._frames[0].shape[:2]
        self.shown: HeldPrint | None = None

    @property
    def seconds(self) -> float:
        """How long what is played lasts, once."""
        return self._count / FPS

    def later(self) -> None:
        """Go on with the second half."""
        self._first, self._count, self._index = self._count, len(self._frames) - self._count, 0

    def picture(self) -> Picture:
        """Return the next frame, (height, width, 3) BGR."""
        index, self._index = self._index, self._index + 1
        place = index % max(1, 2 * self._count - 2)
        picture = self._frames[self._first + min(place, 2 * self._count - 2 - place)].copy()
        shown = self.shown
        if shown is not None:
            shown.lay(picture, index)
        return self._model(picture, index)

    def give(self, process: subprocess.Popen[bytes]) -> None:
        """Give pictures at the camera's rate until the server ends."""
        due = time.monotonic()
        while process.stdin is not None:
            try:
                process.stdin.write(self.picture().tobytes())
                process.stdin.flush()
            except (OSError, ValueError):
                return
            due = max(due + 1 / FPS, time.monotonic() - 1)
            time.sleep(max(0.0, due - time.monotonic()))


@contextmanager
def serving(camera: FootageCamera) -> Iterator[str]:
    """Serve a camera over RTSP, by GStreamer; give its address."""
    port = free_port()
    words = ["/usr/bin/python3", str(SERVER), str(port), str(camera.width), str(camera.height), str(FPS)]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        if process.stdout.readline() != b"ready\n":
            pytest.skip("the system's Python has no GStreamer RTSP server (gir1.2-gst-rtsp-server-1.0)")
        threading.Thread(target=camera.give, args=(process,), daemon=True).start()
        try:
            yield f"rtsp://127.0.0.1:{port}/live"
        finally:
            process.kill()
