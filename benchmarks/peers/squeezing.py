"""Feature squeezing.

Source: Xu, Evans, Qi, Feature Squeezing: Detecting Adversarial Examples in Deep Neural Networks, NDSS 2018: the score
is the L1 distance of the softmax before and after squeezing; joint detection takes the largest over several squeezers.
These are the three found best together on ImageNet: 5 bits of colour, 2 x 2 median, non-local means 11-3-4 (search
window, patch, strength).

Deviations: none known; the same squeezers for small pictures too (for CIFAR-10 the paper has non-local means 13-3-2).
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray

from benchmarks.peers.base import Classifier
from taintwatch_models.radar_file import RadarFile

__all__ = ["FeatureSqueezing", "fewer_bits", "median", "non_local_means"]

Squeezer = Callable[[NDArray[np.uint8]], NDArray[np.float32]]
"""Pictures (N, height, width, 3) to the same, 0..255."""


class FeatureSqueezing:
    """How much the softmax moves under the squeezer that moves it most."""

    name = "squeezing"
    forwards = 4

    def __init__(self, radar: RadarFile, benign: NDArray[np.uint8], *, threads: int = 1, seed: int = 0) -> None:
        """Needs no benign picture and no randomness."""
        self._classifier = Classifier(radar, threads=threads)
        order = radar.info.preprocessing.order
        self._squeezers: tuple[Squeezer, ...] = (fewer_bits, median, lambda pixels: non_local_means(pixels, order))

    def scores(self, pixels: NDArray[np.uint8]) -> NDArray[np.float64]:
        """Score pictures (N, height, width, 3): (N,) in [0, 2]."""
        before = self._classifier.probabilities(pixels)
        moved = [
            np.abs(self._classifier.probabilities(squeeze(pixels)) - before).sum(axis=1) for squeeze in self._squeezers
        ]
        return np.asarray(np.max(moved, axis=0), np.float64)


def fewer_bits(pixels: NDArray[np.uint8], bits: int = 5) -> NDArray[np.float32]:
    """Reduce the depth of each channel to `bits`, by rounding."""
    steps = 2**bits - 1
    return np.asarray(np.rint(pixels / np.float32(255) * steps) / steps * 255, np.float32)


def median(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Take the 2 x 2 median of each channel, the larger of the two middle values: as SciPy's filter of even size."""
    padded = np.pad(pixels, ((0, 0), (1, 0), (1, 0), (0, 0)), mode="edge")
    four = np.stack([padded[:, 1:, 1:], padded[:, :-1, 1:], padded[:, 1:, :-1], padded[:, :-1, :-1]])
    return np.asarray(np.sort(four, axis=0)[2], np.float32)


def non_local_means(pixels: NDArray[np.uint8], order: str = "rgb") -> NDArray[np.float32]:
    """Smooth by non-local means, 11-3-4, in OpenCV's colour variant (which works in L*a*b*)."""
    turned = pixels[..., ::-1] if order == "rgb" else pixels
    smooth = [
        cv2.fastNlMeansDenoisingColored(np.ascontiguousarray(p), None, 4, 4, 3, 11).astype(np.float32) for p in turned
    ]
    stacked = np.stack(smooth) if smooth else turned.astype(np.float32)
    return np.asarray(stacked[..., ::-1] if order == "rgb" else stacked, np.float32)
