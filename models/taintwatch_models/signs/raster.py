"""Signs as pixels: the drawings filled by OpenCV, antialiased by drawing them larger and averaging down."""

from __future__ import annotations

import math
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from taintwatch_models.errors import UsageError
from taintwatch_models.records import read_only
from taintwatch_models.signs.catalogue import draw_sign
from taintwatch_models.signs.geometry import CANVAS, Drawing

__all__ = ["MAX_SIZE_PX", "render_drawing", "render_sign"]

MAX_SIZE_PX = 4096
_SUBPIXELS = 8  # fractional bits of cv2.fillPoly's corners: 1/256 of a pixel


def render_sign(class_index: int, size_px: int) -> NDArray[np.uint8]:
    """Return sign `class_index` (0 to 42), `size_px` pixels wide and high.

    (size_px, size_px, 4), uint8, red-green-blue-alpha, alpha not premultiplied and 0 outside the plate, read-only.
    Raises `UsageError` for an unknown class or a size outside 1 to `MAX_SIZE_PX`.
    """
    return render_drawing(draw_sign(class_index), size_px)


def render_drawing(drawing: Drawing, size_px: int) -> NDArray[np.uint8]:
    """Return any drawing as `render_sign` does."""
    if not 1 <= size_px <= MAX_SIZE_PX:
        raise UsageError(f"A sign cannot be {size_px} pixels wide: choose 1 to {MAX_SIZE_PX}.")
    # fillPoly also paints the pixels its edge touches: the larger the working picture, the less that fattens a line.
    factor = min(64, max(4, math.ceil(1024 / size_px))) if size_px <= 1024 else 2
    large = size_px * factor
    colour = np.zeros((large, large, 3), np.uint8)
    alpha = np.zeros((large, large), np.uint8)
    for shape in drawing:
        # cv2 counts from pixel centres: the canvas's edge is half a pixel before the first one.
        corners = np.asarray(shape.points) / CANVAS * large - 0.5
        fixed = np.round(corners * 2**_SUBPIXELS).astype(np.int32)
        cv2.fillPoly(colour, [fixed], shape.fill, lineType=cv2.LINE_8, shift=_SUBPIXELS)
        cv2.fillPoly(alpha, [fixed], 255, lineType=cv2.LINE_8, shift=_SUBPIXELS)
    return _averaged(colour, alpha, size_px)


def _averaged(colour: NDArray[Any], alpha: NDArray[Any], size_px: int) -> NDArray[np.uint8]:
    # Outside the plate colour is 0, so its mean is premultiplied: divide by the mean alpha to undo that.
    size = (size_px, size_px)
    mean_alpha = cv2.resize(alpha.astype(np.float32), size, interpolation=cv2.INTER_AREA)
    mean_colour = cv2.resize(colour.astype(np.float32), size, interpolation=cv2.INTER_AREA)
    straight = mean_colour * 255.0 / np.maximum(mean_alpha, 1e-6)[..., None]  # (size, size, 3)
    pixels = np.dstack([straight, mean_alpha])
    return read_only(np.clip(np.round(pixels), 0, 255).astype(np.uint8))
