"""The daemon as a process of its own, as a service manager would run it, and what can be seen of it from outside."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

__all__ = ["Daemon", "Sample"]

PROGRAM = Path(sys.executable).with_name("taintwatch")
WATCHDOG_S = 10.0
START_S = 60.0


@dataclass(frozen=True, slots=True)
class Sample:
    """What the process used at one moment."""

    at_s: float
    pid: int
    resident_bytes: int
    threads: int
    descriptors: int


class Daemon:
    """Starts the daemon, kills it, starts it again; keeps what it printed and told the service manager.

    Alerts are printed after they were published: that is the ledger, from which nothing may be missing elsewhere.
    """

    def __init__(self, folder: Path, config: Path, environment: dict[str, str]) -> None:
        self.alerts: list[dict[str, Any]] = []
        self.samples: list[Sample] = []
        self.lives = 0
        self.longest_watchdog_gap_s = 0.0
        self.status = ""
        """What it told the service manager last."""
        self._config = config
        self._environment = environment
        self.log = folder / "daemon.log"
        self._trace = folder / "samples.csv"
        self._address = str(folder / "notify")
        self._notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._notify.bind(self._address)
        self._ready = threading.Event()
        self._process: subprocess.Popen[str] | None = None
        self._fed_s: float | None = None
        threading.Thread(target=self._listen, name="notify", daemon=True).start()

    @property
    def pid(self) -> int:
        """The process that runs now. Raises `RuntimeError` where none does."""
        if self._process is None or self._process.poll() is not None:
            raise RuntimeError(f"the daemon is gone; {self.log} says why")
        return self._process.pid

    def start(self) -> None:
        """Start it and wait until it says that it is ready. Raises `RuntimeError`."""
        self._ready.clear()
        self._fed_s = None
        with self.log.open("a") as log:
            self._process = subprocess.Popen(
                [str(PROGRAM), "run", "--config", str(self._config), "--json", "--quiet", "--log-json"],
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env=os.environ
                | {"MALLOC_ARENA_MAX": "1"}  # as the unit file does
                | {"OMP_NUM_THREADS": "1", "NOTIFY_SOCKET": self._address, "WATCHDOG_USEC": f"{WATCHDOG_S * 1e6:.0f}"}
                | self._environment,
            )
        threading.Thread(target=self._read, args=(self._process,), name="ledger", daemon=True).start()
        deadline = time.monotonic() + START_S
        while not self._ready.wait(0.1):
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"the daemon does not start; {self.log} says why")
        self.lives += 1

    def kill(self) -> None:
        """End it with SIGKILL, and wait until the last line that it printed was read."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def stop(self) -> int:
        """End it with SIGTERM; return its exit status."""
        if self._process is None:
            return 0
        self._process.terminate()
        return self._process.wait(timeout=30)

    def hang_up(self) -> None:
        """Ask for a reload."""
        os.kill(self.pid, signal.SIGHUP)

    def sample(self) -> Sample:
        """Look at what it uses, and keep that."""
        process = psutil.Process(self.pid)
        sample = Sample(
            time.monotonic(), process.pid, process.memory_info().rss, process.num_threads(), process.num_fds()
        )
        self.samples.append(sample)
        with self._trace.open("a") as trace:
            trace.write(
                f"{sample.at_s:.1f},{sample.pid},{sample.resident_bytes},{sample.threads},{sample.descriptors}\n"
            )
        return sample

    @contextmanager
    def sampled(self, every_s: float) -> Iterator[None]:
        """Sample every so many seconds within the block, also while it is being restarted."""
        ended = threading.Event()

        def run() -> None:
            while not ended.wait(every_s):
                with suppress(RuntimeError, OSError, psutil.Error):
                    self.sample()

        thread = threading.Thread(target=run, name="sampler", daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()

    def log_size(self) -> int:
        """Return how much it has logged: what comes later can be looked for from there."""
        return self.log.stat().st_size

    def log_since(self, size: int) -> str:
        """Return what it has logged since."""
        with self.log.open("rb") as log:
            log.seek(size)
            return log.read().decode(errors="replace")

    def close(self) -> None:
        """Kill what still runs."""
        self.kill()
        self._notify.close()

    def _read(self, process: subprocess.Popen[str]) -> None:
        if process.stdout is None:
            return
        with process.stdout as lines:
            for line in lines:
                # A killed process may leave half a line.
                record = json.loads(line) if line.endswith("\n") else {}
                if record.get("kind") == "alert":
                    self.alerts.append(record)

    def _listen(self) -> None:
        while True:
            try:
                text = self._notify.recv(4096).decode()
            except OSError:
                return
            self.status = next((line for line in text.splitlines() if line.startswith("STATUS=")), self.status)
            if "READY=1" in text.splitlines():
                self._ready.set()
            if "WATCHDOG=1" in text.splitlines():
                now = time.monotonic()
                if self._fed_s is not None:
                    self.longest_watchdog_gap_s = max(self.longest_watchdog_gap_s, now - self._fed_s)
                self._fed_s = now
