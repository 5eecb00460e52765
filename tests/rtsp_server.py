"""A small RTSP camera on loopback: H.264 over RTP, interleaved in the control connection."""

from __future__ import annotations

import hashlib
import re
import socketserver
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import av
import numpy as np

from tests.tls_files import server_context

__all__ = ["SECRET", "RtspServer", "running_rtsp_server"]

SECRET = "hunter2"  # noqa: S105 - what must never be seen
NONCE = "dcd98b7102dd2f0e8b11d0f600bfb0c093"
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

    server: RtspServer

    def handle(self) -> None:
        while request := self._request():
            method, headers = request
            if not self.server.admits(method, headers.get("authorization", "")):
                self._answer("401 Unauthorized", headers, f"WWW-Authenticate: {self.server.challenge}")
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
        self.server.requests.append((first.split()[0], headers))
        return first.split()[0], headers

    def _answer(self, status: str, headers: dict[str, str], *more: str, body: str = "") -> None:
        lines = [f"RTSP/1.0 {status}", f"CSeq: {headers['cseq']}", f"Content-Length: {len(body)}", *more, "", body]
        self.wfile.write("\r\n".join(lines).encode())

    def _play(self) -> None:
        for packet in self.server.packets:
            channel = 1 if 200 <= packet[1] <= 204 else 0  # RTCP beside RTP
            self.wfile.write(struct.pack(">cBH", b"$", channel, len(packet)) + packet)


class RtspServer(socketserver.ThreadingTCPServer):
    """A camera at `url()`. Begin with `running_rtsp_server`."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, packets: list[bytes], digest: str | None = None, certificate: Path | None = None) -> None:
        """`digest`: the algorithm that a password is asked for with; None: basic. `certificate`: for rtsps."""
        super().__init__(("127.0.0.1", 0), RtspHandler)
        self.packets = packets
        self.requests: list[tuple[str, dict[str, str]]] = []
        self._digest = digest
        self._tls = None if certificate is None else server_context(certificate)

    @property
    def challenge(self) -> str:
        """What is said to whoever gives no password."""
        if self._digest is None:
            return 'Basic realm="camera"'
        return f'Digest realm="camera", nonce="{NONCE}", algorithm={self._digest}'

    def url(self) -> str:
        """The address with its password."""
        scheme = "rtsp" if self._tls is None else "rtsps"
        return f"{scheme}://admin:{SECRET}@127.0.0.1:{self.server_address[1]}/live"

    def admits(self, method: str, authorization: str) -> bool:
        """Whether the password was proved (RFC 7616, 3.4.1, without qop); a basic one is taken as it comes."""
        if self._digest is None:
            return bool(authorization)
        given = dict(re.findall(r'(\w+)="([^"]*)"', authorization))
        secret, asked = self._hash(f"admin:camera:{SECRET}"), self._hash(f"{method}:{given.get('uri')}")
        return given.get("response") == self._hash(f"{secret}:{NONCE}:{asked}")

    def get_request(self) -> tuple[Any, Any]:
        """Take a connection, and shake hands where TLS is spoken."""
        line, address = super().get_request()
        if self._tls is not None:
            line.settimeout(10.0)
            line = self._tls.wrap_socket(line, server_side=True)
        return line, address

    def _hash(self, text: str) -> str:
        return hashlib.new((self._digest or "md5").replace("-", ""), text.encode()).hexdigest()


@contextmanager
def running_rtsp_server(
    frames: int = 30, *, digest: str | None = None, certificate: Path | None = None
) -> Iterator[RtspServer]:
    """Run a server that gives so many pictures."""
    running = RtspServer(rtp_packets(frames), digest, certificate)
    thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield running
    finally:
        running.shutdown()
        running.server_close()
        thread.join()
