"""Structural similarity (SSIM) of small pictures, in numpy: the reference for the Torch and ONNX forms."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from taintwatch_models.errors import UsageError

__all__ = ["C1", "C2", "WINDOW", "structural_similarity", "window_matrix"]

WINDOW = 11
_SIGMA = 1.5
C1, C2 = 0.01**2, 0.03**2
"""(K1 * L) ** 2 and (K2 * L) ** 2 for pictures in [0, 1]."""


def window_matrix(length: int) -> NDArray[np.float32]:
    """Return the (length - 10, length) matrix of the Gaussian window, wholly inside the picture.

    Raises `UsageError` where the window does not fit.
    """
    if length < WINDOW:
        raise UsageError(
            f"SSIM compares windows of {WINDOW} x {WINDOW} pixels; a picture of {length} pixels is too small for it"
        )
    steps = np.arange(WINDOW) - WINDOW // 2
    weights = np.exp(-0.5 * (steps / _SIGMA) ** 2)
    matrix = np.zeros((length - WINDOW + 1, length), np.float64)
    for row in range(len(matrix)):
        matrix[row, row : row + WINDOW] = weights / weights.sum()
    return matrix.astype(np.float32)


def structural_similarity(first: NDArray[np.float32], second: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the mean SSIM of pictures (B, channels, H, W) in [0, 1]: (B,), in [-1, 1]; 1 where they are equal.

    Wang et al., Image Quality Assessment, 2004: Gaussian window of 11 x 11, sigma 1.5, population covariance, L = 1,
    windows wholly inside the picture, channels averaged: scikit-image's `structural_similarity` with
    `gaussian_weights=True, sigma=1.5, use_sample_covariance=False, data_range=1.0`. A constant picture has no variance,
    which would make the ratio 0 / 0 without C2: with it, two constants differ by their brightness only, and a constant
    and a structured one have nearly no similarity. Raises `UsageError` where the sizes differ or are below 11 pixels.
    """
    if first.shape != second.shape or first.ndim != 4:
        raise UsageError(
            f"SSIM compares pictures of one size (batch, channels, height, width); these are {first.shape} and "
            f"{second.shape}"
        )
    x, y = first.astype(np.float64), second.astype(np.float64)
    rows, columns = (window_matrix(side).astype(np.float64) for side in x.shape[2:])

    def smooth(values: NDArray[np.float64]) -> NDArray[np.float64]:
        result: NDArray[np.float64] = rows @ values @ columns.T
        return result

    mean_x, mean_y = smooth(x), smooth(y)
    both, squares = mean_x * mean_y, mean_x**2 + mean_y**2
    covariance, variances = smooth(x * y) - both, smooth(x * x + y * y) - squares
    similarity = ((2 * both + C1) * (2 * covariance + C2)) / ((squares + C1) * (variances + C2))
    result: NDArray[np.float64] = similarity.mean(axis=(1, 2, 3))
    return result
