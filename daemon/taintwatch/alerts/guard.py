"""What stands before a ZeroMQ socket that others can reach: counts connections, and bounds what each may send.

libzmq accepts without end, and takes in subscriptions without end, in the very thread that publishes. So the address is
bound here, and each connection is relayed to the real socket over a path that only this user can reach. Of the stream
(ZMTP 3, rfc.zeromq.org/spec/23) only lengths are looked at: what is encrypted stays so.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import fcntl
import ipaddress
import logging
import shutil
import socket
import struct
import tempfile
import threading
from dataclasses import dataclass
from pathlib import Path

from taintwatch.alerts.endpoints import Endpoint
from taintwatch.connections import Connection, Connections, accept_for_ever, listen
from taintwatch_models.errors import PublishError

__all__ = ["BIND_REASONS", "REPLAY_LIMITS", "SUBSCRIBER_LIMITS", "FloodError", "Guard", "UpstreamLimits"]

_log = logging.getLogger(__name__)

BIND_REASONS = {
    errno.EADDRINUSE: "another program is using it. Stop that one or take another port",
    errno.EADDRNOTAVAIL: "this machine has no such address. Take one of its own, such as 127.0.0.1",
    errno.ENODEV: "this machine has no such address. Take one of its own, such as 127.0.0.1",
    errno.EACCES: "permission is denied. Take a port above 1023 or another path",
    errno.ENOENT: "its folder does not exist. Create it or take another path",
}
MOST_CONNECTIONS = 512
SIGNATURE, GREETING = 10, 64  # bytes that every peer sends first; the rest waits for the other side's signature
HANDSHAKE_S = 5.0
HANDSHAKE_FRAMES = 2  # of a client, at most: HELLO and INITIATE of CURVE
LARGEST_HANDSHAKE = 2048
CLOSE_S = 0.5
WELCOME = 170  # bytes of CURVE's answer to anybody; READY, which only those who are let in are sent, comes after
READY = 20  # bytes, at least
CHUNK = 65_536
LONG, COMMAND = 2, 4  # flags of a frame
SIOCGIFADDR = 0x8915


class FloodError(Exception):
    """A peer sends more than it may."""


@dataclass(frozen=True, slots=True)
class UpstreamLimits:
    """What one connection may send. Frames that are as small as a heartbeat's count apart."""

    largest: int
    """Bytes of one frame, encryption included."""
    frames: int
    """So many at once ..."""
    frames_per_s: float
    """... and then so many a second; 0: never more."""
    bytes: int
    """In all, of what never grows back (where `frames_per_s` is 0)."""
    heartbeats: int = 100_000
    """Then the connection is ended and made anew by its owner, so that nothing adds up for ever."""


SUBSCRIBER_LIMITS = UpstreamLimits(largest=256, frames=512, frames_per_s=0, bytes=32_768)
"""For XPUB: a topic has at most 156 bytes, and each subscription costs memory for as long as the connection stands."""
REPLAY_LIMITS = UpstreamLimits(largest=4096 + 128, frames=8, frames_per_s=20, bytes=1 << 62)


