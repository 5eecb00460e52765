"""Cameras on loopback: HTTP in many dialects, and RTSP servers that refuse in many ways."""

from __future__ import annotations

import hashlib
import http.server
import re
import socket
import socketserver
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from itertools import count, cycle
from typing import Any

from tests.clips import attack_jpegs

__all__ = ["DIALECTS", "MjpegDialect", "Serve", "http_server", "mjpeg", "protected", "rtsp_answer", "snapshots"]

Serve = Callable[[http.server.BaseHTTPRequestHandler], None]
PACE_S = 0.07


@lru_cache(maxsize=1)
def pictures() -> list[bytes]:
    """Return the scene's frames with the attack in them, as JPEG."""
    return attack_jpegs()


@contextmanager
def http_server(serve: Serve, path: str = "/", user: str = "", protocol: str = "HTTP/1.0") -> Iterator[str]:
    """Yield the address of a server that answers every request with `serve`."""

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = protocol

        def do_GET(self) -> None:
            try:
                serve(self)
            except OSError:
                return

        def log_message(self, *args: Any) -> None:
            pass

    pictures()  # drawn before anybody waits for them
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield f"http://{user}127.0.0.1:{server.server_address[1]}{path}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


_MIXED = "multipart/x-mixed-replace; boundary=frame"


class MjpegDialect:
    """How a server frames its pictures: its Content-Type header (None: it sends none) and one part."""

    def __init__(
        self,
        part: Callable[[bytes, int], bytes],
        content_type: str | None = _MIXED,
    ) -> None:
        self.part, self.content_type = part, content_type


