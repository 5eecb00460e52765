"""Thresholds of a face model, from benign faces alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from taintwatch_calibration.rates import threshold_for
from taintwatch_models.errors import CalibrationError
from taintwatch_models.faces.face_file import Scale
from taintwatch_models.faces.statistics import combined

__all__ = ["JUDGED", "REJECTED_KNOWN", "fit_scales", "scores", "stranger_threshold"]

JUDGED = ("margin", "band_margin")
"""The statistics whose largest decides: what filling the critical region, and the worst band, does to the name."""
REJECTED_KNOWN = 0.02
"""Share of photographs of enrolled people that may be taken for a stranger's."""

Statistics = Mapping[str, NDArray[np.float64]]


def fit_scales(benign: Statistics, target_fpr: float, judged: Sequence[str] = JUDGED) -> tuple[Scale, ...]:
    """Return the scale of each judged statistic: its median, and how far above it the target share begins.

    Raises `CalibrationError` for fewer faces than one false alarm needs.
    """
    count = len(benign[judged[0]])
    if count * target_fpr < 1:
        raise CalibrationError(
            f"{count} benign faces are too few for a false-positive rate of {target_fpr:.1%}; give at least "
            f"{int(np.ceil(1 / target_fpr))}"
        )
    scales = []
    for name in judged:
        centre = float(np.median(benign[name]))
        scales.append(Scale(name, centre, max(threshold_for(benign[name], target_fpr) - centre, 1e-6)))
    return tuple(scales)


def scores(statistics: Statistics, scales: tuple[Scale, ...]) -> NDArray[np.float64]:
    """Return the combined score of each face, (N,)."""
    names = [scale.statistic for scale in scales]
    rows = zip(*(statistics[name] for name in names), strict=True)
    return np.array([combined(dict(zip(names, map(float, row), strict=True)), scales) for row in rows], np.float64)


def stranger_threshold(probabilities: NDArray[np.float32], rejected: float = REJECTED_KNOWN) -> float:
    """Return the probability below which a face is a stranger's: a share `rejected` of enrolled faces lies below."""
    return -threshold_for(-np.asarray(probabilities, np.float64), rejected)
