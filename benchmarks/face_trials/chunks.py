"""Work on many rows in pieces that are kept, so that a benchmark that was stopped goes on where it was."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from taintwatch_calibration.bench.cache import Arrays, Cache

__all__ = ["CHUNK", "in_chunks"]

CHUNK = 64


def in_chunks(folder: Path, count: int, make: Callable[[slice], Mapping[str, NDArray[Any]]]) -> Arrays:
    """Return what `make` gives for `count` rows, asked for `CHUNK` at a time, each kept in its own file."""
    cache, parts = Cache(folder), []
    for start in range(0, count, CHUNK):
        rows, name = slice(start, min(start + CHUNK, count)), f"{start:05d}"
        if not (folder / f"{name}.npz").is_file():
            print(f"{folder.name}: {start} of {count}", flush=True)
        parts.append(cache.arrays(name, (count,), lambda rows=rows: make(rows)))  # type: ignore[misc]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
