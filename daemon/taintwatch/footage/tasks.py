"""One item of work, as it travels to a worker."""

from __future__ import annotations

import hashlib
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["Results", "Task", "fingerprint_of"]

Results = Generator[tuple[int, Any], None, None]
"""What an engine yields: (place in the tasks, result) as they end. Closing it ends the workers."""


@dataclass(frozen=True, slots=True)
class Task:
    """What a worker is given."""

    key: str
    """Names the item in messages and in the folder of results; each has its own."""
    argument: Any
    """What the function is called with; can be pickled."""
    fingerprint: str = ""
    """Whatever else the result depends on (settings, the file's size and time): another's kept result is not used."""


def fingerprint_of(path: Path, *settings: str) -> str:
    """Return a digest of a file's size and time of change (not of its content) and of the settings, in hex."""
    status = path.stat()
    parts = (str(status.st_size), str(status.st_mtime_ns), *settings)
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:32]
