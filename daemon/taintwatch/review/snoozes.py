"""Cameras whose alerts notify nobody for a while. They are still raised, kept and published."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from taintwatch.evidence.private_file import write_private
from taintwatch_models.errors import TaintwatchError, UsageError

__all__ = ["LONGEST_MINUTES", "Snoozes"]

LONGEST_MINUTES = 1440
_UNTIL = TypeAdapter(dict[str, int])


class Snoozes:
    """Until when each camera is snoozed, in one file. Each call reads it anew; any thread may call."""

    def __init__(self, path: Path, *, wall_ns: Callable[[], int] = time.time_ns) -> None:
        self._path, self._wall_ns = path, wall_ns

    def all(self) -> dict[str, int]:
        """Return when the snooze of each camera ends (`time.time_ns()`), where it has not; none of a damaged file."""
        try:
            found = _UNTIL.validate_json(self._path.read_bytes())
        except (OSError, ValidationError):
            return {}
        now = self._wall_ns()
        return {camera: until for camera, until in found.items() if now < until <= now + LONGEST_MINUTES * 60 * 10**9}

    def is_snoozed(self, camera: str) -> bool:
        """Whether alerts of a camera are to notify nobody now."""
        return camera in self.all()

    def set(self, camera: str, minutes: float) -> int | None:
        """Snooze a camera for so long from now (0: wake it), and return until when. Raises `UsageError`."""
        if not 0 <= minutes <= LONGEST_MINUTES:
            raise UsageError(f"A camera can be snoozed for 0 to {LONGEST_MINUTES} minutes.")
        until = self.all()
        until.pop(camera, None)
        if minutes:
            until[camera] = self._wall_ns() + round(minutes * 60e9)
        try:
            write_private(self._path, json.dumps(until).encode())
        except OSError as error:
            raise TaintwatchError(f"{self._path} cannot be written: {error.strerror}.") from error
        return until.get(camera)
