"""CMAG's thresholds: that the target false-positive rate is that of the whole, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest

from taintwatch_calibration.benign import split_in_blocks
from taintwatch_calibration.cmag.frames import CmagValues
from taintwatch_calibration.cmag.thresholds import calibrate_cmag, calibrate_joint, choose_limits, cmag_scores
from taintwatch_models.cmag.joint import RULES, joint_score
from taintwatch_models.errors import CalibrationError
from tests.cmag_scene import benign_pictures, frames_of

FRAMES = frames_of(benign_pictures(2000))


def values(count: int = 2000, *, related: float = 0.5, seed: int = 0) -> CmagValues:
    """SSIM and l2 of benign frames: normal, as related as they are asked to be."""
    rng = np.random.default_rng(seed)
    common, first, second = rng.normal(size=(3, count))
    mix = np.sqrt(1 - related**2)
    ssim = 0.8 - 0.05 * (related * common + mix * first)
    l2 = 2.0 + 0.3 * (related * common + mix * second)
    return CmagValues(rng.integers(0, 3, count), {"ssim": ssim, "l2": l2})


@pytest.mark.parametrize("related", [0.0, 0.5, 0.99])
def test_both_statistics_together_use_up_the_target_fpr_and_no_more(related: float) -> None:
    found = values(related=related)
    rate = float((cmag_scores(found, choose_limits(found, 0.05)) > 0).mean())
    assert 0.045 <= rate <= 0.05


def test_each_statistic_has_a_like_share_of_the_rate() -> None:
    found = values(related=0.0)
    low, high = choose_limits(found, 0.1)
    beyond = (found.statistics["ssim"] < low.threshold).mean(), (found.statistics["l2"] > high.threshold).mean()
    assert beyond[0] == pytest.approx(beyond[1], abs=0.005)
    assert 0.045 <= beyond[0] <= 0.06


def test_a_label_with_enough_frames_has_thresholds_of_its_own() -> None:
    found = values(3000)
    found.statistics["l2"][found.labels == 1] += 5.0  # label 1 is always rebuilt badly
    rare = np.where((found.labels == 2) & (np.arange(3000) > 60), 0, found.labels)
    limits = choose_limits(CmagValues(rare, found.statistics), 0.05, by_class=True)
    l2 = next(limit for limit in limits if limit.statistic == "l2")
    assert set(l2.by_class) == {"0", "1"}  # label 2 has too few frames
    assert l2.by_class["1"] - l2.by_class["0"] == pytest.approx(5.0, abs=0.5)
    alarms = cmag_scores(CmagValues(rare, found.statistics), limits) > 0
    assert all(abs(alarms[rare == label].mean() - 0.05) < 0.02 for label in (0, 1))


def test_the_papers_rule_takes_the_extreme_benign_value() -> None:
    found = values()
    low, high = choose_limits(found, 0.05, rule="extreme")
    assert low.threshold == pytest.approx(found.statistics["ssim"].min(), abs=1e-9)
    assert high.threshold == pytest.approx(found.statistics["l2"].max(), abs=1e-9)
    assert not (cmag_scores(found, (low, high)) > 0).any()


def test_the_false_positive_rate_is_measured_on_the_other_half() -> None:
    found = values()
    calibration = calibrate_cmag(found, FRAMES, target_fpr=0.05)
    assert calibration.held_out is not None
    assert calibration.held_out.frames == 1000
    assert calibration.held_out.low <= 0.05 <= calibration.held_out.high
    _, check = split_in_blocks(FRAMES)
    alarms = int((cmag_scores(found.subset(check), calibration.limits) > 0).sum())
    assert alarms == calibration.held_out.alarms


@pytest.mark.parametrize("rule", sorted(RULES))
def test_the_target_fpr_is_that_of_both_detectors_together(rule: str) -> None:
    rng = np.random.default_rng(1)
    tight, cmag = rng.normal(-5, 2, 2000), rng.normal(-1, 0.4, 2000)
    settings = calibrate_joint(tight, cmag, FRAMES, target_fpr=0.05, rule=rule)
    choose, _ = split_in_blocks(FRAMES)
    joint = np.array([joint_score(settings, t, c) for t, c in zip(tight, cmag, strict=True)])
    assert 0.04 <= (joint[choose] > settings.threshold).mean() <= 0.05
    assert settings.held_out is not None
    assert settings.held_out.low <= 0.05 <= settings.held_out.high


def test_either_finds_what_only_one_of_them_sees_and_both_does_not() -> None:
    rng = np.random.default_rng(1)
    tight, cmag = rng.normal(-5, 2, 2000), rng.normal(-1, 0.4, 2000)
    found = {}
    for rule in RULES:
        settings = calibrate_joint(tight, cmag, FRAMES, target_fpr=0.05, rule=rule)
        found[rule] = joint_score(settings, 10.0, -1.0) > settings.threshold
    assert found == {"either": True, "both": False, "score": True}


@pytest.mark.parametrize(
    ("count", "target_fpr", "sentence"),
    [(30, 0.05, r"30 benign frames are too few .* at least 40"), (2000, 0.0, "above 0"), (2000, 0.7, "at most 0.5")],
)
def test_rates_that_cannot_be_kept_are_refused(count: int, target_fpr: float, sentence: str) -> None:
    with pytest.raises(CalibrationError, match=sentence):
        calibrate_cmag(values(count), frames_of(benign_pictures(count)), target_fpr=target_fpr)


def test_unknown_rules_and_statistics_are_refused() -> None:
    with pytest.raises(CalibrationError, match="no rule 'guess'"):
        choose_limits(values(), 0.05, rule="guess")
    with pytest.raises(CalibrationError, match="no statistic 'colour'"):
        choose_limits(values(), 0.05, ("colour",))
    with pytest.raises(CalibrationError, match="no rule 'xor'"):
        calibrate_joint(np.zeros(2000), np.zeros(2000), FRAMES, target_fpr=0.05, rule="xor")
