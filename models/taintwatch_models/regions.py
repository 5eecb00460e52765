"""Masks of the classifier's input as polygons and boxes in frame pixels."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from taintwatch_models.preprocessing import Placement
from taintwatch_models.records import Region

__all__ = ["region_of"]

_MOST_POLYGONS = 8


def region_of(mask: NDArray[np.bool_], placement: Placement, frame_size: tuple[int, int]) -> Region | None:
    """Return where `mask` (input height, input width) lies in a frame of (height, width); None for an empty mask."""
    contours, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    if not contours:
        return None
    height, width = frame_size
    polygons = []
    for contour in sorted(contours, key=cv2.contourArea, reverse=True)[:_MOST_POLYGONS]:
        corners = cv2.approxPolyDP(contour, 1.0, closed=True).reshape(-1, 2)
        polygons.append(tuple(_to_frame(x, y, placement, height, width) for x, y in corners))
    xs, ys = zip(*(point for polygon in polygons for point in polygon), strict=True)
    box = (min(xs), min(ys), max(xs) - min(xs) + 1, max(ys) - min(ys) + 1)
    seen = mask.size / (placement.scale_x * placement.scale_y * height * width)
    return Region(box, tuple(polygons), round(float(mask.mean()) * seen, 6))


def _to_frame(x: float, y: float, placement: Placement, height: int, width: int) -> tuple[int, int]:
    frame_x, frame_y = placement.to_frame(float(x) + 0.5, float(y) + 0.5)
    return min(max(int(frame_x), 0), width - 1), min(max(int(frame_y), 0), height - 1)
