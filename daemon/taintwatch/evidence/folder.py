"""The evidence of one daemon: its folder, which only it writes to, and where its history and its pictures are."""

from __future__ import annotations

import fcntl
import os
import stat
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from taintwatch.evidence.history import LOCAL, History
from taintwatch.evidence.media_store import LocalMedia, Media, MediaStore, media_store_of
from taintwatch.evidence.private_file import write_private
from taintwatch.evidence.sqlite_history import SqliteHistory
from taintwatch_models.errors import ConfigError

if TYPE_CHECKING:
    from taintwatch.config.outputs import EvidenceSection

__all__ = ["CLIP", "FRAME", "OVERLAY", "SCORES", "EvidenceFolder"]

FRAME = "frame.jpg"
OVERLAY = "overlay.jpg"
CLIP = "clip.mp4"
SCORES = "scores.json"


class EvidenceFolder:
    """One folder: `alerts.db` (SQLite), `media/EVENT_ID/{frame.jpg,overlay.jpg,clip.mp4}`, `lock`, `signing.key`.

    The first two may be elsewhere: a history in PostgreSQL, pictures in a store of several daemons. What people said
    is in `dismissals/EVENT_ID.{json,jpg}` and `snoozes.json`; no limit of age or size removes it.
    """

    def __init__(
        self,
        root: Path,
        *,
        history: History | None = None,
        media: MediaStore | None = None,
        daemon: str = LOCAL,
        power_safe: bool = False,
    ) -> None:
        """`daemon`: under which name this one writes to the history. `power_safe`: of SQLite, as in `connect`."""
        self.root = root
        self.dismissals = root / "dismissals"
        self.snoozes = root / "snoozes.json"
        self.history: History = history or SqliteHistory(root / "alerts.db", power_safe=power_safe)
        self.media: MediaStore = media or LocalMedia(root / "media")
        self.daemon = daemon

    @classmethod
    def of_section(cls, section: EvidenceSection, site: str) -> EvidenceFolder | None:
        """Return what a configuration says; None where nothing is kept. Raises `ConfigError`."""
        if section.folder is None:
            return None
        history: History | None = None
        if section.database is not None:
            from taintwatch.evidence.postgres_history import PostgresHistory

            file = section.database_password_file
            history = PostgresHistory(section.database, password_file=None if file is None else Path(file))
        return cls(
            Path(section.folder),
            history=history,
            media=None if section.media is None else media_store_of(section.media),
            daemon=LOCAL if history is None else section.daemon or site,
            power_safe=section.power_safe,
        )

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
        except OSError as error:
            raise ConfigError(
                f"The evidence folder {self.root} cannot be used: {error.strerror}. Give [evidence] folder another one."
            ) from error
        try:
            self.media.prepare()
        except OSError as error:
            raise ConfigError(f"[evidence] media cannot be used: {error.strerror or error}.") from error

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

    def media_of(self, event_id: str) -> Media | None:
        """Return what there is of an alert, if anything."""
        return self.media.media_of(event_id)

    def all_media(self, known: Iterable[str] = ()) -> Iterator[Media]:
        """Yield what there is of every alert; in a place that daemons share, of these `known` ones."""
        return self.media.all(known)

    def put(self, event_id: str, name: str, content: bytes) -> None:
        """Keep a picture, whole or not at all. Raises `OSError`, `ValueError`."""
        self.media.put(event_id, name, lambda path: write_private(path, content))

    def put_made(self, event_id: str, name: str, make: Callable[[Path], object]) -> None:
        """Keep what `make` writes to the path that it is given. Raises `OSError`, `ValueError`."""
        self.media.put(event_id, name, make)

    def remove_media(self, event_id: str) -> None:
        """Remove an alert's pictures. Raises `OSError`."""
        self.media.remove(event_id)

    def bytes_used(self, known: Iterable[str] = ()) -> int:
        """Return the bytes of the history on this disk and of all media, as `all_media` counts them."""
        return self.history.bytes_used() + sum(media.bytes for media in self.all_media(known))
