"""Cameras that can be broken: an RTSP server in a process of its own, and an MJPEG server that misbehaves on demand."""

from __future__ import annotations

import http.server
import itertools
import random
import subprocess
import threading
from enum import StrEnum
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from tests.ports import free_port
from tests.tiny_model import footage

__all__ = ["MjpegCamera", "Mode", "RtspCamera"]

SYSTEM_PYTHON = "/usr/bin/python3"
FPS = 10
PERIOD, ATTACKED = 80, range(40, 60)  # frames of a round, and those of it that show the attack


class RtspCamera:
    """GStreamer's RTSP server."""

    def __init__(self) -> None:
        self.port = free_port()
        self._process: subprocess.Popen[str] | None = None

    @property
    def url(self) -> str:
        return f"rtsp://127.0.0.1:{self.port}/live"

    def start(self) -> None:
        """Start it and wait until it listens. Raises `RuntimeError` where GStreamer is missing."""
        script = Path(__file__).with_name("rtsp_server.py")
        self._process = subprocess.Popen(
            [SYSTEM_PYTHON, str(script), str(self.port)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        if self._process.stdout is None or self._process.stdout.readline().strip() != "ready":
            raise RuntimeError(
                "GStreamer's RTSP server does not start; apt-get install gir1.2-gst-rtsp-server-1.0 python3-gi "
                "gstreamer1.0-plugins-good gstreamer1.0-plugins-bad gstreamer1.0-plugins-ugly"
            )

    def kill(self) -> None:
        """Kill it."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None


class Mode(StrEnum):
    """How the MJPEG camera behaves."""

    GOOD = "good"
    LARGE = "large"
    """The same in another resolution."""
    SILENT = "silent"
    """Takes connections, holds them, and says nothing: a black hole."""
    TRUNCATED = "truncated"
    """Hangs up in the middle of a picture."""
    GARBAGE = "garbage"
    """Sends random bytes for pictures."""


class MjpegCamera:
    """An MJPEG server on loopback, in threads of this process; `mode` may be set at any time."""

    def __init__(self) -> None:
        self.mode = Mode.GOOD
        self._ended = threading.Event()
        pictures = {
            Mode.GOOD: [_jpeg(picture) for picture in footage(PERIOD, ATTACKED, (120, 160))],
            Mode.LARGE: [_jpeg(picture) for picture in footage(PERIOD, ATTACKED, (240, 320))],
        }
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), self._handler(pictures))
        self._server.daemon_threads = True
        self._server.block_on_close = False
        threading.Thread(target=self._server.serve_forever, name="mjpeg", daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://operator:not-for-logs@127.0.0.1:{self._server.server_address[1]}/video.mjpg"

    def close(self) -> None:
        """Stop serving."""
        self._ended.set()
        self._server.shutdown()
        self._server.server_close()

    def _handler(self, pictures: dict[Mode, list[bytes]]) -> type[http.server.BaseHTTPRequestHandler]:
        camera = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                try:
                    if camera.mode is not Mode.SILENT:
                        self._stream()
                    while camera.mode is Mode.SILENT and not camera._ended.wait(0.1):
                        pass
                except OSError:
                    pass  # the daemon hung up

            def _stream(self) -> None:
                self.send_response(200)
                self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
                self.end_headers()
                noise = random.Random(0)  # noqa: S311 - garbage, not a secret
                for index in itertools.count():
                    mode = camera.mode
                    if mode is Mode.SILENT or camera._ended.wait(1 / FPS):
                        return
                    good = pictures[Mode.LARGE if mode is Mode.LARGE else Mode.GOOD][index % PERIOD]
                    data = noise.randbytes(2000) if mode is Mode.GARBAGE else good
                    head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(data)}\r\n\r\n".encode()
                    if mode is Mode.TRUNCATED:
                        self.wfile.write(head + data[: len(data) // 2])
                        return
                    self.wfile.write(head + data + b"\r\n")

            def log_message(self, *args: Any) -> None:
                pass

        return Handler


def _jpeg(picture: NDArray[np.uint8]) -> bytes:
    ok, data = cv2.imencode(".jpg", picture)
    if not ok:
        raise RuntimeError("OpenCV cannot write JPEG")
    return bytes(data.tobytes())
