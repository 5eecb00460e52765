"""What becomes of a detector's boxes once a place is filled: which appear, vanish, or change their class elsewhere.

The test that holds for any model: fill the most anomalous place, and ask again. A patch that hides a person leaves no
box to explain, but without it the person is there. Objects that the place itself covers vanish with it, whatever they
are, and say nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from taintwatch_models.objects.decoders import Decoded

__all__ = ["Change", "filled", "largest_change"]

_SAME = 0.4  # overlap from which two boxes are one object
_COVERED = 0.6  # share of an object under the place, from which it vanishes with it
_TOUCHED = 0.05  # share from which what is left of an object may be too little to be found

Box = tuple[int, int, int, int]


@dataclass(frozen=True, slots=True)
class Change:
    """The largest change of an answer."""

    size: float
    """By how much a score rose or fell, in [0, 1]."""
    kind: Literal["appears", "vanishes", "nothing"] = "nothing"
    label: int = -1
    box: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0)
    """left, top, right, bottom, pixels of the input."""


def filled(pixels: NDArray[np.uint8], box: Box, margin: float) -> NDArray[np.uint8]:
    """Return a copy of (H, W, 3) pixels with a place filled from its surroundings (Telea, 2004).

    `box`: x, y, width and height; `margin`: by which share of its sides the fill is larger on each side.
    """
    rows, columns = pixels.shape[:2]
    x, y, width, height = box
    left, top = max(0, round(x - margin * width)), max(0, round(y - margin * height))
    right, bottom = min(columns, round(x + width * (1 + margin))), min(rows, round(y + height * (1 + margin)))
    # A frame around the place is enough to fill it from, at half its size: the fill is smooth anyhow.
    rim = 8
    outer = (slice(max(0, top - rim), min(rows, bottom + rim)), slice(max(0, left - rim), min(columns, right + rim)))
    part = pixels[outer]
    mask = np.zeros(part.shape[:2], np.uint8)
    mask[top - outer[0].start : bottom - outer[0].start, left - outer[1].start : right - outer[1].start] = 255
    half = (max(1, part.shape[1] // 2), max(1, part.shape[0] // 2))
    small = cv2.inpaint(
        cv2.resize(part, half, interpolation=cv2.INTER_AREA), cv2.resize(mask, half, interpolation=cv2.INTER_NEAREST),
        3, cv2.INPAINT_TELEA,
    )  # fmt: skip
    smooth = cv2.resize(small, (part.shape[1], part.shape[0]), interpolation=cv2.INTER_LINEAR)
    out = pixels.copy()
    out[outer] = np.where(mask[..., None] > 0, smooth, part)
    return out


def largest_change(before: Decoded, after: Decoded, place: Box) -> Change:
    """Return what changed most elsewhere than in the place, of candidates down to low scores.

    An object may appear around the place; one that the place touches may not be counted as gone.
    """
    appeared = _largest(after, before, place, _COVERED)
    gone = _largest(before, after, place, _TOUCHED)
    best, kind = (appeared, "appears") if appeared[0] >= gone[0] else (gone, "vanishes")
    size, index = best
    if index < 0:
        return Change(0.0)
    source = after if kind == "appears" else before
    left, top, right, bottom = (float(value) for value in source.boxes[index])
    label = int(source.labels[index])
    return Change(size, "appears" if kind == "appears" else "vanishes", label, (left, top, right, bottom))


def _largest(here: Decoded, there: Decoded, place: Box, limit: float) -> tuple[float, int]:
    """Return by how much a candidate of `here` exceeds what answers to it in `there`, at most, and its index."""
    free = np.flatnonzero(_shares_under(here.boxes, place) <= limit)
    if not len(free):
        return 0.0, -1
    boxes, scores, labels = here.boxes[free], here.scores[free], here.labels[free]
    same = (_overlaps(boxes, there.boxes) >= _SAME) & (labels[:, None] == there.labels[None])
    answers = np.where(same, there.scores[None], 0.0).max(axis=1, initial=0.0)
    excess = scores - answers
    best = int(excess.argmax())
    return (float(excess[best]), int(free[best])) if excess[best] > 0 else (0.0, -1)


def _shares_under(boxes: NDArray[np.float32], place: Box) -> NDArray[np.float32]:
    """Return which share of each box (N, 4) the place covers: (N,)."""
    x, y, width, height = place
    low = np.maximum(boxes[:, :2], np.array([x, y], np.float32))
    high = np.minimum(boxes[:, 2:], np.array([x + width, y + height], np.float32))
    return np.asarray(_areas(low, high) / np.maximum(_areas(boxes[:, :2], boxes[:, 2:]), 1e-6), np.float32)


def _overlaps(first: NDArray[np.float32], second: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the intersections over the unions of boxes (N, 4) with others (M, 4): (N, M)."""
    low = np.maximum(first[:, None, :2], second[None, :, :2])
    high = np.minimum(first[:, None, 2:], second[None, :, 2:])
    shared = _areas(low, high)
    areas = [_areas(boxes[:, :2], boxes[:, 2:]) for boxes in (first, second)]
    return np.asarray(shared / np.maximum(areas[0][:, None] + areas[1][None] - shared, 1e-6), np.float32)


def _areas(low: NDArray[np.float32], high: NDArray[np.float32]) -> NDArray[np.float32]:
    sides = np.clip(high - low, 0, None)
    return np.asarray(sides[..., 0] * sides[..., 1], np.float32)
