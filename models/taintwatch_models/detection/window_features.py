"""Are the features on which the label rests unlike those of benign pictures?"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["WindowFeatures", "window_features"]


@dataclass(frozen=True, slots=True, eq=False)
class WindowFeatures:
    """What the last maps look like in the salient windows of benign pictures."""

    projection: NDArray[np.float32]
    """(channels, c): random directions; the identity where there are few channels."""
    mean: NDArray[np.float32]
    """(c,)."""
    whitening: NDArray[np.float32]
    """(c, c)."""

    def distances(self, features: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return the log Mahalanobis distances of window features (B, channels): (B,)."""
        white = (features @ self.projection - self.mean) @ self.whitening
        return np.asarray(np.log(np.maximum((white.astype(np.float64) ** 2).mean(axis=1), 1e-9)), np.float64)


def window_features(
    maps: NDArray[np.float32], corners: NDArray[np.int64], height: int, width: int
) -> NDArray[np.float32]:
    """Return the mean of the last maps (B, channels, h, w) over each window, signed square roots of it: (B, channels).

    `corners` (B, 2), `height` and `width` are in cells. The root tames channels with heavy tails.
    """
    found = np.empty(maps.shape[:2], np.float32)
    for index, (row, column) in enumerate(corners):
        found[index] = maps[index, :, row : row + height, column : column + width].mean(axis=(1, 2))
    return np.asarray(np.sign(found) * np.sqrt(np.abs(found)), np.float32)