def _part(head: str, tail: str = "\r\n") -> Callable[[bytes, int], bytes]:
    def part(jpeg: bytes, number: int) -> bytes:
        return head.format(length=len(jpeg), short=len(jpeg) // 2).encode() + jpeg + tail.encode()

    return part


def _no_first_boundary(jpeg: bytes, number: int) -> bytes:
    """An ESP32's: the boundary stands behind each picture, without dashes, and lines end in LF."""
    return b"\n" + jpeg + b"\nframe\n"


def _with_text(jpeg: bytes, number: int) -> bytes:
    text = b"--frame\r\nContent-Type: text/plain\r\n\r\nmotion=0\r\n"
    return text + b"--frame\r\nContent-Type: image/jpeg\r\nX-Timestamp: 12.5\r\n\r\n" + jpeg + b"\r\n"


def _every_third_cut(jpeg: bytes, number: int) -> bytes:
    shown = jpeg[: len(jpeg) // 3] if number % 3 == 2 else jpeg
    return f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(shown)}\r\n\r\n".encode() + shown + b"\r\n"


_LF = "--frame\nContent-Type: image/jpeg\nContent-Length: {length}\n\n"
DIALECTS: dict[str, MjpegDialect] = {
    "by the book": MjpegDialect(_part("--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {length}\r\n\r\n")),
    "no Content-Length": MjpegDialect(_part("--frame\r\nContent-Type: image/jpeg\r\n\r\n")),
    "no Content-Type of the parts": MjpegDialect(_part("--frame\r\nContent-Length: {length}\r\n\r\n")),
    "no headers of the parts": MjpegDialect(_part("--frame\r\n\r\n")),
    "lines end in LF": MjpegDialect(_part(_LF, "\n")),
    "boundary without dashes": MjpegDialect(_part("frame\r\nContent-Type: image/jpeg\r\n\r\n")),
    "dashes in the header": MjpegDialect(
        _part("--frame\r\nContent-Type: image/jpeg\r\n\r\n"), "multipart/x-mixed-replace; boundary=--frame"
    ),
    "quoted boundary": MjpegDialect(
        _part("--a b\r\nContent-Type: image/jpeg\r\n\r\n"), 'multipart/x-mixed-replace; boundary="a b"'
    ),
    "another boundary than announced": MjpegDialect(_part("--other\r\nContent-Type: image/jpeg\r\n\r\n")),
    "Content-Length too short": MjpegDialect(
        _part("--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {short}\r\n\r\n")
    ),
    "no first boundary, no dashes, LF (ESP32)": MjpegDialect(_no_first_boundary),
    "text parts between": MjpegDialect(_with_text),
    "JPEG after JPEG": MjpegDialect(_part("", ""), "application/octet-stream"),
    "no Content-Type at all": MjpegDialect(_part("--frame\r\n\r\n"), None),
    "every third picture cut to a third": MjpegDialect(_every_third_cut),
}


def mjpeg(dialect: MjpegDialect, *, limit: int | None = None, chunked: bool = False) -> Serve:
    """Return what serves the attack's frames over and over; `limit`: it hangs up after so many."""

    def serve(handler: http.server.BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        if dialect.content_type is not None:
            handler.send_header("Content-Type", dialect.content_type)
        if chunked:
            handler.send_header("Transfer-Encoding", "chunked")
        handler.end_headers()
        for number, jpeg in zip(count() if limit is None else range(limit), cycle(pictures()), strict=False):
            data = dialect.part(jpeg, number)
            handler.wfile.write(f"{len(data):x}\r\n".encode() + data + b"\r\n" if chunked else data)
            time.sleep(PACE_S)

    return serve


def snapshots(*, cut: bool = False, etag: bool = False, data: Callable[[int], bytes] | None = None) -> Serve:
    """Return what answers each request with the next picture; `etag`: with a new one at every other request only."""
    numbers = count()

    def serve(handler: http.server.BaseHTTPRequestHandler) -> None:
        number = next(numbers)
        if etag:
            number //= 2
            if handler.headers.get("If-None-Match") == f'"{number}"':
                handler.send_response(304)
                handler.send_header("Content-Length", "0")
                handler.end_headers()
                return
        jpeg = pictures()[number % len(pictures())] if data is None else data(number)
        jpeg = jpeg[: len(jpeg) // 3] if cut and number % 3 == 2 else jpeg
        handler.send_response(200)
        handler.send_header("Content-Type", "image/jpeg")
        handler.send_header("Content-Length", str(len(jpeg)))
        if etag:
            handler.send_header("ETag", f'"{number}"')
        handler.end_headers()
        handler.wfile.write(jpeg)

    return serve


def protected(serve: Serve, scheme: str, user: str = "admin", password: str = "p/a#s@s") -> Serve:  # noqa: S107
    """Return `serve` behind a password: `basic`, `MD5` or `SHA-256` (digest, RFC 7616)."""

    def guarded(handler: http.server.BaseHTTPRequestHandler) -> None:
        given = handler.headers.get("Authorization", "")
        if scheme == "basic":
            import base64

            if given == "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode():
                serve(handler)
                return
            challenge = 'Basic realm="camera"'
        else:
            if _digest_fits(given, handler.command, scheme, user, password):
                serve(handler)
                return
            challenge = f'Digest realm="camera", nonce="abc", qop="auth", algorithm={scheme}'
        handler.send_response(401)
        handler.send_header("WWW-Authenticate", challenge)
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    return guarded


def _digest_fits(given: str, method: str, algorithm: str, user: str, password: str) -> bool:
    fields = dict(re.findall(r'(\w+)="?([^",]+)"?', given))

    def digest(text: str) -> str:
        return hashlib.new("sha256" if algorithm == "SHA-256" else "md5", text.encode()).hexdigest()

    if not {"nonce", "nc", "cnonce", "uri", "response"} <= set(fields):
        return False
    first, second = digest(f"{user}:camera:{password}"), digest(f"{method}:{fields['uri']}")
    return str(fields["response"]) == digest(
        f"{first}:{fields['nonce']}:{fields['nc']}:{fields['cnonce']}:auth:{second}"
    )


@contextmanager
def rtsp_answer(answer: str | None) -> Iterator[str]:
    """Yield the address of an RTSP server that gives every request this answer (None: none at all)."""

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            sequence = "1"
            while line := self.rfile.readline().decode("latin-1"):
                if line.lower().startswith("cseq"):
                    sequence = line.partition(":")[2].strip()
                if line.strip() or answer is None:
                    continue
                try:
                    self.wfile.write(f"RTSP/1.0 {answer}\r\nCSeq: {sequence}\r\n\r\n".encode())
                except OSError:
                    return

    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = True
        address_family = socket.AF_INET

    with Server(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        yield f"rtsp://127.0.0.1:{server.server_address[1]}/live"
        server.shutdown()
