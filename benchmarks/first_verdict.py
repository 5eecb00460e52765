"""How long it takes a newcomer: from `pip install` of the wheel to the first verdict on a picture; how much to read.

    python -m benchmarks.first_verdict [--picture photo.jpg] [--json docs/results/first_verdict.json]

The wheel is built and those of its dependencies are fetched before the clock starts, so the install's figure is one
without a network; how much would be downloaded is said beside it. The check runs in the fresh environment, first and
once more, with the bundled model. Words are those of the README up to the command that was run.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import resource
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from taintwatch_calibration.machine import machine
from taintwatch_models.errors import TaintwatchError, UsageError
from taintwatch_models.storage import write_atomically

__all__ = ["Timed", "main", "words_until"]

ROOT = Path(__file__).parents[1]
COMMAND = "taintwatch check"
_MARKS = re.compile(r"<!--.*?-->|!\[[^\]]*\]\([^)]*\)|\]\([^)]*\)|[`*_#|\[]")
"""What is not read: comments, pictures, the addresses of links, and marks."""
_SUSPICIOUS = 1


def words_until(text: str, command: str) -> int:
    """Count the words that are read before `command` can be typed, its line included. Raises `UsageError`."""
    before, found, after = text.partition(command)
    if not found:
        raise UsageError(f"the page does not name {command!r}")
    return len(_MARKS.sub(" ", before + found + after.partition("\n")[0]).split())


@dataclass(frozen=True, slots=True)
class Timed:
    """A command that ended as it should."""

    wall_s: float
    processor_s: float
    """What an idle machine would take, where the disk is no slower than the processor."""
    printed: str

    def seconds(self) -> dict[str, float]:
        """Return both, JSON-ready."""
        return {"wall_s": round(self.wall_s, 2), "processor_s": round(self.processor_s, 2)}


def timed(words: Sequence[str], accepted: tuple[int, ...] = (0,), **more: str) -> Timed:
    """Run a command with `more` in its environment. Raises `UsageError` where it ends as it should not.

    Without PYTHONPATH: what is installed is to be run, not the checkout.
    """
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | more
    begin, used = time.perf_counter(), _processor_s()
    done = subprocess.run(words, capture_output=True, text=True, check=False, env=environment)
    if done.returncode not in accepted:
        raise UsageError(f"{' '.join(words)}: exit status {done.returncode}: {done.stderr.strip()[-300:]}")
    return Timed(time.perf_counter() - begin, _processor_s() - used, done.stdout.strip())


def _processor_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def collect(folder: Path) -> dict[str, Any]:
    """Build the wheel and fetch all that it needs into `folder`; return what lies there."""
    print("building the wheel, and fetching what it needs", flush=True)
    timed([sys.executable, "-m", "pip", "wheel", "--quiet", "--wheel-dir", str(folder), str(ROOT)])
    sizes = {path.name: path.stat().st_size for path in folder.glob("*.whl")}
    largest = max(sizes, key=lambda name: sizes[name])
    return {
        "wheels": len(sizes),
        "megabytes": round(sum(sizes.values()) / 1e6),
        "largest": {"wheel": largest, "megabytes": round(sizes[largest] / 1e6)},
    }


def measure(wheels: Path, environment: Path, picture: Path) -> dict[str, Timed]:
    """Install into a fresh environment and check a picture twice; return what each step took."""
    venv.create(environment, with_pip=True)
    python, program = environment / "bin" / "python", environment / "bin" / "taintwatch"
    install = [str(python), "-m", "pip", "install", "--quiet", "--no-index", "--find-links", str(wheels), "taintwatch"]
    check = [str(program), "check", str(picture)]
    return {
        "install": timed(install, PIP_CONFIG_FILE="/dev/null", PIP_FIND_LINKS=str(wheels)),
        "first_check": timed(check, (0, _SUSPICIOUS)),
        "next_check": timed(check, (0, _SUSPICIOUS)),
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print, and write JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--picture", type=Path, default=ROOT / "docs" / "images" / "street.jpg")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args(arguments)
    if not options.picture.is_file():
        raise UsageError(f"--picture {options.picture}: no such file")
    with tempfile.TemporaryDirectory() as name:
        wheels = Path(name) / "wheels"
        fetched = collect(wheels)
        found = measure(wheels, Path(name) / "venv", options.picture)
    words = words_until((ROOT / "README.md").read_text(), COMMAND)
    print(found["first_check"].printed)
    print(f"{words} words to read; {fetched['wheels']} wheels, {fetched['megabytes']} MB, fetched before")
    for step, took in found.items():
        print(f"{step}: {took.wall_s:.1f} s, of the processor {took.processor_s:.1f} s")
    if options.json is not None:
        steps = {step: took.seconds() for step, took in found.items()}
        document = {**machine(), "picture": options.picture.name, "words": words, **fetched, **steps}
        write_atomically(options.json, (json.dumps(document, indent=1) + "\n").encode())


if __name__ == "__main__":
    try:
        main()
    except TaintwatchError as error:
        print(f"first_verdict: {error}", file=sys.stderr)
        sys.exit(error.exit_status)
