"""Who attacks: threads of the siege, and processes of their own."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
from collections.abc import Callable, Sequence
from typing import Any

from benchmarks.siege.attacks import ATTACKS, Siege
from benchmarks.siege.site import SiegeSite

__all__ = ["Attackers", "attack_repeatedly"]


class Attackers:
    """Attackers in processes of their own, below everybody's priority: real ones bring their own machines."""

    def __init__(self, site: SiegeSite, names: Sequence[str]) -> None:
        spawn = multiprocessing.get_context("spawn")
        self._ended = spawn.Event()
        self._reports: Any = spawn.Queue()
        self._processes = [
            spawn.Process(target=_attacker, args=(site, name, self._ended, self._reports), daemon=True)
            for name in names
        ]
        for process in self._processes:
            process.start()

    def end(self, siege: Siege, counts: dict[str, int]) -> None:
        """Stop them, and take what they report."""
        self._ended.set()
        for _ in self._processes:
            name, times, failures, waits = self._reports.get(timeout=180.0)
            counts[name] = times
            siege.waits += waits
            for attack, sentences in failures.items():
                for sentence in sentences:
                    siege.fail(attack, sentence)
        for process in self._processes:
            process.join(10.0)


def _attacker(site: SiegeSite, name: str, ended: Any, reports: Any) -> None:
    os.nice(10)
    siege, counts = Siege(site), {name: 0}
    attack_repeatedly(siege, name, counts, ended, print)
    reports.put((name, counts[name], siege.failures, siege.waits))


def attack_repeatedly(siege: Siege, name: str, counts: dict[str, int], ended: Any, tell: Callable[[str], None]) -> None:
    """Attack over and over until `ended`, and count in `counts`."""
    while not ended.is_set():
        try:
            ATTACKS[name](siege)
        except (
            OSError,
            ValueError,
            RuntimeError,
            subprocess.SubprocessError,
        ) as error:  # an attacker that was turned away comes again
            tell(f"{name}: {type(error).__name__}: {error}")
            ended.wait(1.0)
        counts[name] += 1
