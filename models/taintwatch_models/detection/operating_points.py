"""Thresholds for target false-positive rates, above what is novel, with what was measured at them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from taintwatch_models.detection.tail import upper_quantile

__all__ = ["HIGH_FPR", "LOW_FPR", "Kind", "OperatingPoint", "operating_points"]

HIGH_FPR, LOW_FPR = 0.02, 0.001
"""The two target rates that thresholds are always chosen for: frames that are marked, and frames that count as votes
for an alert. A benign picture that stays in view for seconds is wrong in all of its frames or in none, so votes do not
help against it: the rate of a single frame has to be low."""
_NOVEL_FPR = 0.005
"""What is new may be suspicious so often where the target is lower: it is a small part of what a camera sees."""
_RESAMPLES = 200


class Kind(IntEnum):
    """What a frame is that thresholds are chosen on."""

    BENIGN = 0
    """As it was given."""
    NOVEL = 1
    """Made from one: a poster, a degradation."""
    BUSY = 2
    """Made from one, with a drawn texture on it. So much rarer than posters that only the lower rate's threshold, the
    alerts', has to lie above it."""


Kinds = NDArray[np.int8]
"""`Kind` of each frame."""

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
    scores: Scores, kinds: Kinds, folds: NDArray[np.intp], later: Scores | None, rng: np.random.Generator
) -> tuple[OperatingPoint, ...]:
    """Choose the threshold of both target rates from all cross-validated scores (frames,), larger being suspicious.

    `kinds`, `folds` (frames,): what each frame is, and which belong together. `later`: the scores of held-out
    footage; None: the false alarms are counted fold by fold.
    """
    return tuple(_point(rate, scores, kinds, folds, later, rng) for rate in (HIGH_FPR, LOW_FPR))


def _point(
    rate: float, scores: Scores, kinds: Kinds, folds: NDArray[np.intp], later: Scores | None,
    rng: np.random.Generator,
) -> OperatingPoint:  # fmt: skip
    threshold = _threshold(scores, kinds, rate)
    drawn = (rng.integers(0, len(scores), len(scores)) for _ in range(_RESAMPLES))
    resampled = [_threshold(scores[rows], kinds[rows], rate) for rows in drawn]
    low, high = (float(np.quantile(resampled, share)) for share in (0.025, 0.975))
    if later is not None:
        alarms, frames = int((later > threshold).sum()), len(later)
    else:
        alarms, frames = _crossed(rate, scores, kinds, folds), int((kinds == Kind.BENIGN).sum())
    new = scores[_made(kinds, rate)]
    return OperatingPoint(rate, threshold, low, high, alarms, frames, int((new > threshold).sum()), len(new))


def _threshold(scores: Scores, kinds: Kinds, rate: float) -> float:
    """The larger of what benign frames ask for, and what novel ones do."""
    benign = upper_quantile(scores[kinds == Kind.BENIGN], rate)
    made = _made(kinds, rate)
    return max(benign, upper_quantile(scores[made], max(rate, _NOVEL_FPR))) if made.any() else benign


def _made(kinds: Kinds, rate: float) -> NDArray[np.bool_]:
    """Which novel frames the threshold for a rate is chosen on."""
    return np.asarray((kinds == Kind.NOVEL) | ((kinds == Kind.BUSY) & (rate < _NOVEL_FPR)))


def _crossed(rate: float, scores: Scores, kinds: Kinds, folds: NDArray[np.intp]) -> int:
    """Count the benign frames above the threshold that the other folds choose."""
    alarms = 0
    for fold in np.unique(folds):
        threshold = _threshold(scores[folds != fold], kinds[folds != fold], rate)
        alarms += int((scores[(kinds == Kind.BENIGN) & (folds == fold)] > threshold).sum())
    return alarms
