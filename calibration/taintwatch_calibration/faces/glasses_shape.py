"""The outline of a pair of eyeglasses, as a vector: in units of the distance between the wearer's pupils.

The origin lies midway between the pupils, x to the right and y down as seen by the camera. Multiply by the
interpupillary distance in millimetres (63 mm in most adults) to print at true size, in pixels to draw.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from taintwatch_models.errors import UsageError

__all__ = ["GlassesOutline", "GlassesShape"]

_SUBPIXELS = 4  # bits that cv2.fillPoly takes as fractions of a pixel
_SUPERSAMPLING = 8
_CORNERS = 240  # points on each rim

Polygon = NDArray[np.float64]
"""(corners, 2): x, y in interpupillary distances; closed without repeating the first corner."""


@dataclass(frozen=True, slots=True, eq=False)
class GlassesOutline:
    """What is printed and cut: inside `outer`, outside every hole."""

    outer: Polygon
    holes: tuple[Polygon, Polygon]
    """The openings before the left and the right eye, as the camera sees them."""


@dataclass(frozen=True, slots=True)
class GlassesShape:
    """A frame of two rounded rims, a bridge and two hinges; all lengths in interpupillary distances.

    The default covers 11.7% of an aligned face. Sharif et al. (2016) print frames of 6.5% of a face picture.
    """

    lens_width: float = 0.70
    lens_height: float = 0.46
    rim: float = 0.21
    """Width of the rims."""
    drop: float = 0.06
    """How far the lenses' centres lie below the pupils."""
    squareness: float = 3.0
    """Exponent of the superellipse: 2 is an ellipse, 4 nearly a rectangle."""
    bridge_height: float = 0.24
    hinge_height: float = 0.24
    hinge_reach: float = 0.12
    """How far the hinges stand out beyond the rims."""

    def __post_init__(self) -> None:
        """Raises `UsageError` where the parts do not make a pair of glasses."""
        if min(self.lens_width, self.lens_height, self.rim, self.bridge_height, self.hinge_height) <= 0:
            raise UsageError("every part of a pair of glasses must be larger than 0")
        if self.lens_width >= 1:
            raise UsageError(f"lenses {self.lens_width:g} interpupillary distances wide overlap; give less than 1")
        if max(self.bridge_height, self.hinge_height) >= self.lens_height + 2 * self.rim or self.squareness < 1:
            raise UsageError("bridge and hinges must be lower than the rims, and squareness at least 1")

    @property
    def half_width(self) -> float:
        """From the middle to the end of a hinge."""
        return 0.5 + self.lens_width / 2 + self.rim + self.hinge_reach

    @property
    def half_height(self) -> float:
        return self.lens_height / 2 + self.rim

    def outline(self) -> GlassesOutline:
        """Return the outline."""
        right = self._half(_CORNERS)
        left = right[::-1] * (-1, 1)
        hole = self._rim(self.lens_width / 2, self.lens_height / 2, _CORNERS)
        return GlassesOutline(np.concatenate([right, left]), (hole[::-1] * (-1, 1), hole))

    def mask(self, pixels_per_ipd: float) -> NDArray[np.float32]:
        """Return the coverage of each pixel, (rows, columns) in [0, 1], in a picture centred on the lenses.

        The picture is `half_width` and `half_height` to each side of (0, `drop`), rounded up to whole pixels.
        """
        columns, rows = (2 * math.ceil(half * pixels_per_ipd) for half in (self.half_width, self.half_height))
        scale = pixels_per_ipd * _SUPERSAMPLING
        fine = np.zeros((rows * _SUPERSAMPLING, columns * _SUPERSAMPLING), np.uint8)
        middle = np.array([columns, rows]) * _SUPERSAMPLING / 2
        outline = self.outline()
        for polygon, value in ((outline.outer, 255), *((hole, 0) for hole in outline.holes)):
            points = (polygon - (0, self.drop)) * scale + middle - 0.5
            cv2.fillPoly(fine, [np.round(points * 2**_SUBPIXELS).astype(np.int32)], value, shift=_SUBPIXELS)
        small = cv2.resize(fine, (columns, rows), interpolation=cv2.INTER_AREA)
        return np.asarray(small / 255, np.float32)

    def _rim(self, half_width: float, half_height: float, corners: int) -> Polygon:
        """Return a superellipse around the right lens's centre, from its inner side over its top and back."""
        angle = math.pi + np.linspace(0, 2 * math.pi, corners, endpoint=False)
        power = 2 / self.squareness
        x = np.sign(np.cos(angle)) * np.abs(np.cos(angle)) ** power
        y = np.sign(np.sin(angle)) * np.abs(np.sin(angle)) ** power
        return np.stack([0.5 + half_width * x, self.drop + half_height * y], axis=1)

    def _half(self, corners: int) -> Polygon:
        """Return the right half of the outer edge, from the bridge's top to its bottom."""
        rim = self._rim(self.lens_width / 2 + self.rim, self.half_height, corners)
        rim = rim[rim[:, 0] > 0]
        bridge = (self.drop - self.bridge_height / 2 - 0.06, self.drop + self.bridge_height / 2 - 0.06)
        hinge = (self.drop - self.hinge_height / 2 - 0.08, self.drop + self.hinge_height / 2 - 0.08)
        inner, y = rim[:, 0] < 0.5, rim[:, 1]
        at_bridge = inner & (y > bridge[0]) & (y < bridge[1])
        at_hinge = ~inner & (y > hinge[0]) & (y < hinge[1])
        top = rim[(y < hinge[0]) & ~at_bridge & _is_before(rim, at_hinge)]
        bottom = rim[~at_hinge & ~at_bridge & ~_is_before(rim, at_hinge)]
        reach = self.half_width
        return np.concatenate(
            [[(0.0, bridge[0])], _from(top, bridge[0]), [(reach, hinge[0]), (reach, hinge[1])],
             _until(bottom, bridge[1]), [(0.0, bridge[1])]]
        )  # fmt: skip


def _is_before(rim: Polygon, at_hinge: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Which corners come before the hinge on the way around."""
    return np.arange(len(rim)) < int(np.flatnonzero(at_hinge)[0])


def _from(path: Polygon, y: float) -> Polygon:
    """Leave out what lies on the inner side below the bridge's top."""
    return path[~((path[:, 0] < 0.5) & (path[:, 1] > y))]


def _until(path: Polygon, y: float) -> Polygon:
    """Leave out what lies on the inner side above the bridge's bottom."""
    return path[~((path[:, 0] < 0.5) & (path[:, 1] < y))]
