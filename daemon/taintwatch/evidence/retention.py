"""Which evidence is removed: by age, by bytes and by free space, never an open or a pinned alert's."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from taintwatch.evidence.annotations import Annotation, Annotations
from taintwatch.evidence.folder import EvidenceFolder
from taintwatch.evidence.reader import AlertReader, Filter
from taintwatch.evidence.removal import Item, Limits, Removal, items_of, plan_removal
from taintwatch.evidence.store import AlertStore
from taintwatch.records import Alert
from taintwatch_models.errors import TaintwatchError

__all__ = ["Holdings", "RetentionJob"]

_log = logging.getLogger(__name__)

AT_ONCE = 50  # alerts in one transaction: a record that is to be published waits for it


@dataclass(frozen=True, slots=True)
class Holdings:
    """What was kept when it was last looked."""

    alerts: int = 0
    """Alerts that have a record or pictures."""
    bytes: int = 0
    """Of the database, the pictures and the clips together."""
    free_bytes: int = 0
    """On the disk."""


class RetentionJob:
    """Plans and does removals. `busy`: the alerts whose clip is being taken. Used by one thread at a time."""

    def __init__(
        self,
        folder: EvidenceFolder,
        store: AlertStore,
        limits: Limits,
        *,
        busy: Callable[[], frozenset[str]] = frozenset,
        free_bytes: Callable[[], int] | None = None,
        wall_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self._folder = folder
        self._store = store
        self._limits = limits
        self._busy = busy
        self._free_bytes = free_bytes or folder.media.free_bytes
        self._known: frozenset[str] = frozenset()
        self._wall_ns = wall_ns
        self._told_full = False
        self.removed = 0
        """Alerts whose pictures, or all, were removed."""
        self.holdings: Holdings | None = None
        """None before the first look. Replaced as a whole: any thread may read it."""

    def plan(self) -> Removal:
        """Return what is beyond the limits now. Raises `TaintwatchError` or `OSError` where it cannot be read."""
        history, own = self._folder.history, Filter(daemon=self._folder.daemon)
        kept = AlertReader(history).alerts(own) if history.is_there() else []
        self._known = frozenset(alert.event_id for alert in kept)
        annotations = Annotations(history).of(self._known)
        pinned = frozenset(key for key, each in annotations.items() if each != Annotation())
        media = tuple(self._folder.all_media(self._known))
        items = items_of(kept, media, self._busy(), pinned)
        size = history.bytes_used() + sum(each.bytes for each in media)
        held = self.holdings = Holdings(len(items), size, self._free_bytes())
        if kept and (held.bytes > self._limits.max_bytes or held.free_bytes < self._limits.min_free_bytes):
            items = self._with_places(items)
        return plan_removal(
            items, self._limits, now_ns=self._wall_ns(), used_bytes=held.bytes, free_bytes=held.free_bytes
        )

    def _with_places(self, items: list[Item]) -> list[Item]:
        """Say of each alert where in the picture it was: only its record tells, and only too many need to know."""
        latest = AlertReader(self._folder.history).latest([item.event_id for item in items])
        bodies = {event_id: message.body for event_id, message in latest.items()}
        boxes = {
            event_id: body.region.box for event_id, body in bodies.items()
            if isinstance(body, Alert) and body.region is not None
        }  # fmt: skip
        return [replace(item, box=boxes.get(item.event_id)) for item in items]

    def tidy(self) -> Removal:
        """Remove what is beyond the limits, and return it. Raises `TaintwatchError` or `OSError`."""
        removal = self.plan()
        whole = [item.event_id for item in removal.whole]
        for start in range(0, len(whole), AT_ONCE):
            self._store.forget(whole[start : start + AT_ONCE])
        for item in (*removal.whole, *removal.media):
            self._folder.remove_media(item.event_id)
            self.removed += 1
        if removal.whole or removal.media:
            self._look_again(len(removal.whole))
            _log.info(
                "removed %d old alerts and the pictures of %d more: %d bytes",
                len(removal.whole),
                len(removal.media),
                removal.bytes,
            )
        return removal

    def has_room(self, needed_bytes: int) -> bool:
        """Whether so much may be written; makes room where that helps. Says once when it does not. Raises `OSError`."""
        if self._fits(needed_bytes):
            return True
        try:
            self.tidy()
        except TaintwatchError as error:
            _log.warning("no room could be made: %s", error)
        if self._fits(needed_bytes):
            return True
        if not self._told_full:
            self._told_full = True
            _log.error(
                "pictures are left out: less than %d MB are free for %s",
                self._limits.min_free_bytes // 1_000_000,
                self._folder.root,
            )
        return False

    def _look_again(self, fewer: int) -> None:
        """Note what is held after a removal."""
        before = self.holdings or Holdings()
        self.holdings = Holdings(before.alerts - fewer, self._folder.bytes_used(self._known), self._free_bytes())

    def _fits(self, needed_bytes: int) -> bool:
        free_bytes = self._free_bytes()
        if self.holdings is not None:
            self.holdings = replace(self.holdings, free_bytes=free_bytes)
        fits = free_bytes - needed_bytes >= self._limits.min_free_bytes
        self._told_full = self._told_full and not fits
        return fits
