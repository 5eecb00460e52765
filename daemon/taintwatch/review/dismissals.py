"""What people dismissed, kept beside the alerts: the frame, the place, the label. Listed, and undone with one call.

Only people add to it. `dismissals/EVENT_ID.json` and `.jpg` are one dismissal; daemon, page and command line share it.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter, ValidationError

from taintwatch.evidence.media_store import EVENT_ID
from taintwatch.evidence.private_file import write_private
from taintwatch.review.appearance import Appearance, Box
from taintwatch_models.errors import BadFrame, TaintwatchError, UsageError, first_line
from taintwatch_models.image_file import decode_image

__all__ = ["Dismissal", "Dismissals", "Known", "Reason"]

_log = logging.getLogger(__name__)

MOST = 100  # of one camera: whoever has dismissed more has a detector to calibrate
LARGEST_JPEG = 16 << 20
LOOK_S = 1.0  # how soon what another process dismissed counts
SETTLED_NS = 100_000_000  # a folder that changed just now may change again within its clock's step


class Reason(StrEnum):
    """Why something is not raised."""

    FALSE_ALARM = "false alarm"
    """It is benign: it counts as nothing, whatever its score."""
    ACKNOWLEDGED = "acknowledged"
    """Somebody knows of it: it keeps an open alert open, and raises no new one until `until_wall_ns`."""


@dataclass(frozen=True, slots=True)
class Dismissal:
    """One thing that a person judged. JSON-ready."""

    event_id: str
    """Of the alert that it was judged at."""
    camera: str
    reason: Reason
    created_wall_ns: int
    by: str
    """Who said so: `page`, or `command line`."""
    labels: tuple[int, ...]
    """What the classifier said of it, for people: what looks the same is the same whatever it is called."""
    label_name: str
    boxes: tuple[Box, ...]
    until_wall_ns: int | None = None
    """From then on it counts no more; None: until it is undone."""


@dataclass(frozen=True, slots=True, eq=False)
class Known:
    """A dismissal with what it looks like."""

    dismissal: Dismissal
    appearance: Appearance


_DISMISSAL = TypeAdapter(Dismissal)


class Dismissals:
    """The dismissals in one folder, which is made with the first one. Any thread may call."""

    def __init__(
        self,
        folder: Path,
        *,
        wall_ns: Callable[[], int] = time.time_ns,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._folder = folder
        self._wall_ns, self._clock = wall_ns, clock
        self._lock = threading.Lock()
        self._known: dict[str, tuple[Known, ...]] = {}
        self._seen_ns: int | None = None
        self._next_look = 0.0

    def all(self) -> list[Dismissal]:
        """Return what counts now, oldest first. Raises `TaintwatchError` where the folder cannot be read."""
        try:
            files = sorted(self._folder.glob("*.json"))
        except OSError as error:
            raise TaintwatchError(f"{self._folder} cannot be read: {error.strerror}.") from error
        found = [one for one in map(_read, files) if one is not None and not self._is_over(one)]
        return sorted(found, key=lambda one: (one.created_wall_ns, one.event_id))

    def of(self, camera: str) -> tuple[Known, ...]:
        """Return what counts at a camera now. Looks at the folder once a second; never raises."""
        with self._lock:
            if self._clock() >= self._next_look:
                self._next_look = self._clock() + LOOK_S
                self._look()
            known = self._known.get(camera, ())
        return tuple(one for one in known if not self._is_over(one.dismissal))

    def add(self, dismissal: Dismissal, jpeg: bytes) -> None:
        """Keep a dismissal with its frame, in place of one of that alert. Raises `UsageError`, `TaintwatchError`."""
        camera = [one.event_id for one in self.all() if one.camera == dismissal.camera]
        if len(camera) >= MOST and dismissal.event_id not in camera:
            raise UsageError(f"Camera {dismissal.camera} has {MOST} dismissals; undo some, or learn the camera anew.")
        if not dismissal.boxes or len(jpeg) > LARGEST_JPEG or _decoded(jpeg) is None:
            raise UsageError("An alert without a region and a picture cannot be dismissed.")
        path = self._path(dismissal.event_id)
        try:
            write_private(path.with_suffix(".jpg"), jpeg)
            write_private(path, json.dumps(asdict(dismissal), indent=1).encode())
        except OSError as error:
            raise TaintwatchError(f"{self._folder} cannot be written: {error.strerror}. Try again.") from error

    def undo(self, event_id: str) -> Dismissal:
        """Take a dismissal back, and return it. Raises `UsageError` where there is none, `TaintwatchError`."""
        path = self._path(event_id)
        found = _read(path)
        if found is None:
            raise UsageError(f"There is no dismissal {event_id[:64]}.")
        try:
            path.unlink()
            path.with_suffix(".jpg").unlink(missing_ok=True)
        except OSError as error:
            raise TaintwatchError(f"{path} cannot be removed: {error.strerror}.") from error
        return found

    def picture(self, event_id: str) -> Path | None:
        """Return the frame of a dismissal, where there is one."""
        try:
            path = self._path(event_id).with_suffix(".jpg")
        except UsageError:
            return None
        return path if path.is_file() and not path.is_symlink() else None

    def _path(self, event_id: str) -> Path:
        if EVENT_ID.fullmatch(event_id) is None:
            raise UsageError(f"There is no dismissal {event_id[:64]}.")
        return self._folder / f"{event_id}.json"

    def _is_over(self, dismissal: Dismissal) -> bool:
        return dismissal.until_wall_ns is not None and self._wall_ns() >= dismissal.until_wall_ns

    def _look(self) -> None:
        """Read the folder again where it changed."""
        try:
            changed_ns = self._folder.stat().st_mtime_ns
        except OSError:
            self._known, self._seen_ns = {}, None
            return
        if changed_ns == self._seen_ns:
            return
        known: dict[str, tuple[Known, ...]] = {}
        for path in sorted(self._folder.glob("*.json")):
            one = _known(path)
            if one is not None and len(known.get(one.dismissal.camera, ())) < MOST:
                known[one.dismissal.camera] = (*known.get(one.dismissal.camera, ()), one)
        self._known = known
        self._seen_ns = changed_ns if time.time_ns() - changed_ns > SETTLED_NS else None


def _known(path: Path) -> Known | None:
    dismissal = _read(path)
    if dismissal is None:
        return None
    try:
        with path.with_suffix(".jpg").open("rb") as stream:
            data = stream.read(LARGEST_JPEG)
    except OSError:
        data = b""
    image = _decoded(data)
    if image is None:
        _log.warning("the dismissal %s counts for nothing: its picture cannot be read", path.stem)
        return None
    return Known(dismissal, Appearance.of(image, dismissal.boxes))


def _decoded(jpeg: bytes) -> NDArray[np.uint8] | None:
    try:
        return decode_image(jpeg, "the dismissal's picture")
    except BadFrame:
        return None


def _read(path: Path) -> Dismissal | None:
    """Return the dismissal of a file; None, and a line in the log, where it is damaged."""
    try:
        found: Dismissal = _DISMISSAL.validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValidationError) as error:
        _log.warning("the dismissal %s counts for nothing: %s", path.stem, first_line(error))
        return None
    return found if found.boxes else None
