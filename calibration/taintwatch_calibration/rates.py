"""Rates with their uncertainty: ROC areas, true-positive rates at a target false-positive rate."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from taintwatch.alarm_rates import wilson_interval

__all__ = ["OperatingPoint", "area_under_roc", "operating_point", "roc", "threshold_for"]


def threshold_for(benign: ArrayLike, target_fpr: float) -> float:
    """Return the smallest threshold that at most a share `target_fpr` of benign scores lies above.

    It is put halfway to the next larger score (or just above the largest), so that a score on the threshold does not
    depend on rounding. Raises `ValueError` for no scores.
    """
    scores = np.sort(np.asarray(benign, np.float64))
    if not len(scores):
        raise ValueError("a threshold needs at least one benign score")
    allowed = math.floor(target_fpr * len(scores) + 1e-9)
    if allowed >= len(scores):
        return float(np.nextafter(scores[0], -np.inf))
    highest = scores[len(scores) - 1 - allowed]
    above = scores[scores > highest]
    return float((highest + above[0]) / 2) if len(above) else float(np.nextafter(highest, np.inf))


def area_under_roc(benign: ArrayLike, attacked: ArrayLike) -> float:
    """Return the probability that an attacked score exceeds a benign one; a tie counts half (Mann-Whitney)."""
    low, high = np.sort(np.asarray(benign, np.float64)), np.asarray(attacked, np.float64)
    if not len(low) or not len(high):
        return math.nan
    below = np.searchsorted(low, high, side="left")
    ties = np.searchsorted(low, high, side="right") - below
    return float((below + ties / 2).mean() / len(low))


def roc(benign: NDArray[np.float64], attacked: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return false and true positive rates for every threshold, from (0, 0) to (1, 1)."""
    thresholds = np.unique(np.concatenate([benign, attacked]))[::-1]
    low, high = np.sort(benign), np.sort(attacked)
    false = 1 - np.searchsorted(low, thresholds, side="left") / len(low)
    true = 1 - np.searchsorted(high, thresholds, side="left") / len(high)
    return np.concatenate([[0.0], false]), np.concatenate([[0.0], true])


@dataclass(frozen=True, slots=True)
class OperatingPoint:
    """A detector at one threshold: rates on held-out benign frames and on attacks, each with its 95% interval."""

    target_fpr: float
    threshold: float
    fpr: float
    fpr_interval: tuple[float, float]
    benign: int
    tpr: float
    tpr_interval: tuple[float, float]
    attacks: int


def operating_point(
    calibration: Sequence[float] | NDArray[np.float64],
    held_out: Sequence[float] | NDArray[np.float64],
    attacked: Sequence[float] | NDArray[np.float64],
    target_fpr: float,
) -> OperatingPoint:
    """Choose the threshold on `calibration`, measure false alarms on `held_out` and detections on `attacked`."""
    threshold = threshold_for(calibration, target_fpr)
    alarms = int((np.asarray(held_out) > threshold).sum())
    hits = int((np.asarray(attacked) > threshold).sum())
    benign, attacks = len(held_out), len(attacked)
    return OperatingPoint(
        target_fpr,
        threshold,
        alarms / benign if benign else math.nan,
        wilson_interval(alarms, benign),
        benign,
        hits / attacks if attacks else math.nan,
        wilson_interval(hits, attacks),
        attacks,
    )
