"""Digital watermarking, the blind defence.

Source: Hayes, On Visible Adversarial Perturbations and Digital Watermarking, CVPR Workshops 2018: a visible
perturbation is taken for a watermark. Where the saliency of the label is dense lies the mark: the saliency map is cut,
single pixels are eroded away, what is left is dilated, and the area is filled by inpainting (Telea, 2004).

It is a defence; as a detector the score is how far filling moves the softmax (L1), and `labels` is what it recovers.

Deviations: saliency is the gradient of the label's logit, not guided backpropagation, which needs the classifier's
rectifiers; the cut is the paper's idea of dense, a quantile of the smoothed map.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from benchmarks.peers.base import Classifier
from taintwatch_models.radar_file import RadarFile

__all__ = ["DigitalWatermarking", "dense_area"]

_CUT, _MOST = 0.5, 0.25


class DigitalWatermarking:
    """How far the softmax moves when the area of dense saliency is inpainted."""

    name = "watermarking"
    forwards = 3
    """The gradient counts as one."""

    def __init__(self, radar: RadarFile, benign: NDArray[np.uint8], *, threads: int = 1, seed: int = 0) -> None:
        """Needs no benign picture and no randomness."""
        from taintwatch_calibration.craft.materials import differentiable

        self._classifier, self._threads = Classifier(radar, threads=threads), threads
        self._model = differentiable(radar)

    def scores(self, pixels: NDArray[np.uint8]) -> NDArray[np.float64]:
        """Score pictures (N, height, width, 3): (N,) in [0, 2]."""
        before = self._classifier.probabilities(pixels)
        return np.asarray(np.abs(self._classifier.probabilities(self.filled(pixels)) - before).sum(axis=1))

    def labels(self, pixels: NDArray[np.uint8]) -> NDArray[np.int64]:
        """Return the labels of the filled pictures, (N,)."""
        return np.asarray(self._classifier.probabilities(self.filled(pixels)).argmax(axis=1), np.int64)

    def filled(self, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return pictures (N, height, width, 3) with the area of dense saliency inpainted."""
        saliency = self._saliency(pixels)
        made = [
            cv2.inpaint(picture, dense_area(values).astype(np.uint8), 3, cv2.INPAINT_TELEA)
            for picture, values in zip(pixels, saliency, strict=True)
        ]
        return np.stack(made).astype(np.uint8) if made else pixels

    def _saliency(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        import torch

        from benchmarks.peers.training import torch_threads

        inputs, found = self._classifier.inputs(pixels), [np.zeros((0, *pixels.shape[1:3]), np.float32)]
        with torch_threads(self._threads):
            for start in range(0, len(inputs), 16):
                leaf: Any = torch.from_numpy(inputs[start : start + 16]).requires_grad_(True)
                (slope,) = torch.autograd.grad(self._model(leaf).amax(1).sum(), leaf)
                found.append(slope.abs().amax(1).numpy())
        return np.concatenate(found)


def dense_area(saliency: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Return where a saliency map (height, width) is dense, at most a quarter of the picture."""
    side = max(3, min(saliency.shape) // 16 * 2 + 1)
    smooth = cv2.GaussianBlur(saliency, (side, side), 0)
    cut = max(_CUT * float(smooth.max()), float(np.quantile(smooth, 1 - _MOST)))
    small = np.ones((3, 3), np.uint8)
    eroded = cv2.erode((smooth > cut).astype(np.uint8), small)
    return np.asarray(cv2.dilate(eroded, small, iterations=2) > 0)
