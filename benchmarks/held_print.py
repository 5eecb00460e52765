"""A print before a camera: laid into its picture, turned as a hand turns it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from taintwatch.sources.compositing import composite, premultiplied

__all__ = ["HeldPrint"]

SHAKE, TURN = 0.02, 4.0
"""Of the picture's height, and in degrees: a hand."""

Picture = NDArray[np.uint8]


@dataclass(frozen=True, slots=True, eq=False)
class HeldPrint:
    """Something printed, before a camera."""

    picture: Picture
    """(h, w, 3) BGR, square."""
    centre: tuple[float, float]
    """As shares of the picture's width and height."""
    size: float
    """Its side as a share of the picture's height."""
    held: bool = True
    """Whether a hand holds it, which shakes; else it hangs."""

    def box(self, width: int, height: int) -> tuple[float, float, float, float]:
        """Return (x, y, width, height) in a picture of this size, as it hangs."""
        side = self.size * height
        return self.centre[0] * width - side / 2, self.centre[1] * height - side / 2, side, side

    def lay(self, picture: Picture, index: int) -> None:
        """Lay it into frame `index` of a camera, (height, width, 3) BGR, in place."""
        height, width = picture.shape[:2]
        x, y, side, _ = self.box(width, height)
        dx, dy, turn = (math.sin(index / slow) if self.held else 0.0 for slow in (7.0, 11.0, 17.0))
        scale, angle, middle = side / len(self.picture), math.radians(TURN * turn), len(self.picture) / 2
        cos, sin = scale * math.cos(angle), scale * math.sin(angle)
        right, down = x + side / 2 + SHAKE * height * dx, y + side / 2 + SHAKE * height * dy
        move = [[cos, -sin, right - (cos - sin) * middle], [sin, cos, down - (sin + cos) * middle], [0.0, 0.0, 1.0]]
        composite(picture, premultiplied(self.picture), np.array(move), (0, 0, width, height))
