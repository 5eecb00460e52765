"""The benign control of a patch: a photograph of the same size, pasted over the picture, that changes nothing."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from taintwatch_calibration.bench.judging import ProductJudge
from taintwatch_calibration.bench.subjects import Subject
from taintwatch_calibration.craft.materials import classify
from taintwatch_calibration.rates import threshold_for, wilson_interval

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


def control_rates(subject: Subject, judge: ProductJudge, target_fpr: tuple[float, ...], seed: int) -> dict[str, Any]:
    """Return how many controls each detector takes for an attack, of those that leave the label as it was.

    `kept` of `tried`; for each detector and target rate its `rate` with the interval.
    """
    test_images = subject.test_images
    shown = pasted(test_images.pixels, subject.parts.calibrate.pixels, seed)
    kept = shown[classify(subject.plain, shown) == test_images.labels]
    found: dict[str, Any] = {"side": SIDE, "tried": len(shown), "kept": len(kept), "detectors": {}}
    for name, scores in judge.detect(kept).scores.items():
        at = {}
        for rate in target_fpr:
            alarms = int((scores > threshold_for(judge.calibrate[name], rate)).sum())
            at[f"{rate:g}"] = {"rate": alarms / max(1, len(kept)), "interval": wilson_interval(alarms, len(kept))}
        found["detectors"][name] = at
    return found
