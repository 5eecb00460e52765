"""Aligning a face by its eyes: a similarity transform onto the embedding's input, and back."""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from taintwatch_models.faces.finder import Face, Point
from taintwatch_models.records import Region

__all__ = ["ALIGNED_SIZE", "TEMPLATE_EYES", "Alignment", "align", "alignment_of"]

ALIGNED_SIZE = 112
"""Side of an aligned face, pixels."""
TEMPLATE_EYES: tuple[Point, Point] = ((38.29, 51.70), (73.53, 51.50))
"""Where the eyes come to lie in it: the template that ArcFace's five points use (Deng et al., 2019), which most
published face embeddings were trained with."""


@dataclass(frozen=True, slots=True)
class Alignment:
    """A similarity: `aligned = scale * R(turn) * (picture) + offset`, kept as its two rows."""

    a: float
    b: float
    tx: float
    ty: float
    size: int = ALIGNED_SIZE
    """Side of the aligned face, pixels."""

    @property
    def scale(self) -> float:
        """Aligned pixels for one pixel of the picture."""
        return float(np.hypot(self.a, self.b))

    def to_aligned(self, x: float, y: float) -> Point:
        return self.a * x - self.b * y + self.tx, self.b * x + self.a * y + self.ty

    def to_picture(self, x: float, y: float) -> Point:
        square = self.a**2 + self.b**2
        dx, dy = x - self.tx, y - self.ty
        return (self.a * dx + self.b * dy) / square, (self.a * dy - self.b * dx) / square

    def warp(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return the aligned face, (size, size, 3); what lies outside the picture repeats its edge."""
        size = self.size
        matrix = np.array([[self.a, -self.b, self.tx], [self.b, self.a, self.ty]])
        if self.scale < 0.6:  # bilinear sampling would alias: shrink by areas first
            shrunk = cv2.resize(image, None, fx=self.scale, fy=self.scale, interpolation=cv2.INTER_AREA)
            ratio = shrunk.shape[1] / image.shape[1]
            image, matrix = shrunk, matrix @ np.diag([1 / ratio, 1 / ratio, 1.0])
        warped = cv2.warpAffine(image, matrix, (size, size), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        return np.asarray(warped, np.uint8)

    def region_to_picture(self, region: Region, height: int, width: int) -> Region:
        """Return a region of the aligned face in pixels of the picture of (height, width)."""

        def corner(x: int, y: int) -> tuple[int, int]:
            px, py = self.to_picture(x, y)
            return min(max(round(px), 0), width - 1), min(max(round(py), 0), height - 1)

        polygons = tuple(tuple(corner(x, y) for x, y in polygon) for polygon in region.polygons)
        xs, ys = zip(*(point for polygon in polygons for point in polygon), strict=True)
        box = (min(xs), min(ys), max(xs) - min(xs) + 1, max(ys) - min(ys) + 1)
        share = region.area_fraction * self.size**2 / (self.scale**2 * height * width)
        return replace(region, box=box, polygons=polygons, area_fraction=round(min(1.0, share), 6))


def alignment_of(face: Face, size: int = ALIGNED_SIZE) -> Alignment:
    """Return the similarity that brings the face's eyes onto the template's."""
    left, right = (complex(*eye) for eye in face.eyes)
    to_left, to_right = (complex(*eye) * (size / ALIGNED_SIZE) for eye in TEMPLATE_EYES)
    turn = (to_right - to_left) / (right - left)
    offset = to_left - turn * left
    return Alignment(turn.real, turn.imag, offset.real, offset.imag, size)


def align(image: NDArray[np.uint8], face: Face, size: int = ALIGNED_SIZE) -> NDArray[np.uint8]:
    """Return the aligned face, (size, size, 3) uint8 blue-green-red."""
    return alignment_of(face, size).warp(image)
