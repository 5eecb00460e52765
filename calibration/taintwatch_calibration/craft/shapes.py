"""The outlines of patches: drawn ones, and any from a picture."""

from __future__ import annotations

import math
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor

from taintwatch_calibration.faces.glasses_shape import GlassesShape
from taintwatch_models.errors import BadFrame, UsageError
from taintwatch_models.image_file import read_image

__all__ = ["SHAPES", "glasses_mask", "load_mask", "shape_mask"]

_FINE = 4  # drawn so many times larger, then cut at half: edges are where they should be

_LIGHTNING = ((0.62, 0.0), (0.2, 0.55), (0.46, 0.55), (0.3, 1.0), (0.84, 0.38), (0.55, 0.38), (0.8, 0.0))

SHAPES = ("square", "circle", "star", "lightning", "band")
"""`band` is a strip of 0.4 of the height across the middle: a hat's sticker."""


def shape_mask(shape: str, resolution: int) -> Tensor:
    """Return (1, resolution, resolution) float32 in {0, 1}. Raises `UsageError` for an unknown shape."""
    if shape not in SHAPES:
        raise UsageError(f"there is no shape {shape!r}; choose one of {', '.join(SHAPES)}, or give a mask picture")
    if shape == "square":
        return torch.ones(1, resolution, resolution)
    if shape == "circle":
        line = torch.linspace(-1, 1, resolution)
        return ((line[:, None] ** 2 + line[None] ** 2) <= 1.0).float()[None]
    if shape == "band":
        rows = torch.linspace(0, 1, resolution)
        return ((rows >= 0.3) & (rows <= 0.7)).float()[None, :, None].expand(1, -1, resolution).contiguous()
    corners = _star() if shape == "star" else _LIGHTNING
    side = resolution * _FINE
    fine = np.zeros((side, side), np.uint8)
    cv2.fillPoly(fine, [np.round(np.array(corners) * (side - 1)).astype(np.int32)], 255)
    small = cv2.resize(fine, (resolution, resolution), interpolation=cv2.INTER_AREA)
    return torch.from_numpy((small >= 128).astype(np.float32))[None]


def load_mask(path: Path, size: tuple[int, int]) -> Tensor:
    """Return a picture's bright (or, where it has one, opaque) part as a mask, (1, *size) float32 in {0, 1}.

    Raises `UsageError` where it cannot be read or covers nothing.
    """
    try:
        picture = read_image(path, cv2.IMREAD_UNCHANGED)
    except BadFrame as error:
        raise UsageError(str(error)) from None
    plane = picture if picture.ndim == 2 else picture[..., 3 if picture.shape[2] == 4 else slice(None)]
    if plane.ndim == 3:
        plane = plane.max(axis=2)
    limit = 0.5 * (np.iinfo(plane.dtype).max if plane.dtype.kind == "u" else 1.0)
    small = cv2.resize((plane > limit).astype(np.float32), size[::-1], interpolation=cv2.INTER_AREA)
    mask = torch.from_numpy((small >= 0.5).astype(np.float32))[None]
    if not bool(mask.any()):
        raise UsageError(f"{path}: the mask covers nothing (no pixel is brighter than half); paint the area white")
    return mask


def glasses_mask(size: tuple[int, int], eyes: tuple[float, ...]) -> Tensor:
    """Return a pair of glasses on an aligned face, (1, *size) float32 in {0, 1}.

    `eyes`: the pupils' two columns and their row, as shares of the picture. Raises `UsageError` for eyes that
    are not apart.
    """
    left, right, row = eyes
    if not 0 <= left < right <= 1 or not 0 <= row <= 1:
        raise UsageError(f"eyes must be LEFT,RIGHT,ROW as shares of the picture with LEFT < RIGHT, not {eyes}")
    height, width = size
    shape = GlassesShape()
    distance = (right - left) * width
    small = shape.mask(distance)
    top = round(row * height + shape.drop * distance - small.shape[0] / 2)
    first = round((left + right) / 2 * width - small.shape[1] / 2)
    canvas = np.zeros((height, width), np.float32)
    rows = slice(max(0, top), min(height, top + small.shape[0]))
    columns = slice(max(0, first), min(width, first + small.shape[1]))
    canvas[rows, columns] = small[rows.start - top : rows.stop - top, columns.start - first : columns.stop - first]
    return torch.from_numpy((canvas >= 0.5).astype(np.float32))[None]


def _star() -> list[tuple[float, float]]:
    radii = (0.5, 0.22)
    angles = [math.pi / 5 * index - math.pi / 2 for index in range(10)]
    return [(0.5 + radii[i % 2] * math.cos(a), 0.5 + radii[i % 2] * math.sin(a)) for i, a in enumerate(angles)]
