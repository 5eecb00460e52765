"""Runs the installed `taintwatch` as a process of its own, as a user would."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

__all__ = ["PROGRAM", "finish", "records", "start", "taintwatch"]

PROGRAM = Path(sys.executable).with_name("taintwatch")
PATIENCE_S = 200.0  # only so that a hanging program fails a test instead of the whole run
ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1", "NO_COLOR": "1", "COLUMNS": "200"}


def taintwatch(*arguments: str | Path, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run the program to its end and return its status and what it printed."""
    return subprocess.run(
        [str(PROGRAM), *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
        cwd=cwd,
        env=ENVIRONMENT,
    )


@contextmanager
def start(*arguments: str | Path) -> Iterator[subprocess.Popen[str]]:
    """Start the program and give it; it is killed at the end if the test has not ended it."""
    process = subprocess.Popen(
        [str(PROGRAM), *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=ENVIRONMENT,
    )
    with process:
        try:
            yield process
        finally:
            process.kill()


def finish(process: subprocess.Popen[str]) -> tuple[str, str]:
    """Wait for a started program and return the rest of what it printed."""
    return process.communicate(timeout=PATIENCE_S)


def records(text: str) -> list[dict[str, Any]]:
    """Parse JSON lines."""
    return [json.loads(line) for line in text.splitlines()]
