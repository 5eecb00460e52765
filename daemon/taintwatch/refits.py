"""Which cameras are to be learnt again: what people asked for, in one file of the state folder."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from pydantic import TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from taintwatch.evidence.private_file import write_private
from taintwatch_models.errors import TaintwatchError

__all__ = ["Refit", "Refits"]

_log = logging.getLogger(__name__)


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
        self.notice: str | None = None
        """What was lost with a damaged file, as one sentence, until somebody asks anew; None: nothing."""

    def all(self) -> dict[str, Refit]:
        """Return what is asked for. A damaged file is set aside and counts as empty, which `notice` and the log say."""
        try:
            found = _STORED.validate_json(self._path.read_bytes())
        except FileNotFoundError:
            return {}
        except OSError as error:
            self._say(f"{self._path} cannot be read ({error.strerror}); no camera is learnt again until it can be")
            return {}
        except ValidationError:
            self._set_aside()
            return {}
        self.notice = None
        return found

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

    def _set_aside(self) -> None:
        aside = self._path.with_name(self._path.name + ".damaged")
        try:
            self._path.replace(aside)
            where = f"kept as {aside.name}"
        except OSError as error:
            where = f"and cannot be set aside ({error.strerror})"
        self._say(f"{self._path} was damaged, {where}; ask again for the cameras that were to be learnt again")

    def _say(self, notice: str) -> None:
        if notice != self.notice:
            self.notice = notice
            _log.error("%s", notice)

    def _write(self, asked: dict[str, Refit]) -> None:
        text = json.dumps({camera: asdict(refit) for camera, refit in asked.items()})
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            write_private(self._path, text.encode())
        except OSError as error:
            raise TaintwatchError(f"{self._path} cannot be written: {error.strerror}.") from error
