"""What viewers of the page cost the pipeline: frames a second with and without them, in turns of one run.

    python -m benchmarks.page_viewers [--viewers 50] [--seconds 60] [--turns 3] [--source SPEC] [--json F]

The daemon is a process of its own (the bundled model, the simulated scene as a camera of 30 frames a second); the
viewers are another. Half of the time nobody looks. One more viewer, while they look, takes nothing at all: it must be
let go without anybody noticing.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import multiprocessing
import os
import socket
import statistics
import struct
import subprocess
import sys
import tempfile
import threading
import urllib.request
from dataclasses import asdict, dataclass
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Any

from taintwatch_calibration.machine import machine

SOURCE = "sim:?loop=1&fps=30"
STATUS_S = 0.5
START_S = 120.0


@dataclass(frozen=True)
class Turn:
    """One stretch of time."""

    viewers: int
    seconds: float
    frames: int
    pictures: int

    @property
    def fps(self) -> float:
        return self.frames / self.seconds


class Daemon:
    """A daemon with a page; its statuses are followed by a thread."""

    def __init__(self, source: str, viewers: int, folder: Path) -> None:
        self.port = free_port()
        config = folder / "page.toml"
        config.write_text(
            f'[[camera]]\nname = "door"\nsource = "{source}"\n[publish]\nbind = "tcp://127.0.0.1:*"\n'
            f'status_s = {STATUS_S}\n[web]\nbind = "127.0.0.1:{self.port}"\nviewers = {viewers + 4}\n'
        )
        program = str(Path(sys.executable).with_name("taintwatch"))
        self._process = subprocess.Popen(
            [program, "run", "--config", str(config), "--json"], stdout=subprocess.PIPE, text=True
        )
        self.status: dict[str, Any] = {"frames": 0, "seconds": 0.0}
        self._running = threading.Event()
        threading.Thread(target=self._follow, daemon=True).start()

    def wait(self) -> None:
        """Wait until it judges frames."""
        if not self._running.wait(START_S):
            raise SystemExit("the daemon judged no frame in time")

    def about(self) -> dict[str, Any]:
        """Ask the page for its counts."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/api/about", timeout=60) as answer:
            told: dict[str, Any] = json.load(answer)
            return told

    def close(self) -> None:
        self._process.terminate()
        self._process.wait(60)

    def _follow(self) -> None:
        for line in self._process.stdout or ():
            told = json.loads(line)
            if told["kind"] == "status":
                self.status = told
                if told["frames"] > 0:
                    self._running.set()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def look(port: int, count: int, stop: Event, pictures: Any) -> None:
    """Look with `count` viewers until told to stop (a process of its own)."""
    os.setsid()  # Linux shares the processor out by sessions: viewers are no part of the daemon's
    asyncio.run(_look_all(port, count, stop, pictures))


async def _look_all(port: int, count: int, stop: Event, pictures: Any) -> None:
    viewers = [asyncio.create_task(_look(port, pictures)) for _ in range(count)]
    while not stop.is_set():
        await asyncio.sleep(0.1)
    for viewer in viewers:
        viewer.cancel()
    await asyncio.gather(*viewers, return_exceptions=True)


async def _look(port: int, pictures: Any) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(b"GET /stream HTTP/1.0\r\nHost: localhost\r\n\r\n")
        await reader.readuntil(b"\r\n\r\n")
        while True:
            text, jpeg = struct.unpack(">II", await reader.readexactly(8))
            await reader.readexactly(text + jpeg)
            pictures.value += jpeg > 0
    finally:
        writer.close()


def turn(daemon: Daemon, viewers: int, seconds: float) -> Turn:
    """Let so many look for so long, and count the frames that were judged meanwhile."""
    stop, pictures = multiprocessing.Event(), multiprocessing.Value("L", 0)
    process = multiprocessing.Process(target=look, args=(daemon.port, viewers, stop, pictures))
    with contextlib.ExitStack() as stack:
        if viewers:
            process.start()
            stack.callback(process.join)
            stack.callback(stop.set)
            stuck = stack.enter_context(socket.create_connection(("127.0.0.1", daemon.port)))
            stuck.sendall(b"GET /stream HTTP/1.1\r\nHost: localhost\r\n\r\n")
        pause = threading.Event()
        pause.wait(2.0)  # the change itself is not measured
        before, seen = daemon.status, pictures.value
        pause.wait(seconds)
        after = daemon.status
        return Turn(
            viewers, after["seconds"] - before["seconds"], after["frames"] - before["frames"], pictures.value - seen
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--viewers", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=60.0, help="with viewers, and as long without")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--source", default=SOURCE)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    length = arguments.seconds / arguments.turns
    with tempfile.TemporaryDirectory() as folder:
        daemon = Daemon(arguments.source, arguments.viewers, Path(folder))
        try:
            daemon.wait()
            turns = [turn(daemon, count, length) for _ in range(arguments.turns) for count in (0, arguments.viewers)]
            audience, status = daemon.about()["audience"], daemon.status
        finally:
            daemon.close()
    report(turns, audience, status, arguments)


def report(turns: list[Turn], audience: dict[str, Any], status: dict[str, Any], arguments: argparse.Namespace) -> None:
    ratios = [shown.fps / alone.fps for alone, shown in zip(turns[::2], turns[1::2], strict=True)]
    print("viewers  seconds  frames/s  pictures/s for each viewer")
    for each in turns:
        rate = each.pictures / each.seconds / each.viewers if each.viewers else 0.0
        print(f"{each.viewers:7}  {each.seconds:7.1f}  {each.fps:8.2f}  {rate:8.2f}")
    print(f"with viewers / without: median {statistics.median(ratios):.3f} ({min(ratios):.3f} to {max(ratios):.3f})")
    print(f"let go because they took nothing: {audience['dropped']}; drops of the pipeline: {status['drops']}")
    result = {
        "machine": machine(),
        "source": arguments.source,
        "turns": [asdict(each) | {"fps": each.fps} for each in turns],
        "ratios": ratios,
        "ratio": statistics.median(ratios),
        "audience": audience,
        "status": status,
    }
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
