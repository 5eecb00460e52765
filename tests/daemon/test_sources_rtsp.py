"""RTSP, against a small real server on loopback: H.264 over RTP, interleaved in the control connection."""

from __future__ import annotations

import base64
import socketserver
import struct
import threading
from collections.abc import Iterator
from typing import Any

import av
import numpy as np
import pytest

from taintwatch.sources.network import StreamSource
from taintwatch.sources.source import SourceSettings
from taintwatch_models.errors import SourceError

SECRET = "hunter2"  # noqa: S105 - what must never be seen
SDP = """v=0
o=- 0 0 IN IP4 127.0.0.1
s=camera
c=IN IP4 0.0.0.0
t=0 0
m=video 0 RTP/AVP 96
a=rtpmap:96 H264/90000
a=fmtp:96 packetization-mode=1
a=control:track0
""".replace("\n", "\r\n")


def rtp_packets(frames: int) -> list[bytes]:
    """RTP and RTCP packets of `frames` grey pictures, each brighter than the one before."""
    packets: list[bytes] = []

    class Sink:
        def write(self, data: bytes) -> int:
            packets.append(bytes(data))
            return len(data)

    with av.open(Sink(), "w", format="rtp", options={"packetsize": "1200", "payload_type": "96"}) as container:
        stream = container.add_stream("libx264", rate=10)
        assert isinstance(stream, av.VideoStream)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.options = {"tune": "zerolatency", "g": "5"}
        for index in range(frames):
            image = np.full((48, 64, 3), 20 + 5 * index, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="bgr24")))
    return packets


class RtspHandler(socketserver.StreamRequestHandler):
    """Answers one client: asks for a password, then plays the server's packets once and goes on holding the line."""

    def handle(self) -> None:
        while request := self._request():
            method, headers = request
            if "authorization" not in headers:
                self._answer("401 Unauthorized", headers, 'WWW-Authenticate: Basic realm="camera"')
            elif method == "DESCRIBE":
                self._answer("200 OK", headers, "Content-Type: application/sdp", body=SDP)
            elif method == "SETUP":
                self._answer("200 OK", headers, f"Transport: {headers['transport']}", "Session: 1")
            elif method == "PLAY":
                self._answer("200 OK", headers, "Session: 1")
                self._play()
            else:
                self._answer("200 OK", headers, "Public: OPTIONS, DESCRIBE, SETUP, PLAY, TEARDOWN")

    def _request(self) -> tuple[str, dict[str, str]] | None:
        try:
            first = self.rfile.readline().decode("latin-1")
            if not first or first.startswith("$"):  # the client's RTCP reports are of no interest
                return None
            headers = {}
            while line := self.rfile.readline().decode("latin-1").strip():
                key, _, value = line.partition(":")
                headers[key.lower()] = value.strip()
        except OSError:
            return None
        self.server.requests.append((first.split()[0], headers))  # type: ignore[attr-defined]
        return first.split()[0], headers

    def _answer(self, status: str, headers: dict[str, str], *more: str, body: str = "") -> None:
        lines = [f"RTSP/1.0 {status}", f"CSeq: {headers['cseq']}", f"Content-Length: {len(body)}", *more, "", body]
        self.wfile.write("\r\n".join(lines).encode())

    def _play(self) -> None:
        for packet in self.server.packets:  # type: ignore[attr-defined]
            channel = 1 if 200 <= packet[1] <= 204 else 0  # RTCP beside RTP
            self.wfile.write(struct.pack(">cBH", b"$", channel, len(packet)) + packet)


class RtspServer(socketserver.ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, packets: list[bytes]) -> None:
        super().__init__(("127.0.0.1", 0), RtspHandler)
        self.packets = packets
        self.requests: list[tuple[str, dict[str, str]]] = []

    def url(self) -> str:
        return f"rtsp://admin:{SECRET}@127.0.0.1:{self.server_address[1]}/live"


@pytest.fixture
def server() -> Iterator[RtspServer]:
    running = RtspServer(rtp_packets(30))
    thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    yield running
    running.shutdown()
    running.server_close()
    thread.join()


def read_all(source: StreamSource) -> list[Any]:
    grabs = []
    try:
        while True:
            grabs.append(source.read())
    except SourceError:
        return grabs


def test_an_rtsp_camera_gives_its_pictures_over_tcp_then_an_error_when_it_falls_silent(server: RtspServer) -> None:
    source = StreamSource(server.url(), SourceSettings(read_timeout_s=2.0))
    source.open()
    grabs = read_all(source)
    source.close()
    assert len(grabs) == 30  # the first key frame, read to recognise the stream, is not lost
    means = [float(grab.image.mean()) for grab in grabs]
    assert means == sorted(means)
    assert grabs[0].image.shape == (48, 64, 3)
    setup = next(headers for method, headers in server.requests if method == "SETUP")
    assert "TCP" in setup["transport"]


def test_the_password_reaches_the_camera_and_nobody_else(server: RtspServer) -> None:
    source = StreamSource(server.url(), SourceSettings(read_timeout_s=0.3))
    source.open()
    read_all(source)
    with pytest.raises(SourceError) as caught:
        source.read()
    source.close()
    sent = next(headers["authorization"] for _, headers in server.requests if "authorization" in headers)
    assert base64.b64decode(sent.removeprefix("Basic ")).decode() == f"admin:{SECRET}"
    assert SECRET not in str(caught.value) + source.description


def test_a_camera_that_wants_a_password_says_so(server: RtspServer) -> None:
    url = server.url().replace(f"admin:{SECRET}@", "")
    with pytest.raises(SourceError, match=r"401|[Uu]nauthorized"):
        StreamSource(url).open()
