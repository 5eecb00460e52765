"""Sets of square masks that hide a patch wherever it is: those of PatchCleanser, and of Minority Reports."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from taintwatch_models.errors import UsageError

__all__ = ["MaskGrid", "MaskPlan", "covering", "mask_grid", "patch_side"]


@dataclass(frozen=True, slots=True)
class MaskPlan:
    """Which masks a peer lays over pictures."""

    count: int = 6
    """Masks along an axis."""
    patch: float = 0.4
    """Assumed side of the patch, a share of the shorter side."""
    window: int = 1
    """Neighbouring masks that hide the patch together."""


@dataclass(frozen=True, slots=True, eq=False)
class MaskGrid:
    """Masks at every pair of row and column starts."""

    masks: NDArray[np.bool_]
    """(rows * columns, height, width); True is hidden. Row by row."""
    rows: int
    columns: int


def covering(side: int, patch: int, count: int, window: int = 1) -> tuple[NDArray[np.intp], int]:
    """Return the starts of at most `count` masks along one axis, and their length, in pixels.

    Wherever a patch of at most `patch` pixels lies, `window` neighbouring masks hide it. With `window` 1 this is
    PatchCleanser's set (Xiang et al. 2022) for a budget of `count` masks: stride s = ceil((side - patch + 1) / count),
    length patch + s - 1, the last mask pushed back to the border. Wider windows are Minority Reports' grids: length
    patch + window * s - 1, and masks that overhang the border, without which a patch in a corner is hidden by a single
    mask. Raises `UsageError`.
    """
    if not 0 < patch <= side:
        raise UsageError(f"a patch of {patch} pixels cannot be assumed in pictures of {side} pixels: take 1 to {side}")
    if not 0 < window <= count:
        raise UsageError(f"windows of {window} masks cannot be taken from {count} along an axis")
    votes = count - window + 1
    stride = math.ceil((side - patch + 1) / votes)
    length = patch + window * stride - 1
    starts = np.arange(-(window - 1), math.ceil((side - patch + 1) / stride), dtype=np.intp) * stride
    if window == 1:
        starts = np.minimum(starts, max(0, side - length))
    return starts, length


def mask_grid(size: tuple[int, int], plan: MaskPlan) -> MaskGrid:
    """Return the masks that cover the plan's patch in pictures of `size` (height, width). Raises `UsageError`."""
    patch = patch_side(size, plan.patch)
    along = [_strips(side, *covering(side, patch, plan.count, plan.window)) for side in size]
    masks = along[0][:, None, :, None] & along[1][None, :, None, :]  # (rows, columns, height, width)
    return MaskGrid(masks.reshape(-1, *size), len(along[0]), len(along[1]))


def patch_side(size: tuple[int, int], share: float) -> int:
    """Return the assumed patch's side in pixels, at least 1. Raises `UsageError`."""
    if not 0 < share < 1:
        raise UsageError(f"the assumed patch must be a share of the side above 0 and below 1, not {share:g}")
    return max(1, math.ceil(share * min(size) - 1e-9))


def _strips(side: int, starts: NDArray[np.intp], length: int) -> NDArray[np.bool_]:
    """(starts, side): True where a mask lies."""
    places = np.arange(side)
    return np.asarray((places >= starts[:, None]) & (places < starts[:, None] + length))
