"""Which connection goes where more come than there may be, and that the kernel's queue of them never runs over."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time

import pytest

from taintwatch import connections as module
from taintwatch.connections import Connection, Connections, accept_for_ever, listen

HERE, THERE = "192.0.2.1", "192.0.2.2"


class Doors:
    """Connections that note who was ended."""

    def __init__(self, most: int, per_address: int | None = None) -> None:
        self.connections = Connections(most, per_address)
        self.ended: list[str] = []

    def come(self, name: str, address: str = HERE, *, spoke: bool = True) -> Connection | None:
        return self.connections.admit(address, lambda: self.ended.append(name), spoke=spoke)


def test_silent_ones_go_before_those_that_spoke_the_oldest_first() -> None:
    doors = Doors(most=4, per_address=4)
    doors.come("spoke first")
    for name in ("silent 1", "silent 2"):
        doors.come(name, spoke=False)
    doors.come("spoke last")
    for number in range(3):
        doors.come(f"new {number}")
    assert doors.ended == ["silent 1", "silent 2", "spoke first"]
    assert doors.connections.count == 4


def test_a_silent_one_that_speaks_up_is_as_good_as_the_others() -> None:
    doors = Doors(most=2, per_address=2)
    first = doors.come("first", spoke=False)
    assert first is not None
    doors.come("second", spoke=False)
    doors.connections.speak(first)
    doors.come("third")
    assert doors.ended == ["second"]


def test_one_that_is_at_work_is_never_ended_and_where_all_are_a_new_one_is_refused() -> None:
    doors = Doors(most=8, per_address=2)
    first, second = doors.come("a"), doors.come("b")
    assert first is not None
    assert second is not None
    assert first.hold()
    assert second.hold()
    assert doors.come("c") is None
    assert (doors.ended, doors.connections.refused) == (["c"], 1)
    second.release()
    assert doors.come("d") is not None
    assert doors.ended == ["c", "b"]


def test_the_address_with_most_gives_way_to_another() -> None:
    doors = Doors(most=4, per_address=3)
    for number in range(3):
        doors.come(f"crowd {number}", HERE)
    doors.come("somebody", THERE)
    doors.come("somebody else", "192.0.2.3")
    assert doors.ended == ["crowd 0"]


def test_a_silent_one_takes_nobodys_place_who_spoke() -> None:
    doors = Doors(most=4, per_address=2)
    doors.come("spoke 1")
    doors.come("spoke 2")
    assert doors.come("silent", spoke=False) is None
    assert doors.ended == ["silent"]


def test_so_many_come_at_once_that_none_of_them_has_to_go() -> None:
    doors = Doors(most=16, per_address=12)
    assert doors.connections.turnover() == 6
    for name in "abcdef":
        viewer = doors.come(name)
        assert viewer is not None
        assert viewer.hold()
    assert doors.connections.turnover() == 3


async def serve(listener: socket.socket, crowd: list[socket.socket]) -> tuple[float, int]:
    """Let a crowd come that says nothing, then ask; return how long the answer took, and how many were served."""
    served = 0

    async def echo(client: socket.socket, connection: Connection) -> None:
        nonlocal served
        served += 1
        loop = asyncio.get_running_loop()
        await loop.sock_sendall(client, await loop.sock_recv(client, 100))

    connections = Connections(64)
    accepting = asyncio.create_task(accept_for_ever(listener, connections, echo))
    for client in crowd:
        client.setblocking(False)
        client.connect_ex(listener.getsockname())
    began = time.monotonic()
    reader, writer = await asyncio.open_connection(*listener.getsockname())
    writer.write(b"hello")
    assert await asyncio.wait_for(reader.read(5), 30) == b"hello"
    took_s = time.monotonic() - began
    writer.close()
    accepting.cancel()
    await asyncio.gather(accepting, return_exceptions=True)
    assert connections.count == 0
    return took_s, served


def test_a_silent_crowd_costs_no_task_and_keeps_nobody_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the kernel's help: every silent connection reaches us at once."""
    monkeypatch.setattr(socket.socket, "setsockopt", lambda *given: None)
    listener = listen(socket.AF_INET, "127.0.0.1", 0)
    monkeypatch.undo()
    with contextlib.ExitStack() as stack:
        stack.enter_context(listener)
        crowd = [stack.enter_context(socket.socket()) for _ in range(900)]
        took_s, served = asyncio.run(serve(listener, crowd))
    assert served == 1
    assert took_s < 5.0


async def ask_within(listener: socket.socket, crowd: list[socket.socket]) -> bytes:
    """Let a crowd come that begins to ask and stops, in its middle one that asks; return what that one is told."""

    async def answer(client: socket.socket, connection: Connection) -> None:
        for _ in range(4):  # a task, a protocol, a request, an application: so many turns do they take
            await asyncio.sleep(0)
        loop = asyncio.get_running_loop()
        while b"?" not in (await loop.sock_recv(client, 100)):
            pass
        await loop.sock_sendall(client, b"yes" if connection.hold() else b"no place")

    honest = crowd[len(crowd) // 2]
    for client in crowd:
        client.connect(listener.getsockname())
        client.sendall(b"well?" if client is honest else b"w")
    honest.setblocking(False)
    accepting = asyncio.create_task(accept_for_ever(listener, Connections(64), answer))
    said = await asyncio.wait_for(asyncio.get_running_loop().sock_recv(honest, 100), 30)
    accepting.cancel()
    await asyncio.gather(accepting, return_exceptions=True)
    return said


def test_whoever_asks_in_the_middle_of_a_crowd_that_only_begins_to_is_answered() -> None:
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(listen(socket.AF_INET, "127.0.0.1", 0))
        crowd = [stack.enter_context(socket.socket()) for _ in range(400)]
        assert asyncio.run(ask_within(listener, crowd)) == b"yes"


def test_a_silent_connection_is_closed_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SILENT_S", 0.05)

    async def wait_for_the_end() -> bytes:
        async def nothing(client: socket.socket, connection: Connection) -> None:
            raise AssertionError("nothing was said")

        with monkeypatch.context() as patched:
            patched.setattr(socket.socket, "setsockopt", lambda *given: None)
            listener = listen(socket.AF_INET, "127.0.0.1", 0)
        with listener:
            accepting = asyncio.create_task(accept_for_ever(listener, Connections(4), nothing))
            reader, writer = await asyncio.open_connection(*listener.getsockname())
            said = await asyncio.wait_for(reader.read(1), 30)
            writer.close()
            accepting.cancel()
            await asyncio.gather(accepting, return_exceptions=True)
        return said

    assert asyncio.run(wait_for_the_end()) == b""
