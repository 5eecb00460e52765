"""The windows of a picture that are looked at: their size, their places, averages over them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from taintwatch_models.graph.resampling import bilinear_matrix

__all__ = [
    "FILL_SHARE",
    "GRID",
    "PLACES",
    "Boxes",
    "box_averages",
    "boxes_at",
    "boxes_of",
    "place_matrix",
    "window_cells",
]

FILL_SHARE = 0.4
"""Side of the window that is looked at, filled and pasted elsewhere, as a share of the picture's."""

GRID = 14
"""Windows along a side at which maps are given, from the first to the last."""

PLACES = GRID * GRID
"""Of a picture, row by row."""

Boxes = NDArray[np.int64]
"""(B, 4): top, left, height, width, in pixels of the model's input."""


def box_averages(maps: NDArray[np.float32], height: int, width: int) -> NDArray[np.float64]:
    """Return the averages over all windows of (B, h, w) maps: (B, h - height + 1, w - width + 1)."""
    whole = np.zeros((maps.shape[0], maps.shape[1] + 1, maps.shape[2] + 1))
    np.cumsum(maps.cumsum(axis=1, dtype=np.float64), axis=2, out=whole[:, 1:, 1:])
    sums = whole[:, height:, width:] - whole[:, :-height, width:] - whole[:, height:, :-width]
    return np.asarray((sums + whole[:, :-height, :-width]) / (height * width), np.float64)


def window_cells(cells: Sequence[int], share: float = FILL_SHARE) -> tuple[int, int]:
    """Return the height and width of the window on maps of so many `cells`, (rows, columns): at least one each."""
    height, width = (max(1, round(share * side)) for side in cells)
    return height, width


def place_matrix(windows: tuple[int, int]) -> NDArray[np.float32]:
    """Return the matrix that takes values of windows, row by row, to the 14 x 14 places, bilinear: (windows, 196)."""
    return np.kron(*(bilinear_matrix(GRID, count) for count in windows)).T.astype(np.float32)


@lru_cache
def boxes_of(size: tuple[int, int], share: float = FILL_SHARE) -> Boxes:
    """Return the windows at the 14 x 14 places of a picture of (height, width) pixels, row by row: (196, 4).

    `share`: side of the boxes around these windows' centres, as a share of the picture's; they are moved into it.
    """
    rows, columns = np.divmod(np.arange(PLACES), GRID)
    steps = np.stack([rows, columns], axis=1) / (GRID - 1)
    boxes = boxes_at(FILL_SHARE / 2 + steps * (1 - FILL_SHARE), share, size)
    boxes.setflags(write=False)
    return boxes


def boxes_at(places: NDArray[np.float64], share: float, size: tuple[int, int]) -> Boxes:
    """Return the boxes of a `share` of the picture's sides around `places`.

    `places` (B, 2): centre row and column as shares of the picture's sides, in [0, 1]; a box that would reach out of
    the picture, (height, width) pixels, is moved into it.
    """
    sides = np.maximum(1, np.round(share * np.array(size))).astype(np.int64)
    corners = np.round(places * np.array(size) - sides / 2).astype(np.int64)
    corners = np.clip(corners, 0, np.array(size) - sides)
    return np.concatenate([corners, np.broadcast_to(sides, corners.shape)], axis=1)
