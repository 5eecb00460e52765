"""Rates and intervals agree with their definitions, with the literature and with independent implementations."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from taintwatch.alarm_rates import wilson_interval
from taintwatch_calibration.rates import area_under_roc, operating_point, threshold_for

SCORES = st.lists(st.floats(-5, 5, allow_nan=False, width=16), min_size=1, max_size=60)


@pytest.mark.parametrize(
    ("count", "total", "low", "high"),
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_the_wilson_interval_is_that_of_the_literature(count: int, total: int, low: float, high: float) -> None:
    # R. G. Newcombe, Two-sided confidence intervals for the single proportion (1998), table I, method 3
    assert wilson_interval(count, total) == pytest.approx((low, high), abs=5e-5)


def test_nothing_counted_says_nothing() -> None:
    assert wilson_interval(0, 0) == (0.0, 1.0)


@given(SCORES, st.floats(0, 1))
def test_a_threshold_keeps_the_target_fpr_and_wastes_none(scores: list[float], target_fpr: float) -> None:
    threshold = threshold_for(scores, target_fpr)
    values = np.array(scores)
    assert (values > threshold).mean() <= target_fpr + 1e-9
    lower = np.unique(values[values <= threshold])
    if len(lower):  # at the next lower score there would be too many
        assert (values >= lower[-1]).mean() > target_fpr - 1e-9


@given(SCORES, SCORES)
def test_the_area_under_the_curve_is_mann_whitneys(benign: list[float], attacked: list[float]) -> None:
    expected = stats.mannwhitneyu(attacked, benign).statistic / (len(benign) * len(attacked))
    assert area_under_roc(benign, attacked) == pytest.approx(expected)


def test_an_operating_point_counts_on_the_right_sets() -> None:
    found = operating_point(np.arange(100.0), np.array([50.0, 98.5]), np.array([97.0, 200.0, 300.0]), 0.02)
    assert 97 <= found.threshold < 98
    assert (found.fpr, found.benign) == (0.5, 2)
    assert found.tpr == pytest.approx(2 / 3)
    assert found.attacks == 3
