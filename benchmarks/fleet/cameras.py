"""Simulated cameras: one HTTP server that gives each camera's snapshot, attacked where the schedule says so.

    python -m benchmarks.fleet.cameras PORT SCHEDULE.json

The schedule maps a camera's name to [start, end] pairs in seconds of `time.time()`; it is read again when it changes.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2

from tests.tiny_model import footage

__all__ = ["Attack", "SnapshotServer", "schedule_attacks"]

SIZE = (96, 128)


@dataclass(frozen=True, slots=True)
class Attack:
    """One scripted attack. JSON-ready."""

    camera: str
    start_s: float
    """`time.time()`."""
    end_s: float


def schedule_attacks(
    cameras: Sequence[str], begin_s: float, end_s: float, each: int, length_s: float, gap_s: float
) -> list[Attack]:
    """Return `each` attacks on every camera between the two moments, at random, at least `gap_s` apart."""
    rng = random.Random(0)  # noqa: S311 (a schedule, not a secret)
    slot_s = (end_s - begin_s) / each
    spare_s = slot_s - length_s - gap_s
    if spare_s < 0:
        raise ValueError(f"{each} attacks of {length_s:g} s, {gap_s:g} s apart, need more than {end_s - begin_s:.0f} s")
    attacks = []
    for camera in cameras:
        for number in range(each):
            start = begin_s + number * slot_s + rng.uniform(0.0, spare_s)
            attacks.append(Attack(camera, start, start + length_s))
    return attacks


class SnapshotServer:
    """Answers on loopback, keeping connections."""

    def __init__(self, schedule: Path) -> None:
        pictures = footage(2, [1], SIZE)
        self._plain, self._attacked = (bytes(cv2.imencode(".jpg", picture)[1].tobytes()) for picture in pictures)
        self._schedule = schedule
        self._read_ns = 0
        self._attacks: dict[str, list[tuple[float, float]]] = {}

    async def serve(self, port: int) -> None:
        """Serve until cancelled."""
        server = await asyncio.start_server(self._answer, "127.0.0.1", port)
        print("ready", flush=True)
        async with server:
            await server.serve_forever()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                request = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
                camera = request.split(" ", 2)[1].strip("/").removesuffix(".jpg")
                picture = self._attacked if self._is_attacked(camera) else self._plain
                head = f"HTTP/1.1 200 OK\r\nContent-Type: image/jpeg\r\nContent-Length: {len(picture)}\r\n\r\n"
                writer.write(head.encode() + picture)
                await writer.drain()
        except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, OSError, IndexError):
            writer.close()

    def _is_attacked(self, camera: str) -> bool:
        changed_ns = self._schedule.stat().st_mtime_ns
        if changed_ns != self._read_ns:
            self._attacks = json.loads(self._schedule.read_text())
            self._read_ns = changed_ns
        now = time.time()
        return any(start <= now < end for start, end in self._attacks.get(camera, ()))


if __name__ == "__main__":
    asyncio.run(SnapshotServer(Path(sys.argv[2])).serve(int(sys.argv[1])))
