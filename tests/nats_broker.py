"""A NATS server of one's own, with JetStream, its files in a temporary folder; Debian's package nats-server."""

from __future__ import annotations

import contextlib
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from tests.ports import free_port

__all__ = ["NatsBroker", "nats_broker"]

PATIENCE_S = 60.0
PROGRAM = shutil.which("nats-server") or shutil.which("nats-server", path="/usr/sbin")


class NatsBroker:
    """One server on loopback; `kill` and `start` again, and its stream is as it was."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._port = free_port()
        self._process: subprocess.Popen[bytes] | None = None
        self.url = f"nats://127.0.0.1:{self._port}"

    def start(self) -> None:
        """Start, and wait until it listens."""
        command = [PROGRAM or "", "-a", "127.0.0.1", "-p", str(self._port), "-js", "-sd", str(self._folder)]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        give_up = time.monotonic() + PATIENCE_S
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self._port), 1.0):
                return
            if time.monotonic() > give_up or self._process.poll() is not None:
                raise RuntimeError("nats-server does not start")
            time.sleep(0.02)

    def kill(self) -> None:
        """End it at once."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(PATIENCE_S)
            self._process = None


@contextlib.contextmanager
def nats_broker() -> Iterator[NatsBroker]:
    """Give a server that runs, and remove it with all its files."""
    folder = Path(tempfile.mkdtemp(prefix="taintwatch-nats-"))
    broker = NatsBroker(folder)
    try:
        broker.start()
        yield broker
    finally:
        broker.kill()
        shutil.rmtree(folder, ignore_errors=True)
