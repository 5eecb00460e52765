"""What is removed when: by age, by bytes and by free space, oldest first, never an open alert's. Pure functions."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from taintwatch.evidence.folder import Media
from taintwatch.evidence.reader import Kept

__all__ = ["Item", "Limits", "Removal", "items_of", "plan_removal"]


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


def items_of(kept: Iterable[Kept], media: Iterable[Media], busy: frozenset[str] = frozenset()) -> list[Item]:
    """Return every alert that has a record or pictures, oldest first. `busy`: ids whose clip is being taken."""
    bytes_of = {each.event_id: each for each in media}
    items = []
    for alert in kept:
        found = bytes_of.pop(alert.event_id, None)
        held = alert.open or alert.event_id in busy
        size = 0 if found is None else found.bytes
        items.append(Item(alert.event_id, alert.raised_wall_ns, held, size, alert.record_bytes))
    for event_id, found in bytes_of.items():
        items.append(Item(event_id, found.changed_ns, event_id in busy, found.bytes, 0))
    return sorted(items, key=lambda item: (item.at_ns, item.event_id))


def plan_removal(items: Sequence[Item], limits: Limits, *, now_ns: int, used_bytes: int, free_bytes: int) -> Removal:
    """Return what must go, from `items` oldest first.

    Age takes whole alerts. Too many bytes, or too little free space, take pictures first, since records are small and
    say the most; only where `used_bytes` is still above the limit without any picture do whole alerts go.
    """
    free = [item for item in items if not item.open]
    whole = [item for item in free if now_ns - item.at_ns > limits.keep_ns]
    rest = free[len(whole) :]  # oldest first, so the old ones are the first ones
    freed = sum(item.media_bytes + item.record_bytes for item in whole)
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
