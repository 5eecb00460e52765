"""Local gradients smoothing, as a detector.

Source: Naseer, Khan, Porikli, Local Gradients Smoothing: Defense against Localized Adversarial Attacks, WACV 2019: the
magnitude g of the picture's gradient, scaled to [0, 1] over the picture, is kept in those blocks (of 15 pixels, that
overlap by 5) whose mean exceeds 0.1 and dropped elsewhere; the picture x becomes x * (1 - 2.3 g), with the product
2.3 g cut at 1.

It is a defence that smooths, not a detector. The score is how far smoothing moves the softmax (L1), as in feature
squeezing: a patch that ruled the answer and was smoothed away leaves another one.

Deviations: the gradient is that of the mean of the three channels. The blocks have the paper's size in pixels, which it
chose for ImageNet (on 64 px signs 3 to 21 pixels were tried, and detect alike).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from benchmarks.peers.base import Classifier
from taintwatch_models.radar_file import RadarFile

__all__ = ["LocalGradientsSmoothing", "gradient", "noisy", "smoothed"]

BLOCK, OVERLAP = 15, 5
THRESHOLD, FACTOR = 0.1, 2.3


class LocalGradientsSmoothing:
    """How much the softmax moves when regions of strong gradients are smoothed away."""

    name = "lgs"
    forwards = 2

    def __init__(self, radar: RadarFile, benign: NDArray[np.uint8], *, threads: int = 1, seed: int = 0) -> None:
        """Needs no benign picture and no randomness."""
        self._classifier = Classifier(radar, threads=threads)

    def scores(self, pixels: NDArray[np.uint8]) -> NDArray[np.float64]:
        """Score pictures (N, height, width, 3): (N,) in [0, 2]."""
        before = self._classifier.probabilities(pixels)
        after = self._classifier.probabilities(smoothed(pixels))
        return np.asarray(np.abs(after - before).sum(axis=1))

    def labels(self, pixels: NDArray[np.uint8]) -> NDArray[np.int64]:
        """Return the labels of the smoothed pictures, (N,)."""
        return np.asarray(self._classifier.probabilities(smoothed(pixels)).argmax(axis=1), np.int64)


def smoothed(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return pictures (N, height, width, 3), 0..255, with their noisy regions smoothed."""
    magnitude = gradient(pixels)
    kept = magnitude * noisy(magnitude, BLOCK, OVERLAP)
    return np.asarray(pixels * (1 - np.clip(FACTOR * kept, 0, 1))[..., None], np.float32)


def gradient(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return the magnitude of the forward differences, (N, height, width), scaled to [0, 1] over each picture.

    A uniform picture has none: zeros.
    """
    grey = pixels.mean(axis=-1, dtype=np.float32)
    across = np.diff(grey, axis=2, append=grey[:, :, -1:])
    down = np.diff(grey, axis=1, append=grey[:, -1:, :])
    magnitude = np.hypot(across, down)
    low = magnitude.min(axis=(1, 2), keepdims=True)
    spread = magnitude.max(axis=(1, 2), keepdims=True) - low
    return np.asarray(np.divide(magnitude - low, spread, out=np.zeros_like(magnitude), where=spread > 0))


def noisy(magnitude: NDArray[np.float32], block: int, overlap: int) -> NDArray[np.bool_]:
    """Say of each pixel of (N, height, width) whether a block around it has a mean above the threshold.

    The last blocks of a row and a column lie at the border.
    """
    found = np.zeros(magnitude.shape, np.bool_)
    height, width = magnitude.shape[1:]
    for top in _starts(height, block, block - overlap):
        for left in _starts(width, block, block - overlap):
            place = np.s_[:, top : top + block, left : left + block]
            found[place] |= (magnitude[place].mean(axis=(1, 2)) > THRESHOLD)[:, None, None]
    return found


def _starts(side: int, block: int, stride: int) -> list[int]:
    last = max(0, side - block)
    return sorted({*range(0, last + 1, stride), last})
