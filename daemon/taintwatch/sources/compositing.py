"""The simulator's work on pixels: fitting a picture, cutting out a patch, compositing it over the scene."""

from __future__ import annotations

from typing import TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from taintwatch_models.errors import SourceError

__all__ = ["composite", "cover", "premultiplied", "warp"]

_TO_CORNERS = np.array([[1.0, 0.0, 0.5], [0.0, 1.0, 0.5], [0.0, 0.0, 1.0]])
_FROM_CORNERS = np.array([[1.0, 0.0, -0.5], [0.0, 1.0, -0.5], [0.0, 0.0, 1.0]])
Pixel = TypeVar("Pixel", np.uint8, np.float32)


def cover(image: NDArray[np.uint8], width: int, height: int) -> NDArray[np.uint8]:
    """Return the largest centred part of `image` with the aspect of width x height, resized to it."""
    have_h, have_w = image.shape[:2]
    scale = max(width / have_w, height / have_h)
    crop_w, crop_h = min(have_w, max(1, round(width / scale))), min(have_h, max(1, round(height / scale)))
    x, y = (have_w - crop_w) // 2, (have_h - crop_h) // 2
    how = cv2.INTER_AREA if scale < 1.0 else cv2.INTER_CUBIC
    return np.asarray(
        cv2.resize(image[y : y + crop_h, x : x + crop_w], (width, height), interpolation=how), dtype=np.uint8
    )


def warp(image: NDArray[Pixel], transform: NDArray[np.float64], size: tuple[int, int], border: int) -> NDArray[Pixel]:
    """Return `image` under `transform` (3 x 3, pixels counted from corners)."""
    matrix = _FROM_CORNERS @ transform @ _TO_CORNERS  # OpenCV counts from the centres of pixels
    if _is_flat(transform):
        warped = cv2.warpAffine(image, matrix[:2], size, flags=cv2.INTER_LINEAR, borderMode=border)
    else:
        warped = cv2.warpPerspective(image, matrix, size, flags=cv2.INTER_LINEAR, borderMode=border)
    return np.asarray(warped, dtype=image.dtype)


def premultiplied(patch: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return the patch as (h, w, 4) float32 in [0, 1], colours multiplied by alpha, cut to its opaque part."""
    if patch.ndim != 3 or patch.shape[2] not in (3, 4) or patch.size == 0:
        raise SourceError(f"sim: the patch has the shape {patch.shape}; it must be (height, width, 3 or 4)")
    alpha = patch[:, :, 3] if patch.shape[2] == 4 else np.full(patch.shape[:2], 255, np.uint8)
    rows, columns = np.nonzero(alpha.any(axis=1))[0], np.nonzero(alpha.any(axis=0))[0]
    if rows.size == 0:
        raise SourceError("sim: the patch is transparent everywhere; it must have a visible part")
    cut = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    weight = alpha[cut].astype(np.float32)[:, :, None] / 255.0  # (h, w, 1)
    return np.concatenate([patch[cut][:, :, :3].astype(np.float32) / 255.0 * weight, weight], axis=2)


def composite(
    image: NDArray[np.uint8],
    patch: NDArray[np.float32],
    transform: NDArray[np.float64],
    box: tuple[int, int, int, int],
) -> None:
    """Lay `patch` over `image`, in place, inside `box`; `transform` (3 x 3) takes patch pixels to image pixels."""
    x, y, width, height = box
    scale = _scale(transform, patch.shape[1] / 2, patch.shape[0] / 2)
    small = patch
    if scale < 1.0:  # shrink by area first: a bilinear warp alone would alias
        size = (max(1, round(patch.shape[1] * scale)), max(1, round(patch.shape[0] * scale)))
        small = np.asarray(cv2.resize(patch, size, interpolation=cv2.INTER_AREA), dtype=np.float32)
    grow = np.diag([patch.shape[1] / small.shape[1], patch.shape[0] / small.shape[0], 1.0])
    to_box = np.array([[1.0, 0.0, -x], [0.0, 1.0, -y], [0.0, 0.0, 1.0]]) @ transform @ grow
    warped = warp(small, to_box, (width, height), cv2.BORDER_CONSTANT)
    region = image[y : y + height, x : x + width]
    blended = region * (1.0 - warped[:, :, 3:]) + 255.0 * warped[:, :, :3]
    region[:] = np.clip(np.rint(blended), 0, 255).astype(np.uint8)


def _is_flat(transform: NDArray[np.float64]) -> bool:
    """Whether it has no perspective."""
    return bool((transform[2] == (0.0, 0.0, 1.0)).all())


def _scale(transform: NDArray[np.float64], x: float, y: float) -> float:
    """Return how much larger things are seen at (x, y): the root of the area's growth."""
    if _is_flat(transform):
        return float(transform[0, 0])
    depth = float(transform[2] @ (x, y, 1.0))
    return float(np.sqrt(abs(np.linalg.det(transform)) / abs(depth) ** 3))
