"""Which evidence goes first where there is too much: by age, by bytes, by free space, never a pinned alert's."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from heapq import heapify, heappop, heappush

from taintwatch.evidence.media_store import Media
from taintwatch.evidence.reader import StoredAlert

__all__ = ["Item", "Limits", "Removal", "items_of", "order_of_removal", "plan_removal"]

Box = tuple[int, int, int, int]
PLACES = 16  # of one camera and label that are told apart; what lies elsewhere counts as one more


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
    box: Box | None = None
    """Where in the picture: x, y, width, height; None: not known."""


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

    Repeats first: of the alerts of one camera, label and place the first, the worst and the last stay longest. Then the
    oldest of whichever camera holds most bytes, so that each camera keeps an equal share.
    """
    groups: dict[tuple[str, str, int], list[Item]] = {}
    places: dict[tuple[str, str], list[Box]] = {}
    for item in items:
        place = _place(item.box, places.setdefault((item.camera, item.label), []))
        groups.setdefault((item.camera, item.label, place), []).append(item)
    telling = set()
    for group in groups.values():
        worst = max(group, key=lambda item: item.score)
        telling |= {group[0].event_id, worst.event_id, group[-1].event_id}
    repeats = [item for item in items if item.event_id not in telling]
    rest = [item for item in items if item.event_id in telling]
    return [*_by_turns(repeats, items), *_by_turns(rest, rest)]


def _place(box: Box | None, known: list[Box]) -> int:
    """Return the number of the known place where this box lies; a new one is added. -1: elsewhere, or not known."""
    if box is None:
        return -1
    for number, other in enumerate(known):
        if _centre_within(box, other) and _centre_within(other, box):
            return number
    if len(known) >= PLACES:
        return -1
    known.append(box)
    return len(known) - 1


def _centre_within(box: Box, other: Box) -> bool:
    x, y = box[0] + box[2] / 2, box[1] + box[3] / 2
    return other[0] <= x <= other[0] + other[2] and other[1] <= y <= other[1] + other[3]


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
