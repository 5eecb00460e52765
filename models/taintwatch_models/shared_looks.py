"""The detector `combined` on frames in time: one second look for each event, and no more than there is time for.

An event is the same label on the same window of the same subject of a camera. Its frames share one second look, which
is taken again every second, or when either changes. Second looks may take a share of the time. Beyond it they wait:
each time, the frame to be looked at is the newest of its event, and of the camera that was looked at longest ago, so
that what a decoy shows to one camera does not keep the others waiting. What waits is marked, never passed off as clean.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from taintwatch_models.detection.looks import CombinedRadar, FirstScores, Outputs, SecondScores
from taintwatch_models.detection.reference import SECOND
from taintwatch_models.model_files import SecondLookLimits
from taintwatch_models.radar_file import RadarInfo
from taintwatch_models.records import Frame

__all__ = ["SharedLooks", "TimeBudget"]

_OVERLAP = 0.5
"""Least intersection over union of two windows that are the same place."""
_STALE = 5.0
"""A look is shared for so many times `renew_s` where there is no time to take it again."""
_EVENTS_EACH = 4
"""Of one subject: what flickers between two labels is two events."""
_MOST_SUBJECTS = 1024
_SAVED_S = 0.5
"""Time for second looks that may be saved up."""


@dataclass(frozen=True, slots=True, eq=False)
class _Event:
    """The last second look at an event."""

    label: int
    box: NDArray[np.int64]
    seen_s: float
    values: dict[str, float]
    filled: int

    def fits(self, label: int, box: NDArray[np.int64]) -> bool:
        return self.label == label and _overlap(self.box, box) >= _OVERLAP


class TimeBudget:
    """A share of the time that passes, for second looks. What one costs is learnt from those that were taken."""

    def __init__(self, share: float, clock: Callable[[], float] = time.perf_counter) -> None:
        """`share` in (0, 1]."""
        self._share, self.clock = share, clock
        self._left_s, self._counted_s, self._cost_s = _SAVED_S, clock(), 0.0

    def affordable(self, wanted: int) -> int:
        """Return how many of `wanted` looks may be taken now: at least one while any time is left."""
        now = self.clock()
        self._left_s = min(_SAVED_S, self._left_s + self._share * (now - self._counted_s))
        self._counted_s = now
        if self._left_s <= 0:
            return 0
        return min(wanted, max(1, int(self._left_s / self._cost_s))) if self._cost_s else min(wanted, 1)

    def spend(self, looks: int, seconds: float) -> None:
        """Note that so many looks took so long."""
        self._left_s -= seconds
        one = seconds / looks
        self._cost_s = one if not self._cost_s else 0.8 * self._cost_s + 0.2 * one


class SharedLooks:
    """A `CombinedRadar` whose second looks are shared and bounded. Called by one thread."""

    def __init__(
        self, radar: CombinedRadar, limits: SecondLookLimits, clock: Callable[[], float] = time.perf_counter
    ) -> None:
        self.info: RadarInfo = radar.info
        self.provider = radar.provider
        self._radar, self._renew_s = radar, limits.renew_s
        self._clock = clock
        self._budget = None if limits.share is None else TimeBudget(limits.share, clock)
        self._events: dict[tuple[str, str | None], list[_Event]] = {}
        self._looks, self._last_look = 0, dict[str, int]()

    def __call__(self, inputs: NDArray[np.float32]) -> Outputs:
        """Judge each input by itself, as `CombinedRadar` does."""
        return self._radar(inputs)

    def warm_up(self, batch: int) -> None:
        """Run both looks once."""
        self._radar.warm_up(batch)

    def of_frames(self, inputs: NDArray[np.float32], frames: Sequence[Frame]) -> Outputs:
        """Judge a batch whose rows are these frames. Raises `InferenceError`.

        Gives what `CombinedRadar` does, and `combined_shared` (B,): whether the look was taken at another frame. A row
        that is `combined_deserving` and not `combined_looked` waits.
        """
        first = self._radar.first(inputs)
        known, groups = self._sort(first, frames)
        shared = set(known)
        count = len(groups) if self._budget is None else self._budget.affordable(len(groups))
        for group, event in zip(groups[:count], self._look(inputs, first, frames, groups[:count]), strict=True):
            known |= dict.fromkeys(group, event)
            shared |= set(group[1:])
        for group in groups[count:]:
            stale = self._find(first, frames, group[0], _STALE * self._renew_s)
            if stale is not None:
                known |= dict.fromkeys(group, stale)
                shared |= set(group)
        outputs = dict(self._radar.outputs(inputs, first, _scores(known)))
        outputs["combined_shared"] = np.zeros(len(frames), np.bool_)
        outputs["combined_shared"][list(shared)] = True
        return outputs

    def _sort(self, first: FirstScores, frames: Sequence[Frame]) -> tuple[dict[int, _Event], list[list[int]]]:
        """Return the rows with a look to share, and the others by event, each newest first, in the order of turns."""
        known: dict[int, _Event] = {}
        groups: list[list[int]] = []
        for row in sorted(np.flatnonzero(first.deserving).tolist(), key=lambda row: -_seconds(frames[row])):
            event = self._find(first, frames, row, self._renew_s)
            if event is not None:
                known[row] = event
                continue
            same = (group for group in groups if _together(first, frames, group[0], row))
            group = next(same, None)
            if group is None:
                groups.append([row])
            else:
                group.append(row)
        groups.sort(key=lambda group: self._last_look.get(frames[group[0]].camera, 0))
        return known, groups

    def _find(self, first: FirstScores, frames: Sequence[Frame], row: int, most_s: float) -> _Event | None:
        """Return the look at the row's event that is less than `most_s` old; None: there is none."""
        label, box, now = int(first.looked.labels[row]), first.boxes[row], _seconds(frames[row])
        for event in self._events.get(_subject(frames[row]), ()):
            if abs(now - event.seen_s) < most_s and event.fits(label, box):
                return event
        return None

    def _look(
        self, inputs: NDArray[np.float32], first: FirstScores, frames: Sequence[Frame], groups: Sequence[list[int]]
    ) -> list[_Event]:
        """Take the second look at the newest row of each group, all in one batch of hosts."""
        if not groups:
            return []
        start = self._clock()
        second = self._radar.second(inputs, first, np.array([group[0] for group in groups], np.intp))
        if self._budget is not None:
            self._budget.spend(len(groups), self._clock() - start)
        return [self._note(first, frames, second, index) for index in range(len(groups))]

    def _note(self, first: FirstScores, frames: Sequence[Frame], second: SecondScores, index: int) -> _Event:
        """Keep one look for its event's next frames."""
        row = int(second.rows[index])
        frame, box = frames[row], first.boxes[row]
        values = {name: float(second.values[name][index]) for name in SECOND}
        event = _Event(int(first.looked.labels[row]), box, _seconds(frame), values, int(second.labels[index]))
        subject = _subject(frame)
        others = [other for other in self._events.pop(subject, ()) if not other.fits(event.label, box)]
        self._events[subject] = [event, *others][:_EVENTS_EACH]  # the subject seen last stands last
        self._looks += 1
        self._last_look[frame.camera] = self._looks
        while len(self._events) > _MOST_SUBJECTS:
            self._events.pop(next(iter(self._events)))
        return event


