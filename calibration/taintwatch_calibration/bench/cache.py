"""A cache of a long run's results in a folder: a run that was stopped goes on where it was."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from taintwatch_calibration.results import write_json
from taintwatch_models.storage import write_atomically

__all__ = ["Arrays", "Cache"]

Arrays = dict[str, NDArray[Any]]
_IDENTITY = "identity"
_UNREADABLE = (OSError, ValueError, KeyError, EOFError)  # damaged, or not one of ours


class Cache:
    """A folder of results, each under the identity of what it was made from.

    What was made from something else, or cannot be read, is made again. Raises `OSError` where it cannot be written.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def arrays(self, name: str, identity: Sequence[object], make: Callable[[], Mapping[str, NDArray[Any]]]) -> Arrays:
        """Return the arrays that `make` gave when it was last called for this identity, by their names."""
        path, key = self.folder / f"{name}.npz", _key_of(identity)
        found = _read_arrays(path, key)
        if found is None:
            found = dict(make())
            stream = io.BytesIO()
            np.savez_compressed(stream, allow_pickle=False, **{_IDENTITY: np.array(key)}, **found)
            path.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(path, stream.getvalue())
        return found

    def document(self, name: str, identity: Sequence[object], make: Callable[[], Any]) -> Any:
        """Return what `make` gave when it was last called for this identity, as JSON keeps it."""
        path, key = self.folder / f"{name}.json", _key_of(identity)
        try:
            stored = json.loads(path.read_text(encoding="utf-8"))
            if stored[_IDENTITY] == key:
                return stored["record"]
        except _UNREADABLE:
            pass
        record = make()
        write_json(path, {_IDENTITY: key, "record": record})
        return json.loads(json.dumps(record))


def _key_of(identity: Sequence[object]) -> str:
    return hashlib.sha256(json.dumps([str(part) for part in identity]).encode()).hexdigest()[:16]


def _read_arrays(path: Path, key: str) -> Arrays | None:
    try:
        with np.load(path, allow_pickle=False) as stored:
            if str(stored[_IDENTITY]) != key:
                return None
            return {name: stored[name] for name in stored.files if name != _IDENTITY}
    except _UNREADABLE:
        return None
