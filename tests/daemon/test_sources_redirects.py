"""A camera sends us to itself only: no other service of this machine, or of its network, is asked on its behalf."""

from __future__ import annotations

import http.server

import pytest

from benchmarks.sources.servers import Serve, http_server, snapshots
from taintwatch.sources.http_camera import HttpSource
from taintwatch.sources.source import SourceSettings
from taintwatch.sources.url import is_same_camera
from taintwatch_models.errors import SourceError


@pytest.mark.parametrize(
    ("origin", "target", "same"),
    [
        ("http://camera/a", "http://camera/b", True),
        ("http://camera:8080/a", "http://camera:8080/b?c", True),
        ("http://camera:8080/a", "https://camera/b", True),
        ("http://camera/a", "http://camera:22/b", False),
        ("http://camera/a", "http://other/b", False),
        ("http://camera/a", "file:///etc/passwd", False),
        ("http://camera/a", "http://camera:99999/", False),
        ("http://127.0.0.1:8080/a", "http://127.0.0.1:8080/b", True),
        ("http://127.0.0.1:8080/a", "http://127.0.0.1/", False),
        ("http://127.0.0.1:8080/a", "http://127.0.0.1:6379/", False),
        ("http://[::1]:8080/a", "http://[::1]:80/", False),
    ],
)
def test_the_same_host_at_its_port_or_the_usual_ones_is_the_camera(origin: str, target: str, same: bool) -> None:
    assert is_same_camera(origin, target) is same


def redirect(target: str) -> Serve:
    def serve(handler: http.server.BaseHTTPRequestHandler) -> None:
        handler.send_response(302)
        handler.send_header("Location", target)
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    return serve


def playlist(text: str) -> Serve:
    def serve(handler: http.server.BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Type", "application/vnd.apple.mpegurl")
        handler.send_header("Content-Length", str(len(text)))
        handler.end_headers()
        handler.wfile.write(text.encode())

    return serve


def opened(url: str) -> None:
    source = HttpSource(url, SourceSettings(open_timeout_s=5.0, read_timeout_s=5.0))
    try:
        source.open()
    finally:
        source.close()


def test_a_redirect_to_another_local_port_is_refused_and_that_port_hears_nothing() -> None:
    asked: list[str] = []

    def inner(handler: http.server.BaseHTTPRequestHandler) -> None:
        asked.append(handler.path)

    with (
        http_server(inner) as secret,
        http_server(redirect(f"{secret}/admin")) as camera,
        pytest.raises(SourceError, match="sends us elsewhere, to http://127"),
    ):
        opened(camera)
    assert asked == []


def test_a_redirect_within_the_camera_is_followed_and_a_circle_is_not() -> None:
    def serve(handler: http.server.BaseHTTPRequestHandler) -> None:
        (snapshots() if handler.path == "/now" else redirect("/now"))(handler)

    with http_server(serve) as camera:
        opened(camera)
    with http_server(redirect("/again")) as camera, pytest.raises(SourceError, match="round in circles"):
        opened(camera)


@pytest.mark.parametrize(
    "line",
    [
        '#EXT-X-KEY:METHOD=AES-128,URI="http://127.0.0.1:6379/key"',
        "http://127.0.0.1:6379/segment.ts",
        "//internal.example/segment.ts",
    ],
)
def test_a_playlist_that_names_another_service_is_refused(line: str) -> None:
    text = f"#EXTM3U\n#EXT-X-TARGETDURATION:2\n{line}\n#EXTINF:2,\nown.ts\n"
    with http_server(playlist(text)) as camera, pytest.raises(SourceError, match="names something elsewhere"):
        opened(camera)
