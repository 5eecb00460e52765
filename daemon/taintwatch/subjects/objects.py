"""Objects as subjects: found by a detector, followed, and cut out, each classified and voted on by itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from taintwatch.records import moment_of
from taintwatch.subjects.expander import Expansion, SubjectFrame
from taintwatch.subjects.regions import CropBox, Outline, check_picture
from taintwatch.subjects.tracking import BoxTracker
from taintwatch_models.objects.finder import FoundObject
from taintwatch_models.records import Frame, read_only

__all__ = ["CropLimits", "ObjectExpander"]

FindObjects = Callable[[NDArray[np.uint8]], Sequence[FoundObject]]


@dataclass(frozen=True, slots=True)
class CropLimits:
    """Which objects are cut out, and how."""

    least_side: int = 24
    """Pixels of the shorter side; smaller ones show too little to be judged."""
    margin: float = 0.1
    """Added on every side, as a share of the longer one."""


class ObjectExpander:
    """Expands a frame into its objects, called `car 1`, `person 2`, ... for as long as each is followed."""

    def __init__(
        self,
        find: FindObjects,
        *,
        limits: CropLimits | None = None,
        tracker: BoxTracker | None = None,
        regions: Mapping[str, Sequence[Outline]] | None = None,
    ) -> None:
        """`regions`, by camera: only objects whose centre lies in one are judged; a camera without any judges all."""
        self._find = find
        self._limits = limits or CropLimits()
        self._tracker = tracker or BoxTracker()
        self._regions = regions or {}
        self._names: dict[int, str] = {}

    def __call__(self, frame: Frame) -> Expansion:
        """Return the objects of a frame, the widest first. Raises `BadFrame`, `InferenceError`."""
        check_picture(frame)
        found = [each for each in self._find(frame.image) if self._is_wanted(frame, each)]
        tracked = self._tracker(frame.camera, moment_of(frame).in_order_ns, found)
        ended = tuple(self._names.pop(number) for number in tracked.ended)
        for number, each in tracked.boxes:
            self._names.setdefault(number, f"{each.name} {number}")  # a detector may change its mind on the class
        return Expansion(tuple(self._cut(frame, self._names[n], each) for n, each in tracked.boxes), ended)

    def forget(self, camera: str) -> None:
        for number in self._tracker.forget(camera):
            self._names.pop(number, None)

    def _is_wanted(self, frame: Frame, each: FoundObject) -> bool:
        x, y, width, height = each.box
        if min(width, height) < self._limits.least_side:
            return False
        regions = self._regions.get(frame.camera, ())
        rows, columns = frame.image.shape[:2]
        row, column = min(int(y + height / 2), rows - 1), min(int(x + width / 2), columns - 1)
        return not regions or any(region.inside(rows, columns)[row, column] for region in regions)

    def _cut(self, frame: Frame, name: str, each: FoundObject) -> SubjectFrame:
        """Cut out the square around an object: classifiers that crop their input would lose a longer side's ends.

        At the picture's edge the square is moved into it, so that the object stays whole and no pixel is made up.
        """
        x, y, width, height = each.box
        rows, columns = frame.image.shape[:2]
        side = max(width, height) * (1 + 2 * self._limits.margin)
        left, across = _span(x + width / 2, side, columns)
        top, down = _span(y + height / 2, side, rows)
        crop = CropBox(left, top, across, down)
        return SubjectFrame(frame, replace(frame, subject=name, image=read_only(crop.cut(frame.image))), crop)


def _span(centre: float, side: float, limit: int) -> tuple[int, int]:
    """Return the first pixel and the length of a side around a centre, moved into 0 to `limit`."""
    length = min(limit, max(1, round(side)))
    return min(max(0, round(centre - length / 2)), limit - length), length