def _scores(known: dict[int, _Event]) -> SecondScores:
    if not known:
        return SecondScores.none()
    events = list(known.values())
    return SecondScores(
        np.array(list(known), np.intp),
        {name: np.array([event.values[name] for event in events], np.float64) for name in SECOND},
        np.array([event.filled for event in events], np.int64),
    )


def _subject(frame: Frame) -> tuple[str, str | None]:
    return frame.camera, frame.subject


def _seconds(frame: Frame) -> float:
    """When a frame was: in its file, which may be played at any speed, or on the clock."""
    return frame.captured_ns / 1e9 if frame.media_s is None else frame.media_s


def _together(first: FirstScores, frames: Sequence[Frame], one: int, other: int) -> bool:
    return (
        _subject(frames[one]) == _subject(frames[other])
        and bool(first.looked.labels[one] == first.looked.labels[other])
        and _overlap(first.boxes[one], first.boxes[other]) >= _OVERLAP
    )


def _overlap(one: NDArray[np.int64], other: NDArray[np.int64]) -> float:
    """Intersection over union of two boxes (top, left, height, width)."""
    low = np.maximum(one[:2], other[:2])
    high = np.minimum(one[:2] + one[2:], other[:2] + other[2:])
    shared = float(np.prod(np.maximum(high - low, 0)))
    return shared / max(float(np.prod(one[2:]) + np.prod(other[2:])) - shared, 1.0)
