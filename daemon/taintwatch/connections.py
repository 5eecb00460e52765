"""Connections of a listening TCP socket: how many there may be, and which go first where more come."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections import OrderedDict
from collections.abc import Callable, Coroutine
from contextlib import suppress
from functools import partial
from typing import Any

__all__ = ["Connection", "Connections", "accept_for_ever", "listen"]

_log = logging.getLogger(__name__)

BACKLOG = 4096  # that the kernel holds for us; connections that say nothing are not among them
SILENT_S = 10  # the kernel, and then we, wait so long for a connection's first byte
UNSENT_MS = 20_000  # a connection whose peer takes nothing for so long is closed by the kernel
BURST, PACE_S = 512, 0.02  # connections taken in one go, and the pause after so many; a shorter one after fewer
TURNS = 8  # of the event loop until whoever came is heard: its task, its protocol, its request; and a margin
ACCEPT_AGAIN_S = 0.1  # after the system refused: no descriptor, no memory
SILENT, IDLE, HELD = range(3)
"""A connection on which nothing came yet; one that is not kept; one that is, because it is at work."""


class Connection:
    """One accepted connection."""

    def __init__(self, connections: Connections, address: str, end: Callable[[], None], standing: int) -> None:
        self._connections = connections
        self.address = address
        self.end = end
        """Closes it at once. Replaced as a whole while it is handed on."""
        self.standing = standing
        """`SILENT`, `IDLE` or `HELD`; set by `Connections` alone."""

    def hold(self) -> bool:
        """Keep it whoever comes, because it is at work for somebody who may use us; False where too many are kept."""
        return self._connections.hold(self)

    def release(self) -> None:
        """Let it go again where another needs its place."""
        self._connections.release(self)


class Connections:
    """Counts the connections of one listener. Used by one event loop alone.

    Where more than `most` come in all, or `per_address` from one, one that is not held goes for the new one: of the
    same address, else of the one that has most; silent ones before those that spoke, the oldest first, and none that
    spoke for a silent one. So neither silence nor a crowd keeps somebody out who asks at once.
    """

    def __init__(self, most: int, per_address: int | None = None) -> None:
        self._most = most
        self._per_address = most - most // 4 if per_address is None else per_address
        self._most_held = most - most // 8
        self._by_address: dict[str, tuple[OrderedDict[Connection, None], ...]] = {}
        """Silent, idle and held ones, each in the order of their coming."""
        self._held = 0
        self.count = 0
        self.refused = 0
        """Turned away because all others were at work."""
        self.evicted = 0
        """Ended for a newer one."""

    def admit(self, address: str, end: Callable[[], None], *, spoke: bool = True) -> Connection | None:
        """Count a new connection; return None, after `end`, where there is no place for it.

        `spoke`: something has come on it.
        """
        highest = IDLE if spoke else SILENT
        if self._of(address) >= self._per_address:
            self._evict(address, highest)
        elif self.count >= self._most:
            self._evict(max(self._by_address, key=self._loose, default=address), highest)
        if self._of(address) >= self._per_address or self.count >= self._most:
            self.refused += 1
            end()
            return None
        connection = Connection(self, address, end, IDLE if spoke else SILENT)
        self._put(connection)
        return connection

    def turnover(self) -> int:
        """Return how many may speak at once: half of what is needed to end one that came with them."""
        held = max((len(held) for _, _, held in self._by_address.values()), default=0)
        return max(1, min(self._per_address - held, self._most - self._held) // 2)

    def speak(self, connection: Connection) -> None:
        """Note that something came on a silent connection."""
        self._move(connection, SILENT, IDLE)

    def hold(self, connection: Connection) -> bool:
        """See `Connection.hold`."""
        if self._has(connection) and connection.standing != HELD:
            if self._held >= self._most_held:
                return False
            self._move(connection, connection.standing, HELD)
        return self._has(connection)

    def release(self, connection: Connection) -> None:
        """See `Connection.release`."""
        self._move(connection, HELD, IDLE)

    def remove(self, connection: Connection) -> None:
        """Forget a connection that is closed. May be called again."""
        if not self._has(connection):
            return
        groups = self._by_address[connection.address]
        del groups[connection.standing][connection]
        self.count -= 1
        self._held -= connection.standing == HELD
        if not any(groups):
            del self._by_address[connection.address]

    def _put(self, connection: Connection) -> None:
        groups = self._by_address.setdefault(connection.address, (OrderedDict(), OrderedDict(), OrderedDict()))
        groups[connection.standing][connection] = None
        self.count += 1
        self._held += connection.standing == HELD

    def _move(self, connection: Connection, before: int, after: int) -> None:
        if self._has(connection) and connection.standing == before:
            self.remove(connection)
            connection.standing = after
            self._put(connection)

    def _has(self, connection: Connection) -> bool:
        groups = self._by_address.get(connection.address)
        return groups is not None and connection in groups[connection.standing]

    def _of(self, address: str) -> int:
        return sum(map(len, self._by_address.get(address, ())))

    def _loose(self, address: str) -> int:
        """Return how many of an address could go."""
        silent, idle, _ = self._by_address[address]
        return len(silent) + len(idle)

    def _evict(self, address: str, highest: int) -> None:
        for group in self._by_address.get(address, ())[: highest + 1]:
            oldest = next(iter(group), None)
            if oldest is not None:
                self.remove(oldest)
                self.evicted += 1
                oldest.end()
                return


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


Serve = Callable[[socket.socket, Connection], Coroutine[Any, Any, None]]


async def accept_for_ever(listener: socket.socket, connections: Connections, serve: Serve) -> None:
    """Accept connections until cancelled. `serve` owns the socket, and the connection counts until it returns.

    A system that has no descriptor left is asked again, never given up.
    """
    acceptor = _Acceptor(listener, connections, serve)
    try:
        await asyncio.get_running_loop().create_future()  # for ever
    finally:
        await acceptor.close()


class _Acceptor:
    """Empties the kernel's queue in bursts, and serves whoever says something.

    The queue must not run over: of a client whose data finds it full the kernel drops the packet, and the client tries
    again after 0.2, 0.4, 0.8 ... s, so that within a crowd an honest one waits for half a minute. Hence everything is
    taken at once, and a silent connection costs a socket and a callback, no task and no protocol. But only so many that
    speak at once that each is heard before newer ones need its place: else a crowd's last ones end others unheard.
    """

    def __init__(self, listener: socket.socket, connections: Connections, serve: Serve) -> None:
        self._listener, self._connections, self._serve = listener, connections, serve
        self._loop = asyncio.get_running_loop()
        self._serving: dict[asyncio.Future[None], tuple[socket.socket, Connection]] = {}
        self._silent: dict[socket.socket, tuple[Connection, asyncio.TimerHandle]] = {}
        self._again: asyncio.Handle | None = None
        self._resume()

    async def close(self) -> None:
        """Accept nothing more, and end every connection."""
        self._loop.remove_reader(self._listener)
        if self._again is not None:
            self._again.cancel()
        for client in tuple(self._silent):
            self._dismiss(client)
        for task in self._serving:
            task.cancel()
        await asyncio.gather(*self._serving, return_exceptions=True)

    def _resume(self) -> None:
        self._again = None
        self._loop.add_reader(self._listener, self._accept)

    def _pause(self, seconds: float) -> None:
        self._loop.remove_reader(self._listener)
        self._again = self._loop.call_later(seconds, self._turn, TURNS)

    def _turn(self, left: int) -> None:
        """Let those be heard who came, then go on."""
        if left:
            self._again = self._loop.call_soon(self._turn, left - 1)
        else:
            self._resume()

    def _accept(self) -> None:
        taken, speaking, most_speaking = 0, 0, self._connections.turnover()
        while taken < BURST and speaking < most_speaking:
            try:
                client, address = self._listener.accept()
            except (BlockingIOError, ConnectionAbortedError):
                break
            except OSError as error:
                _log.warning("no connection can be accepted now: %s", error.strerror)
                self._pause(ACCEPT_AGAIN_S)
                return
            taken += 1
            speaking += self._take(client, str(address[0]) if address else "")
        self._pause(PACE_S * taken / BURST)  # so that a crowd costs a share of the processor at most

    def _take(self, client: socket.socket, address: str) -> bool:
        """Admit a connection; return whether it spoke."""
        client.setblocking(False)
        try:
            spoke = bool(client.recv(1, socket.MSG_PEEK))
        except BlockingIOError:
            connection = self._connections.admit(address, partial(self._dismiss, client), spoke=False)
            if connection is not None:
                self._silent[client] = connection, self._loop.call_later(SILENT_S, self._dismiss, client)
                self._loop.add_reader(client, self._hear, client)
            return False
        except OSError:
            spoke = False
        connection = self._connections.admit(address, client.close) if spoke else None
        if connection is not None:
            self._begin(client, connection)
        else:  # it hung up, or there is no place
            client.close()
        return spoke

    def _hear(self, client: socket.socket) -> None:
        """Serve a silent connection on which something came."""
        connection, timer = self._silent.pop(client)
        timer.cancel()
        self._loop.remove_reader(client)
        self._connections.speak(connection)
        self._begin(client, connection)

    def _dismiss(self, client: socket.socket) -> None:
        """Close a silent connection; where there was no place for it, it is not known yet."""
        if client in self._silent:
            connection, timer = self._silent.pop(client)
            timer.cancel()
            self._loop.remove_reader(client)
            self._connections.remove(connection)
        client.close()

    def _begin(self, client: socket.socket, connection: Connection) -> None:
        task = asyncio.ensure_future(self._serve(client, connection))
        self._serving[task] = client, connection
        connection.end = partial(_cancel, task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Future[None]) -> None:
        client, connection = self._serving.pop(task)
        self._connections.remove(connection)
        with suppress(OSError):
            client.close()
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.debug("a connection from %s broke off: %s", connection.address, error)


def _cancel(task: asyncio.Future[None]) -> None:
    task.cancel()
