"""Streams: MJPEG in its dialects, snapshots, HLS and other formats over HTTP, UDP, RTSP, and cameras that refuse."""

from __future__ import annotations

import functools
import http.server
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np

from benchmarks.soaking.cameras import RtspCamera
from benchmarks.sources.files import encoded, material
from benchmarks.sources.input_case import InputCase, Maker
from benchmarks.sources.servers import DIALECTS, Serve, http_server, mjpeg, protected, snapshots
from tests.ports import free_port

__all__ = ["stream_cases"]

_UNTIL = ("--max-frames", "15")
_LIVE = ("-c:v", "libx264", "-preset", "veryfast", "-g", "10")


def _server(serve: Callable[[], Serve], path: str = "/", user: str = "") -> Maker:
    @contextmanager
    def make(folder: Path) -> Iterator[str]:
        with http_server(serve(), path, user) as url:
            yield url

    return make


def _http_cases() -> list[InputCase]:
    cases = [
        InputCase(f"MJPEG, {name}", "MJPEG", _server(functools.partial(mjpeg, dialect), "/video.mjpg"), None, 1,
             bad=4 if "cut" in name else 0, options=_UNTIL)
        for name, dialect in DIALECTS.items()
    ]  # fmt: skip
    book, secret = DIALECTS["by the book"], "admin:p%2Fa%23s%40s@"
    cases.append(InputCase("MJPEG, chunked", "MJPEG", _chunked, None, 1, options=_UNTIL))
    for scheme in ("basic", "MD5", "SHA-256"):
        serve = functools.partial(protected, mjpeg(book), scheme)
        cases.append(
            InputCase(f"MJPEG, password ({scheme})", "MJPEG", _server(serve, "/", secret), None, 1, options=_UNTIL)
        )
    fast = (*_UNTIL, "--snapshot-interval", "0.1")
    once = functools.partial(mjpeg, book, limit=1)
    with_etag, cut = functools.partial(snapshots, etag=True), functools.partial(snapshots, cut=True)
    few, six = ("--max-frames", "5", "--snapshot-interval", "0.1"), ("--max-frames", "6")
    cases += [
        InputCase("MJPEG, one picture a connection", "MJPEG", _server(once), None, 1, options=six, slow=True),
        InputCase("snapshots", "snapshot", _server(snapshots), None, 1, options=fast),
        InputCase("snapshots with ETag", "snapshot", _server(with_etag), None, 1, options=fast),
        InputCase("every third snapshot cut to a third", "snapshot", _server(cut), None, 1, bad=4, options=fast,
             says="cut short"),
        InputCase("every other snapshot of 16,000 x 16,000", "snapshot", _huge, None, 0, bad=3, options=few,
             says="more than the 64 million", slow=True),
    ]  # fmt: skip
    return cases


@contextmanager
def _chunked(folder: Path) -> Iterator[str]:
    serve = mjpeg(DIALECTS["by the book"], chunked=True)
    with http_server(serve, "/", protocol="HTTP/1.1") as url:
        yield url


@contextmanager
def _huge(folder: Path) -> Iterator[str]:
    big, small = (
        bytes(cv2.imencode(".jpg", np.full((side, side, 3), 90, np.uint8))[1].tobytes()) for side in (16_000, 480)
    )
    with http_server(snapshots(data=lambda number: (big, small)[number % 2])) as url:
        yield url


def _file_over_http(name: str, *options: str) -> Maker:
    @contextmanager
    def make(folder: Path) -> Iterator[str]:
        words = ["ffmpeg", "-v", "error", "-y", "-i", str(encoded(*_LIVE)), "-c", "copy", *options, str(folder / name)]
        subprocess.run(words, check=True)
        handler = functools.partial(_QuietFiles, directory=str(folder))
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}/{name}"
        server.shutdown()
        server.server_close()

    return make


class _QuietFiles(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base's name
        pass


def _sending(url: str, *target: str) -> Maker:
    """ffmpeg sends the clip at its own speed, again and again, to `target`; `url` is where it is watched.

    `{port}` stands for a free port in both.
    """

    @contextmanager
    def make(folder: Path) -> Iterator[str]:
        port = free_port()
        words = ["ffmpeg", "-v", "error", "-re", "-stream_loop", "-1", "-i", str(material() / "attack.mkv")]
        words += ["-c:v", "libx264", "-g", "10", "-preset", "ultrafast", "-tune", "zerolatency"]
        words += [word.format(port=port) for word in target]
        with subprocess.Popen(words, stdin=subprocess.DEVNULL) as sender:
            time.sleep(1.0)
            yield url.format(port=port)
            sender.kill()

    return make


@contextmanager
def _rtsp(folder: Path) -> Iterator[str]:
    camera = RtspCamera()
    camera.start()
    try:
        yield camera.url
    finally:
        camera.kill()


def _transport_cases() -> list[InputCase]:
    most, live = ("--max-frames", "30"), ("--max-frames", "80")
    udp = "udp://127.0.0.1:{port}", "-f", "mpegts", "udp://127.0.0.1:{port}?pkt_size=1316"
    tcp = "tcp://127.0.0.1:{port}", "-f", "mpegts", "tcp://127.0.0.1:{port}?listen"
    rtmp = "rtmp://127.0.0.1:{port}/live/door", "-f", "flv", "-listen", "1", "rtmp://127.0.0.1:{port}/live/door"
    hls = ("-hls_time", "2", "-hls_list_size", "0", "-f", "hls")
    return [
        InputCase("HLS", "transport", _file_over_http("a.m3u8", *hls), None, 1, options=most),
        InputCase("MPEG-TS over HTTP", "transport", _file_over_http("a.ts"), None, 0, options=("--max-frames", "3")),
        InputCase("FLV over HTTP", "transport", _file_over_http("a.flv"), None, 0, options=("--max-frames", "3")),
        InputCase("MPEG-TS over UDP", "transport", _sending(*udp), None, 1, options=live, slow=True),
        InputCase("MPEG-TS over TCP", "transport", _sending(*tcp), None, 1, options=live, slow=True),
        InputCase("RTMP", "transport", _sending(*rtmp), None, 1, options=live, slow=True),
        InputCase("RTSP over TCP", "transport", _rtsp, None, 0, options=("--max-frames", "10"), slow=True),
    ]


def _mistake(name: str, url: str, says: str) -> InputCase:
    @contextmanager
    def make(folder: Path) -> Iterator[str]:
        yield url

    return InputCase(name, "mistake", make, None, 0, says=says, exit=2)


def stream_cases() -> list[InputCase]:
    """Return every case of a stream."""
    mistakes = [
        _mistake("a raw / in the password", "rtsp://admin:pa/ss@camera.lan/live", "percent-encode it"),
        _mistake("a raw # in the password", "rtsp://admin:pa#ss@camera.lan/live", "percent-encode it"),
        _mistake("a raw ? in the password", "http://admin:pa?ss@camera.lan/live", "percent-encode it"),
        _mistake("a raw % in the password", "http://admin:pa%ss@camera.lan/live", "raw %; write it as %25"),
        _mistake("rtps://", "rtps://camera.lan/live", "scheme 'rtps' cannot be read: use http, https"),
        _mistake("no host", "rtsp:///live", "names no host"),
        _mistake("port 70000", "rtsp://camera.lan:70000/live", "there is no port 70000"),
    ]
    return [*_http_cases(), *_transport_cases(), *mistakes]
