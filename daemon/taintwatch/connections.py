"""Connections of a listening TCP socket: how many there may be, and which go first where more come."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections import OrderedDict
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any

__all__ = ["Connection", "Connections", "accept_for_ever", "listen"]

_log = logging.getLogger(__name__)

BACKLOG = 4096  # that the kernel holds for us; connections that say nothing are not among them
SILENT_S = 10  # the kernel lets a connection wait so long for its first byte before we hear of it
UNSENT_MS = 20_000  # a connection whose peer takes nothing for so long is closed by the kernel
BATCH, PACE_S = 64, 0.01  # connections, and the pause after so many
ACCEPT_AGAIN_S = 0.1  # after the system refused: no descriptor, no memory


class Connection:
    """One accepted connection."""

    def __init__(self, connections: Connections, address: str, end: Callable[[], None]) -> None:
        self._connections = connections
        self.address = address
        self.end = end
        """Closes it at once. Replaced as a whole while it is handed on."""

    def hold(self) -> bool:
        """Keep it whoever comes, because it is at work for somebody who may use us; False where too many are kept."""
        return self._connections.hold(self)

    def release(self) -> None:
        """Let it go again where another needs its place."""
        self._connections.release(self)


class Connections:
    """Counts the connections of one listener. Used by one event loop alone.

    Where more than `most` come in all, or `per_address` from one, the oldest that is not held goes for the new one: of
    the same address, else of the one that has most. So neither silence nor a crowd keeps somebody out who asks at once.
    """

    def __init__(self, most: int, per_address: int | None = None) -> None:
        self._most = most
        self._per_address = most - most // 4 if per_address is None else per_address
        self._most_held = most - most // 8
        self._idle: dict[str, OrderedDict[Connection, None]] = {}
        self._held: dict[str, set[Connection]] = {}
        self.count = 0
        self.refused = 0
        """Turned away because all others were at work."""
        self.evicted = 0
        """Ended for a newer one."""

    def admit(self, address: str, end: Callable[[], None]) -> Connection | None:
        """Count a new connection; return None, after `end`, where there is no place for it."""
        if self._of(address) >= self._per_address:
            self._evict(address)
        elif self.count >= self._most:
            self._evict(max(self._idle, key=lambda each: len(self._idle[each]), default=address))
        if self._of(address) >= self._per_address or self.count >= self._most:
            self.refused += 1
            end()
            return None
        connection = Connection(self, address, end)
        self._idle.setdefault(address, OrderedDict())[connection] = None
        self.count += 1
        return connection

    def hold(self, connection: Connection) -> bool:
        """See `Connection.hold`."""
        if connection not in self._idle.get(connection.address, ()):
            return connection in self._held.get(connection.address, ())
        if sum(map(len, self._held.values())) >= self._most_held:
            return False
        self._take(connection)
        self._held.setdefault(connection.address, set()).add(connection)
        self.count += 1
        return True

    def release(self, connection: Connection) -> None:
        """See `Connection.release`."""
        if connection in self._held.get(connection.address, ()):
            self._take(connection)
            self._idle.setdefault(connection.address, OrderedDict())[connection] = None
            self.count += 1

    def remove(self, connection: Connection) -> None:
        """Forget a connection that is closed. May be called again."""
        self._take(connection)

    def _of(self, address: str) -> int:
        return len(self._idle.get(address, ())) + len(self._held.get(address, ()))

    def _evict(self, address: str) -> None:
        oldest = next(iter(self._idle.get(address, ())), None)
        if oldest is not None:
            self._take(oldest)
            self.evicted += 1
            oldest.end()

    def _take(self, connection: Connection) -> None:
        idle, held = self._idle.get(connection.address, OrderedDict()), self._held.get(connection.address, set())
        if connection in idle:
            del idle[connection]
        elif connection in held:
            held.remove(connection)
        else:
            return
        self.count -= 1
        if not idle:
            self._idle.pop(connection.address, None)
        if not held:
            self._held.pop(connection.address, None)


def listen(family: socket.AddressFamily, host: str, port: int) -> socket.socket:
    """Return a TCP socket that listens. Raises `OSError`.

    The kernel keeps silent connections to itself (TCP_DEFER_ACCEPT), and ends those whose peer keeps its window shut.
    """
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, UNSENT_MS)  # accepted ones inherit it
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_DEFER_ACCEPT, SILENT_S)
        listener.bind((host, port))
        listener.listen(BACKLOG)
        listener.setblocking(False)
    except OSError:
        listener.close()
        raise
    return listener


async def accept_for_ever(
    listener: socket.socket,
    connections: Connections,
    serve: Callable[[socket.socket, Connection], Coroutine[Any, Any, None]],
) -> None:
    """Accept connections until cancelled. `serve` owns the socket, and the connection counts until it returns.

    A system that has no descriptor left is asked again, never given up.
    """
    loop = asyncio.get_running_loop()
    serving: dict[asyncio.Future[None], tuple[socket.socket, Connection]] = {}

    def ended(task: asyncio.Future[None]) -> None:
        client, connection = serving.pop(task)
        connections.remove(connection)
        client.close()
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.debug("a connection from %s broke off: %s", connection.address, error)

    accepted = 0
    try:
        while True:
            try:
                client, address = await loop.sock_accept(listener)
            except OSError as error:
                _log.warning("no connection can be accepted now: %s", error.strerror)
                await asyncio.sleep(ACCEPT_AGAIN_S)
                continue
            connection = connections.admit(str(address[0]) if address else "", client.close)
            if connection is not None:
                task = asyncio.ensure_future(serve(client, connection))
                serving[task] = client, connection
                connection.end = partial(_cancel, task)
                task.add_done_callback(ended)
            # sock_accept does not wait where somebody waits already: others have their turn after each connection, and
            # a pause after many, so that a crowd costs a share of the processor at most. (A pause after each would be
            # far longer than it says on a busy machine.)
            accepted += 1
            await asyncio.sleep(0 if accepted % BATCH else PACE_S)
    finally:
        for waiting in serving:
            waiting.cancel()
        await asyncio.gather(*serving, return_exceptions=True)


def _cancel(task: asyncio.Future[None]) -> None:
    task.cancel()
