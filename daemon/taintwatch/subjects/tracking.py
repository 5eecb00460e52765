"""Boxes followed from frame to frame: faces at a door, cars on a road.

Boxes are matched by intersection over union, the best first, with where each would be by now had it gone on as before.
A box that is not found for a moment keeps its number.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

__all__ = ["BoxTracker", "Boxed", "Tracked", "overlap"]

Box = tuple[float, float, float, float]


class Boxed(Protocol):
    """Anything with a place in the picture."""

    @property
    def box(self) -> Box:
        """x, y, width, height, in pixels."""
        ...


B = TypeVar("B", bound=Boxed)


@dataclass(frozen=True, slots=True)
class Tracked(Generic[B]):
    """The boxes of one frame of one camera."""

    boxes: tuple[tuple[int, B], ...]
    """Track number and what is tracked; a number belongs to one thing for as long as it is followed, and is never used
    again."""
    ended: tuple[int, ...]
    """Tracks that are given up with this frame."""


@dataclass(slots=True)
class _Track:
    box: Box
    seen_ns: int
    speed: tuple[float, float] | None = None
    """Of the centre, in pixels per second; None before it was seen twice."""

    def expected(self, now_ns: int) -> Box:
        """Return where the box would be by now."""
        seconds = (now_ns - self.seen_ns) / 1e9
        x, y, width, height = self.box
        if self.speed is None:
            return self.box
        return x + self.speed[0] * seconds, y + self.speed[1] * seconds, width, height

    def see(self, box: Box, now_ns: int) -> None:
        seconds = (now_ns - self.seen_ns) / 1e9
        if seconds > 0:
            (ax, ay), (bx, by) = _centre(self.box), _centre(box)
            speed = (bx - ax) / seconds, (by - ay) / seconds
            self.speed = speed if self.speed is None else _blend(self.speed, speed)
        self.box, self.seen_ns = box, now_ns


_NEWEST = 0.5  # weight of the newest speed: detectors' boxes shake by some pixels


def _blend(old: tuple[float, float], new: tuple[float, float]) -> tuple[float, float]:
    return (1 - _NEWEST) * old[0] + _NEWEST * new[0], (1 - _NEWEST) * old[1] + _NEWEST * new[1]


def _centre(box: Box) -> tuple[float, float]:
    return box[0] + box[2] / 2, box[1] + box[3] / 2


def overlap(first: Box, second: Box) -> float:
    """Return the intersection over the union of two boxes (x, y, width, height), in [0, 1]."""
    left, top = max(first[0], second[0]), max(first[1], second[1])
    right = min(first[0] + first[2], second[0] + second[2])
    bottom = min(first[1] + first[3], second[1] + second[3])
    shared = max(0.0, right - left) * max(0.0, bottom - top)
    union = first[2] * first[3] + second[2] * second[3] - shared
    return shared / union if union > 0 else 0.0


_LEAST_OVERLAP = 0.3  # of a box with where its track is expected


_SLOW_FACTOR = 4  # times the patience, where no frame was looked at meanwhile


def _give_up(tracks: dict[int, _Track], gone: Sequence[int]) -> tuple[int, ...]:
    for number in gone:
        del tracks[number]
    return tuple(gone)


class BoxTracker:
    """Follows the boxes of every camera. Used by one thread only.

    `patience_s`: what is not seen for longer is given up; but what was seen in the frame before, and is found in this
    one, goes on for up to four times as long: a camera may give a frame every two seconds, and a busy machine judge no
    more. `most`: boxes of one frame that are looked at, the widest first.
    """

    def __init__(self, *, patience_s: float = 1.0, most: int = 8) -> None:
        self._patience_ns = round(patience_s * 1e9)
        self._most = most
        self._tracks: dict[str, dict[int, _Track]] = {}
        self._looked_ns: dict[str, int] = {}
        """When each camera's frame before was."""
        self._next = 1

    def __call__(self, camera: str, captured_ns: int, boxes: Sequence[B]) -> Tracked[B]:
        """Take in the boxes of one frame; `captured_ns` is monotonic, or a position in the video."""
        tracks = self._tracks.setdefault(camera, {})
        before_ns, self._looked_ns[camera] = self._looked_ns.get(camera), captured_ns
        ended = _give_up(tracks, [each for each in tracks if self._is_gone(tracks[each], captured_ns, before_ns)])
        boxes = sorted(boxes, key=lambda each: -each.box[2])[: self._most]
        matched = self._match(tracks, boxes, captured_ns)
        missed = [each for each in tracks if each not in matched.values()]
        ended += _give_up(tracks, [each for each in missed if self._is_gone(tracks[each], captured_ns)])
        found = []
        for index, each in enumerate(boxes):
            number = matched.get(index)
            if number is None:
                number, self._next = self._next, self._next + 1
                tracks[number] = _Track(each.box, captured_ns)
            else:
                tracks[number].see(each.box, captured_ns)
            found.append((number, each))
        return Tracked(tuple(found), ended)

    def forget(self, camera: str) -> tuple[int, ...]:
        """Give up everything of a camera that is gone; return the numbers."""
        self._looked_ns.pop(camera, None)
        return tuple(self._tracks.pop(camera, {}))

    def _is_gone(self, track: _Track, now_ns: int, before_ns: int | None = None) -> bool:
        """Whether a track is to be given up; `before_ns`: of the frame before, where it may still be found."""
        if now_ns < track.seen_ns:  # time runs backwards: a video that starts again
            return True
        return now_ns - track.seen_ns > self._patience_ns * (_SLOW_FACTOR if track.seen_ns == before_ns else 1)

    def _match(self, tracks: dict[int, _Track], boxes: Sequence[Boxed], now_ns: int) -> dict[int, int]:
        """Return the track of each box that has one, the best overlaps first."""
        pairs = [
            (overlap(each.box, track.expected(now_ns)), index, number)
            for index, each in enumerate(boxes)
            for number, track in tracks.items()
        ]
        matched: dict[int, int] = {}
        for share, index, number in sorted(pairs, reverse=True):
            if share < _LEAST_OVERLAP:
                break
            if index not in matched and number not in matched.values():
                matched[index] = number
        return matched
