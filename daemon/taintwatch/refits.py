"""Which cameras are to be learnt again: what people asked for, in one file of the state folder."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from pydantic import TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from taintwatch.evidence.private_file import write_private
from taintwatch_models.errors import TaintwatchError

__all__ = ["Refit", "Refits"]


@dataclass(frozen=True, slots=True)
class Refit:
    """One camera that is to be learnt again. JSON-ready."""

    asked_wall_ns: int
    by: str
    """Who asked: a visitor of the page, a user of the command line, or the schedule."""


_STORED = TypeAdapter(dict[str, Refit])


class Refits:
    """Requests, by camera. Each call reads the file anew; any thread, and the command line, may call."""

    def __init__(self, folder: Path, *, wall_ns: Callable[[], int] = time.time_ns) -> None:
        """`folder`: the state folder."""
        self._path, self._wall_ns = folder / "refits.json", wall_ns

    def all(self) -> dict[str, Refit]:
        """Return what is asked for; nothing of a damaged file."""
        try:
            return _STORED.validate_json(self._path.read_bytes())
        except (OSError, ValidationError):
            return {}

    def ask(self, camera: str, by: str) -> Refit:
        """Ask for a camera to be learnt again. What was asked before stands. Raises `TaintwatchError`."""
        asked = self.all()
        if camera not in asked:
            asked[camera] = Refit(self._wall_ns(), by)
            self._write(asked)
        return asked[camera]

    def drop(self, camera: str) -> bool:
        """Take a request back, or say that it was met; return whether there was one. Raises `TaintwatchError`."""
        asked = self.all()
        if asked.pop(camera, None) is None:
            return False
        self._write(asked)
        return True

    def _write(self, asked: dict[str, Refit]) -> None:
        text = json.dumps({camera: asdict(refit) for camera, refit in asked.items()})
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            write_private(self._path, text.encode())
        except OSError as error:
            raise TaintwatchError(f"{self._path} cannot be written: {error.strerror}.") from error
