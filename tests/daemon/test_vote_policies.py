"""Vote policies, walked frame by frame and against independent oracles."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from taintwatch.vote.policies import (
    AfterDecision,
    ExponentiallyWeighted,
    KofN,
    SequentialProbabilityRatio,
    policy_from_settings,
)
from taintwatch.vote.policy import Policy
from taintwatch_models.errors import ConfigError


def raised_after_each(policy: Policy[Any], frames: Iterable[bool | int]) -> list[bool]:
    standing = policy.start()
    raised = []
    for suspicious in frames:
        standing = policy(standing, bool(suspicious))
        assert 0.0 <= standing.level <= 1.0
        raised.append(standing.raised)
    return raised


def walk(policy: Policy[Any], frames: str) -> str:
    """`frames`: x for a suspicious frame, . for a clean one. Returns R where it is raised after it, - where not."""
    return "".join("R" if raised else "-" for raised in raised_after_each(policy, (frame == "x" for frame in frames)))


def test_three_of_five_raises_at_the_third_suspicious_frame_and_clears_after_five_clean_ones() -> None:
    assert walk(KofN(3, 5), "x.x.x.....x") == "----RRRRR--"


def test_suspicious_frames_too_far_apart_never_raise() -> None:
    assert "R" not in walk(KofN(3, 5), "xx...xx...xx...x")


def test_one_suspicious_frame_in_each_window_keeps_an_alert_raised() -> None:
    assert walk(KofN(3, 5), "xxx" + "....x" * 4) == "--" + "R" * 21


def test_a_higher_clear_threshold_clears_earlier() -> None:
    assert walk(KofN(3, 5, clear_at=1), "xxx.....") == "--RRRR--"


def test_a_window_that_is_not_full_never_clears() -> None:
    assert walk(KofN(1, 3), "x...") == "RRR-"


def test_the_level_of_a_window_counts_towards_k() -> None:
    policy = KofN(4, 8)
    standing = policy.start()
    levels = []
    for suspicious in (True, True, False, True, True, True):
        standing = policy(standing, suspicious)
        levels.append(standing.level)
    assert levels == [0.25, 0.5, 0.5, 0.75, 1.0, 1.0]


@given(st.integers(1, 8), st.integers(0, 8), st.integers(0, 7), st.lists(st.booleans(), max_size=60))
def test_k_of_n_agrees_with_counting_the_last_n_frames(k: int, more: int, clear_at: int, frames: list[bool]) -> None:
    n = k + more
    assume(clear_at < k)
    expected, raised = [], False
    for end in range(1, len(frames) + 1):
        count = frames[max(0, end - n) : end].count(True)
        if not raised and count >= k:
            raised = True
        elif raised and end >= n and count <= clear_at:
            raised = False
        expected.append(raised)
    assert raised_after_each(KofN(k, n, clear_at), frames) == expected


def test_an_exponential_share_raises_at_the_fourth_frame_and_clears_once_it_has_halved() -> None:
    assert walk(ExponentiallyWeighted(), "xxxx......") == "---RRRR---"


@given(st.floats(0.5, 20), st.lists(st.booleans(), max_size=60))
def test_an_exponential_share_is_the_sum_of_weights_that_halve(half_life: float, frames: list[bool]) -> None:
    policy = ExponentiallyWeighted(half_life_frames=half_life)
    standing = policy.start()
    for suspicious in frames:
        standing = policy(standing, suspicious)
    weights = [0.5 ** (age / half_life) for age in range(len(frames))]
    whole = 1 / (1 - 0.5 ** (1 / half_life))  # the weights of frames without end
    share = sum(w for w, suspicious in zip(weights, reversed(frames), strict=True) if suspicious) / whole
    assert standing.share == pytest.approx(share, abs=1e-9)


@given(
    st.floats(0.01, 0.4),
    st.floats(0.5, 0.99),
    st.floats(0.001, 0.2),
    st.floats(0.001, 0.2),
    st.lists(st.booleans(), max_size=80),
)
def test_the_sequential_test_agrees_with_the_product_of_likelihoods(
    p_benign: float, p_attack: float, alpha: float, beta: float, frames: list[bool]
) -> None:
    expected, raised, attack, benign = [], False, 1.0, 1.0
    for suspicious in frames:
        attack *= p_attack if suspicious else 1 - p_attack
        benign *= p_benign if suspicious else 1 - p_benign
        for bound in ((1 - beta) / alpha, beta / (1 - alpha)):
            assume(abs(attack / benign / bound - 1) > 1e-9)  # at a bound itself rounding decides
        if attack / benign >= (1 - beta) / alpha:
            raised, attack, benign = True, 1.0, 1.0
        elif attack / benign <= beta / (1 - alpha):
            raised, attack, benign = False, 1.0, 1.0
        expected.append(raised)
    assert raised_after_each(SequentialProbabilityRatio(p_benign, p_attack, alpha, beta), frames) == expected


def test_the_sequential_test_decides_in_three_frames_each_way() -> None:
    assert walk(SequentialProbabilityRatio(), "...xxx...") == "-----RRR-"


def test_evidence_held_at_its_bound_takes_longer_to_turn_than_a_new_test() -> None:
    frames = "xxx" + "." * 12
    restarted = walk(SequentialProbabilityRatio(after_decision=AfterDecision.RESTART), frames)
    held = walk(SequentialProbabilityRatio(after_decision=AfterDecision.HOLD), frames)
    assert (restarted.count("R"), held.count("R")) == (3, 8)


def test_either_is_raised_while_one_is_and_both_while_both_are() -> None:
    fast, slow = KofN(1, 2), KofN(3, 3)
    frames = "x..xxx....xx"
    one, other = walk(fast, frames), walk(slow, frames)
    assert walk(fast | slow, frames) == "".join("R" if "R" in pair else "-" for pair in zip(one, other, strict=True))
    assert walk(fast & slow, frames) == "".join(
        "R" if pair == ("R", "R") else "-" for pair in zip(one, other, strict=True)
    )
    assert one != other


def test_combinations_combine_again() -> None:
    policy = (KofN(1, 1) & KofN(2, 2)) | SequentialProbabilityRatio()
    assert walk(policy, "x.xx.") == "---R-"


@pytest.mark.parametrize(
    "policy", [KofN(2, 3), ExponentiallyWeighted(), SequentialProbabilityRatio(), KofN() | KofN(1, 1)]
)
@given(frames=st.lists(st.booleans(), max_size=30))
def test_a_gap_keeps_the_decision_and_drops_the_evidence(policy: Policy[Any], frames: list[bool]) -> None:
    standing = policy.start()
    for suspicious in frames:
        standing = policy(standing, suspicious)
    after = policy.after_gap(standing)
    assert after.raised == standing.raised
    if not after.raised:
        assert after == policy.start()


@pytest.mark.parametrize("policy", [KofN(), ExponentiallyWeighted(), SequentialProbabilityRatio()])
def test_one_clean_frame_after_a_gap_does_not_clear(policy: Policy[Any]) -> None:
    standing = policy.start()
    for _ in range(10):
        standing = policy(standing, True)
    assert policy(policy.after_gap(standing), False).raised


@pytest.mark.parametrize(
    ("kind", "policy"),
    [
        ("k-of-n", KofN(2, 4)),
        ("k_of_n", KofN(2, 4)),
    ],
)
def test_settings_name_a_policy_and_its_limits(kind: str, policy: Policy[Any]) -> None:
    assert policy_from_settings(kind, k=2, n=4) == policy
    assert policy_from_settings("exponentially-weighted", raise_at=0.7) == ExponentiallyWeighted(raise_at=0.7)
    assert policy_from_settings("sequential-probability-ratio") == SequentialProbabilityRatio()


@pytest.mark.parametrize(
    ("kind", "options", "says"),
    [
        ("k-of-n", {"k": 6}, "'k' is 6 but the window 'n' holds only 5"),
        ("k-of-n", {"k": 0}, "'k' has value 0"),
        ("k-of-n", {"n": True}, "'n' has value True"),
        ("k-of-n", {"n": 10**9}, "'n' has value 1000000000"),
        ("k-of-n", {"clear_at": 3}, "'clear_at' has value 3"),
        ("k-of-n", {"half_life_frames": 3}, "has no setting 'half_life_frames'. It has: k, n, clear_at"),
        ("exponentially-weighted", {"clear_at": 0.8}, "'clear_at' is 0.8, not below 'raise_at' (0.6)"),
        ("exponentially-weighted", {"raise_at": 1}, "'raise_at' has value 1"),
        ("exponentially-weighted", {"half_life_frames": float("nan")}, "'half_life_frames' has value nan"),
        ("sequential-probability-ratio", {"p_benign": 0.9}, "'p_benign' is 0.9, not below 'p_attack' (0.8)"),
        ("sequential-probability-ratio", {"alpha": 0}, "'alpha' has value 0"),
        ("sequential-probability-ratio", {"after_decision": "wait"}, "'after_decision' has value 'wait'"),
        ("majority", {}, "'policy' has value 'majority'"),
    ],
)
def test_nonsense_is_refused_with_the_setting_and_its_value(kind: str, options: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        policy_from_settings(kind, **options)
    assert says in str(caught.value)
