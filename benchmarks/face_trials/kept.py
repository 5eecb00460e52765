"""Work that is kept as it is done, piece by piece, so that a benchmark that was stopped goes on where it was."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from taintwatch_models.storage import write_atomically

__all__ = ["CHUNK", "kept", "kept_in_chunks"]

Arrays = dict[str, NDArray[Any]]
CHUNK = 64


def kept(path: Path, make: Callable[[], Mapping[str, NDArray[Any]]]) -> Arrays:
    """Return what `make` gives, from `path` where it was made before."""
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        buffer = io.BytesIO()
        np.savez(buffer, **dict(make()))  # type: ignore[arg-type]  # its stub takes names for options
        write_atomically(path, buffer.getvalue())
    with np.load(path, allow_pickle=False) as file:
        return {name: file[name] for name in file.files}


def kept_in_chunks(folder: Path, count: int, make: Callable[[slice], Mapping[str, NDArray[Any]]]) -> Arrays:
    """Return what `make` gives for `count` rows, asked for `CHUNK` at a time, each kept in its own file."""
    parts = []
    for start in range(0, count, CHUNK):
        rows = slice(start, min(start + CHUNK, count))
        path = folder / f"{start:05d}.npz"
        if not path.is_file():
            print(f"{folder.name}: {start} of {count}", flush=True)
        parts.append(kept(path, lambda rows=rows: make(rows)))  # type: ignore[misc]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