class Guard:
    """Listens on a tcp endpoint and relays to `inner`, an ipc endpoint. Its thread ends with `close`."""

    def __init__(self, endpoint: Endpoint, limits: UpstreamLimits, what: str) -> None:
        """`what` is for the `PublishError` that is raised where it cannot listen: "Alerts"."""
        self._limits = limits
        self._listener = _listen(endpoint, what)
        host, port = self._listener.getsockname()[:2]
        self.endpoint = f"tcp://[{host}]:{port}" if endpoint.six else f"tcp://{host}:{port}"
        self._folder = Path(tempfile.mkdtemp(prefix="taintwatch-"))  # 0700
        self._path = str(self._folder / "socket")
        self.inner = f"ipc://{self._path}"
        self.connections = Connections(MOST_CONNECTIONS)
        self.floods = 0
        """Connections ended because they sent more than they may."""
        self._loop = asyncio.new_event_loop()
        self._ended = asyncio.Event()
        self._thread = threading.Thread(target=self._run, name="guard", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End every connection and stop listening. May be called again."""
        if self._thread.is_alive():
            with contextlib.suppress(RuntimeError):  # the loop has just ended
                self._loop.call_soon_threadsafe(self._ended.set)
            self._thread.join(2.0)
        self._listener.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._serve())

    async def _serve(self) -> None:
        accepting = asyncio.create_task(accept_for_ever(self._listener, self.connections, self._serve_one))
        await self._ended.wait()
        deadline = self._loop.time() + CLOSE_S  # the real socket is closed already: what it still sent goes out
        while self.connections.count and self._loop.time() < deadline:
            await asyncio.sleep(0.02)
        accepting.cancel()
        await asyncio.gather(accepting, return_exceptions=True)

    async def _serve_one(self, client: socket.socket, connection: Connection) -> None:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        reader, writer = await asyncio.open_connection(sock=client)
        inner: asyncio.StreamWriter | None = None
        try:
            async with asyncio.timeout(HANDSHAKE_S):
                signature = await reader.readexactly(SIGNATURE)
            if signature[0] != 0xFF or signature[9] != 0x7F:
                return
            received, inner = await asyncio.open_unix_connection(self._path)
            inner.write(signature)
            stream = _Stream(connection)
            await _first_of(_upstream(reader, inner, self._limits, stream), _downstream(received, writer, stream))
            writer.close()
            async with asyncio.timeout(CLOSE_S):
                await writer.wait_closed()
        except FloodError as error:
            self.floods += 1
            if self.floods == 10 ** (len(str(self.floods)) - 1):  # 1, 10, 100, ...: it may try for ever
                _log.warning("a subscriber at %s was cut off (%d so far): %s", connection.address, self.floods, error)
        except (OSError, EOFError, TimeoutError):
            return  # it left, or never spoke as it should
        finally:
            for each in (writer, inner):
                if each is not None:
                    each.transport.abort()


class _Budget:
    """Counts what one connection sends. Raises `FloodError` where it is too much."""

    def __init__(self, limits: UpstreamLimits, greeting: bytes) -> None:
        """`greeting`: what follows the signature."""
        self._limits = limits
        self.encrypted = greeting.find(b"CURVE") == 12 - SIGNATURE
        self._handshake = HANDSHAKE_FRAMES if self.encrypted else 1
        self._frames = float(limits.frames)
        self._bytes = self._heartbeats = 0
        self._at: float | None = None

    def largest(self) -> int:
        """Return how long the next frame may be, in bytes."""
        return LARGEST_HANDSHAKE if self._handshake > 0 else self._limits.largest

    def spend(self, flags: int, body: bytes, now_s: float) -> float:
        """Count one frame; return for how many seconds it has to wait."""
        if self._handshake > 0:
            self._handshake -= 1
            return 0.0
        if self._is_heartbeat(flags, body):
            self._heartbeats += 1
            if self._heartbeats > self._limits.heartbeats:
                raise FloodError(f"it sent {self._heartbeats} heartbeats")
            return 0.0
        rate = self._limits.frames_per_s
        if rate and self._at is not None:
            self._frames = min(self._limits.frames, self._frames + (now_s - self._at) * rate)
        self._at = now_s
        self._frames -= 1
        self._bytes += len(body)
        if self._bytes > self._limits.bytes or (self._frames < 0 and not rate):
            raise FloodError(f"it sent more than {self._limits.frames} subscriptions, or {self._limits.bytes} bytes")
        return max(0.0, -self._frames / rate) if rate else 0.0

    def _is_heartbeat(self, flags: int, body: bytes) -> bool:
        if self.encrypted:  # "\7MESSAGE", a nonce of 8, a tag of 16, flags, "\4PING", a time to live of 2
            return len(body) == 40
        return bool(flags & COMMAND) and body[:5] in (b"\4PING", b"\4PONG") and len(body) <= 23


class _Stream:
    """What both ways of one connection know of it."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self.handshake_bytes = GREETING + WELCOME + READY
        """From the real socket, before the peer is let in."""

    def sent(self, count: int) -> None:
        """Keep the connection once its peer was let in, whoever else comes."""
        if count >= self.handshake_bytes:
            self._connection.hold()


async def _upstream(
    reader: asyncio.StreamReader, inner: asyncio.StreamWriter, limits: UpstreamLimits, stream: _Stream
) -> None:
    async with asyncio.timeout(HANDSHAKE_S):
        greeting = await reader.readexactly(GREETING - SIGNATURE)
    if greeting[0] < 3:
        return  # older versions of the protocol know no encryption
    inner.write(greeting)
    budget = _Budget(limits, greeting)
    if not budget.encrypted:
        stream.handshake_bytes = GREETING + READY
    loop = asyncio.get_running_loop()
    while True:
        head = await reader.readexactly(1)
        flags = head[0]
        head += await reader.readexactly(8 if flags & LONG else 1)
        size = int.from_bytes(head[1:])
        if size > budget.largest():
            raise FloodError(f"it sent a frame of {size} bytes")
        body = await reader.readexactly(size)
        wait_s = budget.spend(flags, body, loop.time())
        if wait_s:
            await asyncio.sleep(wait_s)
        inner.write(head + body)
        await inner.drain()


async def _downstream(received: asyncio.StreamReader, writer: asyncio.StreamWriter, stream: _Stream) -> None:
    sent = 0
    while chunk := await received.read(CHUNK):
        sent += len(chunk)
        stream.sent(sent)
        writer.write(chunk)
        await writer.drain()


async def _first_of(*ways: object) -> None:
    """Run both ways until one ends; raise what it raised."""
    tasks = [asyncio.ensure_future(way) for way in ways]  # type: ignore[call-overload]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _listen(endpoint: Endpoint, what: str) -> socket.socket:
    try:
        family, host = _address_of(endpoint.host)
        return listen(family, host, 0 if endpoint.port == "*" else int(endpoint.port))
    except OSError as error:
        reason = BIND_REASONS.get(error.errno or 0, error.strerror or str(error))
        raise PublishError(f"{what} cannot be published on {endpoint.text}: {reason}.") from error


def _address_of(host: str) -> tuple[socket.AddressFamily, str]:
    """Return the address of `*`, an address, a host name or the name of a network interface. Raises `OSError`."""
    if host == "*":
        return socket.AF_INET, "0.0.0.0"  # noqa: S104 (it was asked for; without keys it is refused before)
    try:
        return (socket.AF_INET6 if ipaddress.ip_address(host).version == 6 else socket.AF_INET), host
    except ValueError:
        pass
    try:
        family, _, _, _, address = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)[0]
        return family, str(address[0])
    except socket.gaierror:
        return socket.AF_INET, _interface(host)


def _interface(name: str) -> str:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            found = fcntl.ioctl(probe.fileno(), SIOCGIFADDR, struct.pack("256s", name.encode()[:15]))
        except OSError:
            raise OSError(errno.ENODEV, "no such address") from None
    return socket.inet_ntoa(found[20:24])
