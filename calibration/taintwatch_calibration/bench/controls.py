"""The benign control of a patch: a photograph of the same size, pasted over the picture, that changes nothing."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from taintwatch_calibration.bench.detectors import BenchDetectors
from taintwatch_calibration.bench.records import rates_of
from taintwatch_calibration.bench.subjects import Subject
from taintwatch_calibration.craft.materials import classify

__all__ = ["SIDE", "control_rates", "pasted"]

SIDE = 0.35
"""Of the picture's shorter side."""


def pasted(pixels: NDArray[np.uint8], others: NDArray[np.uint8], seed: int, side: float = SIDE) -> NDArray[np.uint8]:
    """Return `pixels` (N, height, width, 3) with one of `others`, made small, at a random place of each."""
    rng = np.random.default_rng([seed, 0xC0])
    result = pixels.copy()
    height, width = pixels.shape[1:3]
    small = max(1, round(side * min(height, width)))
    for picture, other in zip(result, rng.integers(len(others), size=len(pixels)), strict=True):
        top, left = rng.integers(0, height - small + 1), rng.integers(0, width - small + 1)
        shrunk = cv2.resize(others[other], (small, small), interpolation=cv2.INTER_AREA)
        picture[top : top + small, left : left + small] = shrunk
    return result


def control_rates(
    subject: Subject, detectors: BenchDetectors, target_fpr: tuple[float, ...], seed: int
) -> dict[str, Any]:
    """Return how many controls each detector takes for an attack, of those that leave the label as it was.

    `kept` of `tried`; for each detector and target rate its `rate` with the interval.
    """
    test_images = subject.test_images
    shown = pasted(test_images.pixels, subject.parts.calibrate.pixels, seed)
    kept = shown[classify(subject.plain, shown) == test_images.labels]
    rates = rates_of((detectors.calibrate, detectors.held_out), detectors.detect(kept).scores, target_fpr)
    found = {
        name: {rate: {"rate": at["tpr"], "interval": at["tpr_interval"]} for rate, at in each["at"].items()}
        for name, each in rates.items()
    }
    return {"side": SIDE, "tried": len(shown), "kept": len(kept), "detectors": found}
