"""What is removed when: by age, by bytes and by free space, never an open or a pinned alert's."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from heapq import heapify, heappop, heappush

from taintwatch.evidence.annotations import Annotation, Annotations
from taintwatch.evidence.folder import EvidenceFolder
from taintwatch.evidence.media_store import Media
from taintwatch.evidence.reader import AlertReader, Filter, StoredAlert
from taintwatch.evidence.store import AlertStore
from taintwatch_models.errors import TaintwatchError

__all__ = ["Holdings", "Item", "Limits", "Removal", "RetentionJob", "items_of", "order_of_removal", "plan_removal"]


@dataclass(frozen=True, slots=True)
class Limits:
    """How much may be kept."""

    keep_ns: int
    """Age above which an alert is removed altogether."""
    max_bytes: int
    """Of pictures, clips and database together."""
    min_free_bytes: int
    """Room to be left on the disk."""


@dataclass(frozen=True, slots=True)
class Item:
    """One alert, as far as room goes."""

    event_id: str
    at_ns: int
    """When it was raised; of pictures that no alert is known of, when they were written."""
    open: bool
    media_bytes: int
    record_bytes: int
    camera: str = ""
    label: str = ""
    score: float = 0.0
    pinned: bool = False
    """Acknowledged, or somebody wrote a note: nothing but age takes it."""


@dataclass(frozen=True, slots=True)
class Removal:
    """What is to go."""

    media: tuple[Item, ...]
    """Only their pictures and clips."""
    whole: tuple[Item, ...]
    """Pictures, clips and records."""

    @property
    def bytes(self) -> int:
        """What that frees, about."""
        return sum(item.media_bytes for item in (*self.media, *self.whole)) + sum(i.record_bytes for i in self.whole)


def items_of(
    kept: Iterable[StoredAlert],
    media: Iterable[Media],
    busy: frozenset[str] = frozenset(),
    pinned: frozenset[str] = frozenset(),
) -> list[Item]:
    """Return every alert that has a record or pictures, oldest first. `busy`: ids whose clip is being taken."""
    bytes_of = {each.event_id: each for each in media}
    items = []
    for alert in kept:
        found = bytes_of.pop(alert.event_id, None)
        held = alert.open or alert.event_id in busy
        size = 0 if found is None else found.bytes
        items.append(
            Item(
                alert.event_id,
                alert.raised_wall_ns,
                held,
                size,
                alert.record_bytes,
                alert.camera,
                alert.label_name,
                alert.score,
                alert.event_id in pinned,
            )
        )
    for event_id, found in bytes_of.items():
        items.append(Item(event_id, found.changed_ns, event_id in busy, found.bytes, 0))
    return sorted(items, key=lambda item: (item.at_ns, item.event_id))


def plan_removal(items: Sequence[Item], limits: Limits, *, now_ns: int, used_bytes: int, free_bytes: int) -> Removal:
    """Return what must go, from `items` oldest first.

    Age takes whole alerts. Too many bytes, or too little free space, take pictures first, since records are small and
    say the most: in the order of `order_of_removal`, never pinned ones. Only where `used_bytes` is still above the
    limit without any picture that may go do whole alerts go, in the same order.
    """
    free = [item for item in items if not item.open]
    whole = [item for item in free if now_ns - item.at_ns > limits.keep_ns]
    freed = sum(item.media_bytes + item.record_bytes for item in whole)
    rest = order_of_removal([item for item in free[len(whole) :] if not item.pinned])
    media = []
    for item in rest:
        enough = used_bytes - freed <= limits.max_bytes and free_bytes + freed >= limits.min_free_bytes
        if enough:
            break
        if item.media_bytes:
            media.append(item)
            freed += item.media_bytes
    gone = {item.event_id for item in media}
    for item in rest:
        if used_bytes - freed <= limits.max_bytes:
            break
        whole.append(item)
        freed += item.record_bytes + (0 if item.event_id in gone else item.media_bytes)
        gone.discard(item.event_id)
    both = {item.event_id for item in whole}
    return Removal(tuple(item for item in media if item.event_id not in both), tuple(whole))


def order_of_removal(items: Sequence[Item]) -> list[Item]:
    """Return `items` (oldest first) as they are to go, so that nobody pushes another's evidence out with decoys.

    Repeats first: of the alerts of one camera and label the first, the worst and the last stay longest. Then the
    oldest of whichever camera holds most bytes, so that each camera keeps an equal share.
    """
    groups: dict[tuple[str, str], list[Item]] = {}
    for item in items:
        groups.setdefault((item.camera, item.label), []).append(item)
    telling = set()
    for group in groups.values():
        worst = max(group, key=lambda item: item.score)
        telling |= {group[0].event_id, worst.event_id, group[-1].event_id}
    repeats = [item for item in items if item.event_id not in telling]
    rest = [item for item in items if item.event_id in telling]
    return [*_by_turns(repeats, items), *_by_turns(rest, rest)]


def _by_turns(items: Sequence[Item], held: Sequence[Item]) -> list[Item]:
    """Return `items`, each time the oldest of the camera that holds most bytes. `held`: all that counts as held."""
    waiting: dict[str, deque[Item]] = {}
    for item in items:
        waiting.setdefault(item.camera, deque()).append(item)
    size: dict[str, int] = dict.fromkeys(waiting, 0)
    for item in held:
        if item.camera in size:
            size[item.camera] += item.media_bytes + item.record_bytes
    heap = [(-size[camera], camera) for camera in waiting]
    heapify(heap)
    order: list[Item] = []
    while heap:
        negative, camera = heappop(heap)
        item = waiting[camera].popleft()
        order.append(item)
        if waiting[camera]:
            heappush(heap, (negative + item.media_bytes + item.record_bytes, camera))
    return order


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
        return plan_removal(
            items, self._limits, now_ns=self._wall_ns(), used_bytes=held.bytes, free_bytes=held.free_bytes
        )

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
