"""A benchmark of some minutes in a folder of its own: its options, its lines, its folder, its result file."""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

__all__ = ["TimedRun", "all_held", "timed_run"]


@dataclass(frozen=True, slots=True)
class TimedRun:
    """What a run was asked for."""

    minutes: float
    folder: Path
    """Where it works; it goes away at the end unless it was asked to stay."""
    document: Path
    """Where the JSON goes."""
    report: Callable[[str], None]
    """Prints a line with the time since the start."""


@contextmanager
def timed_run(name: str, description: str | None, *, minutes: float) -> Iterator[TimedRun]:
    """Read the command line of `python -m benchmarks.NAME`; `minutes` is how long it runs if nothing is said."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=minutes, help=f"how long [default: {minutes:g}]")
    parser.add_argument("--json", type=Path, default=Path(f"docs/results/{name}.json"), help="where the JSON goes")
    parser.add_argument("--keep", type=Path, help="an empty folder to work in, kept afterwards with the daemon's log")
    given, start = parser.parse_args(), time.monotonic()

    def report(line: str) -> None:
        print(f"{(time.monotonic() - start) / 60:5.1f} min  {line}", flush=True)

    with tempfile.TemporaryDirectory(prefix=f"taintwatch-{name}-") as temporary:
        folder = given.keep or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        yield TimedRun(given.minutes, folder, given.json, report)


def all_held(promises: Mapping[str, bool]) -> bool:
    """Print each promise and whether it held; return whether all did."""
    for promise, held in promises.items():
        print(f"{'held' if held else 'BROKEN':8}{promise}")
    return all(promises.values())
