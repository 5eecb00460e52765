"""Cameras with a certificate of their own: `tls_verify` and `tls_ca`, for each way in which a stream is read."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from taintwatch.sources.factory import open_source
from taintwatch.sources.source import SourceSettings
from taintwatch_models.errors import SourceError
from tests.rtsp_server import running_rtsp_server
from tests.tls_files import own_certificate, server_context

WAYS = {
    "MJPEG": SourceSettings(),
    "libav": SourceSettings(input_format="mpjpeg"),
    "rtsps": SourceSettings(read_timeout_s=2.0),
}


@contextmanager
def https_camera(certificate: Path) -> Iterator[str]:
    """Yield the address of an MJPEG camera."""
    jpeg = bytes(cv2.imencode(".jpg", np.full((48, 64, 3), 128, np.uint8))[1].tobytes())
    part = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(jpeg)}\r\n\r\n".encode() + jpeg + b"\r\n"

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
            self.end_headers()
            self.wfile.write(part * 40)

        def log_message(self, *args: Any) -> None:
            pass

    class Server(http.server.ThreadingHTTPServer):
        def handle_error(self, *given: Any) -> None:
            pass  # a client that does not trust us hangs up

    with Server(("127.0.0.1", 0), Handler) as server:
        server.socket = server_context(certificate).wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        yield f"https://127.0.0.1:{server.server_address[1]}/video.mjpg"
        server.shutdown()
        thread.join()


@contextmanager
def camera(way: str, certificate: Path) -> Iterator[str]:
    if way == "rtsps":
        with running_rtsp_server(certificate=certificate) as server:
            yield server.url()
    else:
        with https_camera(certificate) as url:
            yield url


def watch(url: str, settings: SourceSettings) -> None:
    source = open_source(url, settings)
    try:
        source.open()
        grab = source.read()
    finally:
        source.close()
    assert grab is not None
    assert grab.image.shape == (48, 64, 3)


@pytest.mark.filterwarnings("ignore::urllib3.exceptions.InsecureRequestWarning")  # pytest has its own filters
@pytest.mark.parametrize("way", WAYS)
def test_without_tls_verify_any_certificate_is_taken_and_the_log_says_so(
    way: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with camera(way, own_certificate(tmp_path)) as url, caplog.at_level("INFO", "taintwatch"):
        watch(url, WAYS[way])
    assert caplog.text.count("its certificate is not verified; set tls_verify to have it verified") == 1


@pytest.mark.parametrize("way", WAYS)
def test_with_tls_verify_a_certificate_that_nobody_vouches_for_is_refused(way: str, tmp_path: Path) -> None:
    settings = replace(WAYS[way], tls_verify=True)
    with (
        camera(way, own_certificate(tmp_path)) as url,
        pytest.raises(SourceError, match="its certificate cannot be verified; give tls_ca, or leave out tls_verify"),
    ):
        watch(url, settings)
    other = own_certificate(tmp_path, "other")
    with camera(way, own_certificate(tmp_path)) as url, pytest.raises(SourceError, match="cannot be verified"):
        watch(url, replace(settings, tls_ca=str(other)))


@pytest.mark.parametrize("way", WAYS)
def test_with_tls_ca_the_certificate_that_it_vouches_for_is_taken(
    way: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    certificate = own_certificate(tmp_path)
    with camera(way, certificate) as url, caplog.at_level("INFO", "taintwatch"):
        watch(url, replace(WAYS[way], tls_verify=True, tls_ca=str(certificate)))
    assert "not verified" not in caplog.text
