"""Thresholds of CMAG, and of CMAG with TaintRadar, from benign frames and a target false-positive rate."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from taintwatch_calibration.benign import BenignFrames, split_in_blocks
from taintwatch_calibration.cmag.frames import CmagValues
from taintwatch_calibration.rates import threshold_for
from taintwatch_calibration.thresholds import held_out
from taintwatch_models.calibration_file import CmagCalibration, CombinationCalibration
from taintwatch_models.cmag.joint import RULES, joint_score
from taintwatch_models.cmag.limits import LOW_IS_SUSPICIOUS, StatisticLimit, exceedance
from taintwatch_models.errors import CalibrationError

__all__ = ["LIMIT_RULES", "calibrate_cmag", "calibrate_joint", "choose_limits", "cmag_scores", "require_enough"]

LIMIT_RULES = ("quantile", "extreme")
"""`quantile` keeps a target false-positive rate; `extreme` takes the most extreme benign value, as in the paper."""

_SPREAD = 1e-6


def _suspicion(values: CmagValues, statistic: str) -> NDArray[np.float64]:
    """Return the statistic so that larger is more suspicious, (N,). Raises `CalibrationError` for an unknown one."""
    if statistic not in values.statistics:
        raise CalibrationError(
            f"the reconstructors give no statistic '{statistic}'; they give {', '.join(values.statistics)}"
        )
    found = values.statistics[statistic]
    return -found if statistic in LOW_IS_SUSPICIOUS else found


def require_enough(frames: BenignFrames, target_fpr: float) -> None:
    """Raise `CalibrationError` where one false alarm is not countable in each half."""
    if not 0 < target_fpr <= 0.5:
        raise CalibrationError(f"the target false-positive rate must be above 0 and at most 0.5, not {target_fpr}")
    needed = math.ceil(2 / target_fpr)
    if len(frames.pixels) < needed:
        raise CalibrationError(
            f"{frames.description}: {len(frames.pixels)} benign frames are too few for a false-positive rate of "
            f"{target_fpr:.1%}; give at least {needed}, or accept a higher rate with --fpr"
        )


def choose_limits(
    values: CmagValues,
    target_fpr: float,
    statistics: Sequence[str] = ("ssim", "l2"),
    *,
    rule: str = "quantile",
    by_class: bool = False,
) -> tuple[StatisticLimit, ...]:
    """Choose one threshold per statistic so that the share of benign frames beyond *any* of them is `target_fpr`.

    Each statistic has the same share of its own; as they go together, that share is larger than `target_fpr` over their
    number, and it is raised until the whole uses the target rate up. With `by_class`, a predicted label with at least
    4 / `target_fpr` frames has thresholds of its own at the same share: every label then has its share of false alarms,
    but attacks that end in a label which is rebuilt badly are found less often. `extreme` (Han et al.) ignores
    `target_fpr`.
    """
    if rule not in LIMIT_RULES:
        raise CalibrationError(f"there is no rule '{rule}' for thresholds; there are {', '.join(LIMIT_RULES)}")
    if rule == "extreme":
        return _limits(values, 0.0, statistics, needed=len(values.labels) + 1)
    needed = math.ceil(4 / target_fpr) if by_class else len(values.labels) + 1
    low, high = 0.0, target_fpr
    best = _limits(values, target_fpr / len(statistics), statistics, needed)
    for _ in range(20):
        share = (low + high) / 2
        limits = _limits(values, share, statistics, needed)
        if (cmag_scores(values, limits) > 0).mean() <= target_fpr:
            low, best = share, limits
        else:
            high = share
    return best


def _limits(values: CmagValues, share: float, statistics: Sequence[str], needed: int) -> tuple[StatisticLimit, ...]:
    counts = np.bincount(values.labels)
    made = []
    for statistic in statistics:
        scores = _suspicion(values, statistic)
        sign = -1.0 if statistic in LOW_IS_SUSPICIOUS else 1.0
        own = {
            str(label): sign * threshold_for(scores[values.labels == label], share)
            for label in np.flatnonzero(counts >= needed)
        }
        spread = float(np.quantile(scores, 0.9) - np.median(scores))
        made.append(StatisticLimit(statistic, sign * threshold_for(scores, share), max(spread, _SPREAD), own))
    return tuple(made)


def cmag_scores(values: CmagValues, limits: Sequence[StatisticLimit]) -> NDArray[np.float64]:
    """Return the detector's score of each frame, (N,): above 0 is suspicious."""
    columns = [
        [exceedance(limit, float(value), int(label)) for value, label in zip(found, values.labels, strict=True)]
        for limit, found in ((limit, values.statistics[limit.statistic]) for limit in limits)
    ]
    largest: NDArray[np.float64] = np.array(columns, np.float64).max(axis=0)
    return largest


def calibrate_cmag(
    values: CmagValues,
    frames: BenignFrames,
    *,
    target_fpr: float,
    statistics: Sequence[str] = ("ssim", "l2"),
    rule: str = "quantile",
    by_class: bool = False,
    seed: int = 0,
) -> CmagCalibration:
    """Choose the thresholds on one half of the frames and measure the false-positive rate on the other."""
    require_enough(frames, target_fpr)
    choose, check = split_in_blocks(frames, seed)
    limits = choose_limits(values.subset(choose), target_fpr, statistics, rule=rule, by_class=by_class)
    found = held_out(cmag_scores(values.subset(check), limits), 0.0)
    return CmagCalibration(limits, target_fpr, rule, frames.description, len(frames.pixels), found)


def calibrate_joint(
    tight: NDArray[np.float64],
    cmag: NDArray[np.float64],
    frames: BenignFrames,
    *,
    target_fpr: float,
    rule: str = "either",
    seed: int = 0,
) -> CombinationCalibration:
    """Choose the joint threshold: `target_fpr` is the false-positive rate of the two detectors together.

    `tight` and `cmag` (N,) are their scores of the same frames. Each is put on its benign scale (median, and the
    distance from it to the quantile of the target rate), so that neither detector has more of the budget.
    """
    require_enough(frames, target_fpr)
    if rule not in RULES:
        raise CalibrationError(f"there is no rule '{rule}' to combine detectors; there are {', '.join(RULES)}")
    choose, check = split_in_blocks(frames, seed)
    scales = [_scale(scores[choose], target_fpr) for scores in (tight, cmag)]
    settings = CombinationCalibration(rule, 0.0, target_fpr, *scales[0], *scales[1])
    joint = np.array([joint_score(settings, float(t), float(c)) for t, c in zip(tight, cmag, strict=True)])
    threshold = threshold_for(joint[choose], target_fpr)
    return replace(settings, threshold=threshold, held_out=held_out(joint[check], threshold))


def _scale(scores: NDArray[np.float64], target_fpr: float) -> tuple[float, float]:
    """Return centre and spread of benign scores."""
    centre = float(np.median(scores))
    return centre, max(float(np.quantile(scores, 1 - target_fpr)) - centre, _SPREAD)
