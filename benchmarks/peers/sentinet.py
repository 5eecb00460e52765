"""SentiNet.

Source: Chou, Tramer, Pellegrino, SentiNet: Detecting Localized Universal Attacks Against Deep Learning Systems, IEEE
SPW 2020: the region that the answer rests on (Grad-CAM, cut at 15% of its maximum) is laid over benign test pictures,
once as it is and once filled with an inert pattern. The share of them that it turns to its own label (Fooled) and the
mean confidence under the inert pattern (AvgConf) are a point; the highest benign points along AvgConf are fitted with a
curve, and a point above it is an attack.

The score is the distance from that curve, positive above it and negative below.

Deviations: only the predicted class's region is tried (the paper adds class proposals from a selective search and
subtracts the regions of other classes). 40 test pictures for 100. Test pictures of the label itself don't count as
fooled. The region is the radar graph's, gradient times activation cell by cell, which is Grad-CAM where the head is a
global average pool. The curve is a parabola fitted by least squares and held constant beyond the benign points (COBYLA
in the paper, for fit and distance). The inert pattern is one picture of Gaussian noise.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.peers.base import Classifier, checked_benign, softmax
from taintwatch_models.calibration_file import Calibration, TightCalibration
from taintwatch_models.onnx_radar import OnnxRadar
from taintwatch_models.onnx_session import SessionSettings
from taintwatch_models.radar_file import RadarFile

__all__ = ["Curve", "SentiNet", "fit_curve"]

_SALIENCY_THRESHOLD = 0.15
_LEAST, _TESTS, _FITTED, _BINS, _BATCH = 8, 40, 100, 10, 16


@dataclass(frozen=True, slots=True, eq=False)
class Curve:
    """The upper edge of benign points: a parabola of AvgConf, constant outside what was seen."""

    coefficients: NDArray[np.float64]
    low: float
    high: float

    def __call__(self, confidence: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(np.polyval(self.coefficients, np.clip(confidence, self.low, self.high)))

    def distance(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the distance of points (N, 2), AvgConf and Fooled, from the curve: positive above it."""
        along = np.linspace(0, 1, 1001)
        squares = (points[:, :1] - along) ** 2 + (points[:, 1:] - self(along)) ** 2  # (N, 1001)
        return np.asarray(np.sqrt(squares.min(axis=1)) * np.sign(points[:, 1] - self(points[:, 0])))


class SentiNet:
    """How far a picture's region fools more than benign regions of its size do."""

    name = "sentinet"

    def __init__(self, radar: RadarFile, benign: NDArray[np.uint8], *, threads: int = 1, seed: int = 0) -> None:
        """Take test pictures, and fit the curve on others. Raises `UsageError`: fewer than 8 pictures."""
        benign = checked_benign(self.name, benign, _LEAST)
        rng = np.random.default_rng(seed)
        self._classifier = Classifier(radar, threads=threads)
        settings = Calibration(tight=TightCalibration(saliency_threshold=_SALIENCY_THRESHOLD))
        self._regions = OnnxRadar(radar, ("tight",), settings, session=SessionSettings(threads=threads, pixels=False))
        order = rng.permutation(len(benign))
        tests = min(_TESTS, len(benign) // 2)
        self._tests = self._classifier.inputs(benign[order[:tests]])  # (T, 3, H, W)
        self._own = self._classifier.logits(self._tests).argmax(axis=1)
        noise = np.clip(rng.normal(127.5, 64, (1, *benign.shape[1:])), 0, 255)
        self._inert = self._classifier.inputs(noise)
        self.forwards = 2 + 2 * tests
        self.curve = fit_curve(self.points(benign[order[tests : tests + _FITTED]]))

    def scores(self, pixels: NDArray[np.uint8]) -> NDArray[np.float64]:
        """Score pictures (N, height, width, 3): (N,)."""
        return self.curve.distance(self.points(pixels))

    def points(self, pixels: NDArray[np.uint8]) -> NDArray[np.float64]:
        """Return AvgConf and Fooled of pictures (N, height, width, 3): (N, 2), both in [0, 1]."""
        inputs = self._classifier.inputs(pixels)
        found = []
        for start in range(0, len(inputs), _BATCH):
            batch = inputs[start : start + _BATCH]
            outputs = self._regions(batch)
            found += [self._point(*each) for each in zip(batch, outputs["tight_mask"], outputs["label"], strict=True)]
        return np.array(found, np.float64).reshape(-1, 2)

    def _point(self, picture: NDArray[np.float32], region: NDArray[np.bool_], label: int) -> tuple[float, float]:
        pasted = self._classifier.logits(np.where(region, picture, self._tests)).argmax(axis=1)
        inert = softmax(self._classifier.logits(np.where(region, self._inert, self._tests)))
        others = self._own != label
        fooled = float((pasted[others] == label).mean()) if others.any() else 0.0
        return float(inert.max(axis=1).mean()), fooled


def fit_curve(points: NDArray[np.float64]) -> Curve:
    """Fit the upper edge of benign points (N, 2): the highest of each tenth of their range of AvgConf."""
    confidence, fooled = points.T
    low, high = float(confidence.min()), float(confidence.max())
    width = max(high - low, 1e-9)
    bins = np.minimum(((confidence - low) / width * _BINS).astype(int), _BINS - 1)
    highest = [np.flatnonzero(bins == b)[fooled[bins == b].argmax()] for b in np.unique(bins)]
    degree = min(2, len(highest) - 1)
    return Curve(np.polyfit(confidence[highest], fooled[highest], degree), low, high)
