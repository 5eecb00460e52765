"""Lines that native libraries write to standard error (`Corrupt JPEG data`, `libpng error`), brought into the log."""

from __future__ import annotations

import logging
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["native_lines_to_log"]

_log = logging.getLogger(__name__)

STANDARD_ERROR = 2
LONGEST_LINE = 1000


@contextmanager
def native_lines_to_log() -> Iterator[None]:
    """Send what is written to file descriptor 2 through the log, line by line, while Python's own lines go past it.

    Without this they land between JSON lines, or in the middle of one.
    """
    sys.stderr.flush()
    kept, (reading, writing) = os.dup(STANDARD_ERROR), os.pipe()
    os.dup2(writing, STANDARD_ERROR)
    os.close(writing)
    before = sys.stderr
    sys.stderr = open(kept, "w", encoding="utf-8", errors="replace", buffering=1)  # noqa: SIM115, PTH123 - a descriptor; closed below
    thread = threading.Thread(target=_log_lines, args=(reading,), name="native output", daemon=True)
    thread.start()
    try:
        yield
    finally:
        os.dup2(kept, STANDARD_ERROR)  # closes the pipe's last writing end: the thread reads the rest and ends
        thread.join(1.0)
        ours, sys.stderr = sys.stderr, before
        ours.close()


def _log_lines(reading: int) -> None:
    with open(reading, encoding="utf-8", errors="replace") as lines:
        for line in lines:
            if line.strip():
                _log.warning("a native library says: %s", line.strip()[:LONGEST_LINE])
