"""Regions of interest: named parts of a camera's picture, each judged by itself, and masks that are never judged."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from taintwatch.subjects.expander import Expander, Expansion, SubjectFrame
from taintwatch_models.errors import BadFrame
from taintwatch_models.records import Frame, Region, read_only

__all__ = ["CropBox", "Masked", "Outline", "RegionExpander", "check_picture"]

GREY = 114  # neither dark nor bright: what is not judged must not look like something


@dataclass(frozen=True, slots=True)
class Outline:
    """A polygon, its corners in shares of the picture's width and height; named where it is a region."""

    corners: tuple[tuple[float, float], ...]
    name: str = ""

    @classmethod
    def of_box(cls, box: tuple[float, float, float, float], name: str = "") -> Outline:
        """Return the outline of a box: left, top, width and height in shares of the picture."""
        left, top, width, height = box
        right, bottom = left + width, top + height
        return cls(((left, top), (right, top), (right, bottom), (left, bottom)), name)

    def inside(self, height: int, width: int) -> NDArray[np.bool_]:
        """Return which pixels of a picture lie in it, (height, width)."""
        return _inside(self.corners, height, width)

    def box(self, height: int, width: int) -> tuple[int, int, int, int]:
        """Return x, y, width and height of what lies in it, in pixels; at least one pixel."""
        xs, ys = zip(*self.corners, strict=True)
        left, top = min(round(min(xs) * width), width - 1), min(round(min(ys) * height), height - 1)
        return left, top, max(1, round(max(xs) * width) - left), max(1, round(max(ys) * height) - top)


@lru_cache(maxsize=64)
def _inside(corners: tuple[tuple[float, float], ...], height: int, width: int) -> NDArray[np.bool_]:
    mask = np.zeros((height, width), np.uint8)
    points = np.array([(round(x * width), round(y * height)) for x, y in corners], np.int32)
    cv2.fillPoly(mask, [points], 1)
    return np.asarray(read_only(mask.astype(np.bool_)))


@dataclass(frozen=True, slots=True)
class CropBox:
    """A crop of (height, width) that begins at (x, y) in its picture."""

    x: int
    y: int
    width: int
    height: int

    def region_to_picture(self, region: Region, height: int, width: int) -> Region:
        """Return a region of the crop in pixels of the picture of (height, width)."""
        x, y, w, h = region.box
        polygons = tuple(tuple((px + self.x, py + self.y) for px, py in polygon) for polygon in region.polygons)
        share = region.area_fraction * self.width * self.height / (width * height)
        return Region((x + self.x, y + self.y, w, h), polygons, round(share, 6))

    def cut(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return a copy of that part of the picture."""
        return np.ascontiguousarray(image[self.y : self.y + self.height, self.x : self.x + self.width])


class RegionExpander:
    """Expands a frame into the regions of its camera; the frame of a camera without any is judged whole."""

    def __init__(self, regions: Mapping[str, Sequence[Outline]]) -> None:
        """`regions`: by camera."""
        self._regions = regions

    def __call__(self, frame: Frame) -> Expansion:
        """Return the regions of a frame in their order. Raises `BadFrame`."""
        regions = self._regions.get(frame.camera, ())
        if not regions:
            return Expansion((SubjectFrame(frame, frame),))
        check_picture(frame)
        return Expansion(tuple(_region(frame, region) for region in regions))

    def forget(self, camera: str) -> None:
        """Nothing is known of any camera."""


def _region(frame: Frame, region: Outline) -> SubjectFrame:
    height, width = frame.image.shape[:2]
    crop = CropBox(*region.box(height, width))
    image = crop.cut(frame.image)
    inside = region.inside(height, width)[crop.y : crop.y + crop.height, crop.x : crop.x + crop.width]
    image[~inside] = GREY
    return SubjectFrame(frame, replace(frame, subject=region.name, image=read_only(image)), crop)


class Masked:
    """Stands before another expander and covers what is never judged.

    The steps, the page and the evidence show the camera's own picture, with what is under the masks.
    """

    def __init__(self, expander: Expander, masks: Mapping[str, Sequence[Outline]]) -> None:
        """`masks`: by camera."""
        self._expander, self._masks = expander, masks

    def __call__(self, frame: Frame) -> Expansion:
        """Expand what is left of a frame. Raises what the other expander raises, and `BadFrame`."""
        masks = self._masks.get(frame.camera, ())
        if not masks:
            return self._expander(frame)
        check_picture(frame)
        image = frame.image.copy()
        for mask in masks:
            image[mask.inside(*image.shape[:2])] = GREY
        expansion = self._expander(replace(frame, image=read_only(image)))
        return replace(expansion, subjects=tuple(replace(subject, whole=frame) for subject in expansion.subjects))

    def forget(self, camera: str) -> None:
        self._expander.forget(camera)


def check_picture(frame: Frame) -> None:
    """Raise `BadFrame` where a frame is no blue-green-red picture."""
    image = frame.image
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or not image.size:
        raise BadFrame(f"a frame must be (height, width, 3) uint8, this one is {image.shape} {image.dtype}")
