"""Thresholds for target false-positive rates, above what is novel, with what was measured at them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from taintwatch_models.detection.tail import upper_quantile

__all__ = ["HIGH_FPR", "LOW_FPR", "OperatingPoint", "operating_points"]

HIGH_FPR, LOW_FPR = 0.02, 0.001
"""The two target rates that thresholds are always chosen for: frames that are marked, and frames that count as votes
for an alert. A benign picture that stays in view for seconds is wrong in all of its frames or in none, so votes do not
help against it: the rate of a single frame has to be low."""
_NOVEL_FPR = 0.005
"""What is new may be suspicious so often where the target is lower: it is a small part of what a camera sees."""
_RESAMPLES = 200

Scores = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class OperatingPoint:
    """A threshold for one target rate."""

    target_fpr: float
    """Per benign frame; for novel ones 0.5% where that is more."""
    threshold: float
    low: float
    high: float
    """95% interval of the threshold, from resampled frames."""
    alarms: int
    frames: int
    """On benign frames that the threshold was not chosen on: other folds of photographs, the last part of footage."""
    novel_alarms: int
    novel_frames: int
    """On novel frames made from benign ones, which were among those that the threshold was chosen on."""


def operating_points(
    scores: Scores, novel: NDArray[np.bool_], folds: NDArray[np.intp], later: Scores | None, rng: np.random.Generator
) -> tuple[OperatingPoint, ...]:
    """Choose the threshold of both target rates from all cross-validated scores (frames,), larger being suspicious.

    `novel`, `folds` (frames,): which frames are made, and which belong together. `later`: the scores of held-out
    footage; None: the false alarms are counted fold by fold.
    """
    return tuple(_point(rate, scores, novel, folds, later, rng) for rate in (HIGH_FPR, LOW_FPR))


def _point(
    rate: float, scores: Scores, novel: NDArray[np.bool_], folds: NDArray[np.intp], later: Scores | None,
    rng: np.random.Generator,
) -> OperatingPoint:  # fmt: skip
    threshold = _threshold(scores, novel, rate)
    drawn = (rng.integers(0, len(scores), len(scores)) for _ in range(_RESAMPLES))
    resampled = [_threshold(scores[rows], novel[rows], rate) for rows in drawn]
    low, high = (float(np.quantile(resampled, share)) for share in (0.025, 0.975))
    if later is not None:
        alarms, frames = int((later > threshold).sum()), len(later)
    else:
        alarms, frames = _crossed(rate, scores, novel, folds), int((~novel).sum())
    new = scores[novel]
    return OperatingPoint(rate, threshold, low, high, alarms, frames, int((new > threshold).sum()), len(new))


def _threshold(scores: Scores, novel: NDArray[np.bool_], rate: float) -> float:
    """The larger of what benign frames ask for, and what novel ones do."""
    benign = upper_quantile(scores[~novel], rate)
    return max(benign, upper_quantile(scores[novel], max(rate, _NOVEL_FPR))) if novel.any() else benign


def _crossed(rate: float, scores: Scores, novel: NDArray[np.bool_], folds: NDArray[np.intp]) -> int:
    """Count the benign frames above the threshold that the other folds choose."""
    alarms = 0
    for fold in np.unique(folds):
        threshold = _threshold(scores[folds != fold], novel[folds != fold], rate)
        alarms += int((scores[~novel & (folds == fold)] > threshold).sum())
    return alarms
