"""MagNet's detectors, joined into one score.

Source: Meng, Chen, MagNet: a Two-Pronged Defense against Adversarial Examples, CCS 2017: an autoencoder trained on
benign pictures; its detectors based on reconstruction error (L1 and L2 norm), and those based on probability
divergence (Jensen-Shannon, of the classifier's softmax before and after the autoencoder, at temperatures 10 and 40).

The score is the largest of the four after each was put on its benign scale: distance from the median in units of the
distance from the median to the 95% quantile. (The paper gives each its own threshold, and an alarm is any.)

Deviations: the autoencoder is trained on crops of 16 pixels of the benign pictures and applied to whole ones:
it is convolutional, with one pooling. A few hundred benign pictures teach it less than the paper's tens of thousands.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from benchmarks.peers.base import fitting_classifier
from benchmarks.peers.training import training
from taintwatch_models.radar_file import RadarFile

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["MagNet", "crops"]

_LEAST, _CROPS, _SIDE, _EPOCHS, _CHUNK = 8, 1280, 16, 120, 16


class MagNet:
    """How badly the autoencoder rebuilds a picture, or how much the classifier's answer moves with it."""

    name = "magnet"
    forwards = 2

    def __init__(
        self,
        radar: RadarFile,
        benign: NDArray[np.uint8],
        *,
        threads: int = 1,
        seed: int = 0,
        epochs: int = _EPOCHS,
    ) -> None:
        """Train the autoencoder and take the benign scales. Raises `UsageError`: fewer than 8 pictures."""
        from benchmarks.cmag.magnet_autoencoder import train_magnet

        self._classifier = fitting_classifier(self.name, radar, benign, least=_LEAST, threads=threads)
        with training(threads, seed):
            self._model = train_magnet(crops(benign, np.random.default_rng(seed)), epochs=epochs, seed=seed)
        values = self._values(benign)
        self._centre = np.median(values, axis=0)
        # A statistic that never moves on benign pictures says nothing by moving a little.
        self._spread = np.maximum(np.quantile(values, 0.95, axis=0) - self._centre, 1e-9)

    def scores(self, pixels: NDArray[np.uint8]) -> NDArray[np.float64]:
        """Score pictures (N, height, width, 3): (N,)."""
        self._classifier.check(pixels)
        return np.asarray(((self._values(pixels) - self._centre) / self._spread).max(axis=1, initial=-np.inf))

    def _values(self, pixels: NDArray[np.uint8]) -> NDArray[np.float64]:
        """Return MagNet's four statistics, (N, 4)."""
        import torch

        from benchmarks.cmag.magnet_autoencoder import MAGNET_STATISTICS, magnet_values

        def classify(pictures: Tensor) -> Tensor:
            height, width = self._classifier.preprocessing.size
            again = pictures[:, :, :height, :width].permute(0, 2, 3, 1).numpy() * 255
            return torch.from_numpy(self._classifier.logits(self._classifier.inputs(again)))

        rows = []
        for start in range(0, len(pixels), _CHUNK):
            columns = magnet_values(self._model, classify, _planes(pixels[start : start + _CHUNK])).statistics
            rows.append(np.stack([columns[name] for name in MAGNET_STATISTICS], axis=1))
        return np.concatenate(rows) if rows else np.empty((0, len(MAGNET_STATISTICS)))


def crops(pixels: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.float32]:
    """Cut random pieces of at most 16 pixels from pictures: (1280, 3, side, side) in [0, 1]."""
    height, width = pixels.shape[1:3]
    side = min(_SIDE, height, width) // 2 * 2
    pieces = np.empty((_CROPS, side, side, 3), np.uint8)
    for piece in pieces:
        top, left = rng.integers(0, height - side + 1), rng.integers(0, width - side + 1)
        piece[:] = pixels[rng.integers(len(pixels)), top : top + side, left : left + side]
    return _planes(pieces)


def _planes(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """(N, H, W, 3) to (N, 3, H, W) in [0, 1]; an odd side repeats its last line, since the autoencoder halves sides."""
    odd = [(0, side % 2) for side in pixels.shape[1:3]]
    even = np.pad(pixels, ((0, 0), *odd, (0, 0)), mode="edge")
    return np.ascontiguousarray(even.transpose(0, 3, 1, 2), np.float32) / np.float32(255)
