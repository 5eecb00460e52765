"""The evidence folder: where things lie in it, who may read it, and that only one daemon writes to it."""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from taintwatch_models.errors import ConfigError

__all__ = ["CLIP", "FRAME", "OVERLAY", "PART", "EvidenceFolder", "Media", "write_private"]

FRAME = "frame.jpg"
OVERLAY = "overlay.jpg"
CLIP = "clip.mp4"
EVENT_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
PART = ".part"


@dataclass(frozen=True, slots=True)
class Media:
    """The pictures and the clip of one alert."""

    event_id: str
    folder: Path
    files: tuple[Path, ...]
    """Sorted by name."""
    bytes: int
    changed_ns: int
    """When something was last put there: `time.time_ns()`."""


class EvidenceFolder:
    """One folder: `alerts.db` (SQLite), `media/EVENT_ID/{frame.jpg,overlay.jpg,clip.mp4}` and `lock`."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.database = root / "alerts.db"
        self.media = root / "media"

    def prepare(self) -> None:
        """Make the folder, 0700, where it is not there. Raises `ConfigError` where it cannot be used or is not private.

        An empty folder of ours is made private; one that holds something is refused, lest a shared one be locked up.
        """
        try:
            self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
            status = self.root.stat()
            if stat.S_IMODE(status.st_mode) & 0o077:
                if any(self.root.iterdir()):
                    raise ConfigError(
                        f"The evidence folder {self.root} can be read by other users. Run: chmod 700 {self.root}"
                    )
                self.root.chmod(0o700)
            self.media.mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            raise ConfigError(
                f"The evidence folder {self.root} cannot be used: {error.strerror}. Give [evidence] folder another one."
            ) from error

    def lock(self) -> int:
        """Take the folder for this process until the returned descriptor is closed, or the process ends in any way.

        Raises `ConfigError` where another daemon has it.
        """
        try:
            descriptor = os.open(self.root / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise ConfigError(f"The evidence folder {self.root} cannot be locked: {error.strerror}.") from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(descriptor)
            raise ConfigError(
                f"The evidence folder {self.root} is in use by another daemon. Give each its own, or stop that one."
            ) from error
        return descriptor

    def of(self, event_id: str) -> Path:
        """Return the folder of an alert's pictures. Raises `ValueError` where the id cannot name one."""
        if EVENT_ID.fullmatch(event_id) is None:
            raise ValueError(f"{event_id!r} cannot name a folder")
        return self.media / event_id

    def media_of(self, event_id: str) -> Media | None:
        """Return what there is of an alert, if anything."""
        try:
            return _look(self.of(event_id))
        except (OSError, ValueError):
            return None

    def all_media(self) -> Iterator[Media]:
        """Yield what there is of every alert."""
        try:
            folders = sorted(self.media.iterdir())
        except OSError:
            return
        for folder in folders:
            media = self.media_of(folder.name)
            if media is not None:
                yield media

    def remove_media(self, event_id: str) -> None:
        """Remove an alert's pictures. Raises `OSError`."""
        try:
            shutil.rmtree(self.of(event_id))
        except FileNotFoundError:
            return

    def remove_unfinished(self) -> None:
        """Remove what a killed process was writing."""
        for path in self.media.glob(f"*/*{PART}"):
            path.unlink(missing_ok=True)

    def bytes_used(self) -> int:
        """Return the bytes of the database and of all media, without a damaged database that was set aside."""
        parts = [self.database.with_name(self.database.name + part) for part in ("", "-wal", "-shm")]
        database = sum(part.stat().st_size for part in parts if part.is_file())
        return database + sum(media.bytes for media in self.all_media())


def write_private(path: Path, content: bytes) -> None:
    """Write a file 0600, in a folder 0700, whole or not at all. Raises `OSError`.

    It is not flushed to disk: what a power cut takes is a picture, never the alert itself.
    """
    path.parent.mkdir(mode=0o700, exist_ok=True)
    temporary = path.with_name(path.name + PART)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(content)
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise


def _look(folder: Path) -> Media:
    files = tuple(sorted(path for path in folder.iterdir() if path.suffix != PART))
    statuses = [path.stat() for path in files]
    return Media(folder.name, folder, files, sum(status.st_size for status in statuses), folder.stat().st_mtime_ns)
