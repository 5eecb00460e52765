"""Suspicious frames count together only where they agree, and one attack stays one alert however its scores flicker."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from taintwatch.alerts.incidents import AlertTracker
from taintwatch.assembly import make_voter
from taintwatch.config.sections import VoteSection
from taintwatch.records import AlertState
from taintwatch.vote.agreement import MOST_GROUPS, Sighting
from taintwatch.vote.policies import ExponentiallyWeighted, KofN, SequentialProbabilityRatio
from taintwatch.vote.policy import Policy
from taintwatch.vote.voter import Hold, Voter
from taintwatch_models.records import Region, Verdict
from tests.fakes import a_frame, a_prediction, a_verdict

HERE, NEAR, THERE = (100, 100, 40, 40), (110, 95, 40, 40), (300, 200, 40, 40)


def sees(index: int, label: int | None = None, box: tuple[int, int, int, int] | None = HERE) -> Verdict:
    """The verdict of one frame; `label` None: a benign one."""
    verdict = a_verdict(a_prediction(a_frame(index)), label is not None)
    region = None if box is None else Region(box, (), 0.1)
    return replace(verdict, label=label or 0, region=region) if label is not None else verdict


def raised_at(verdicts: Sequence[Verdict], policy: Policy[Any], *, agree: bool = True) -> int | None:
    voter = Voter(policy, hold=Hold(0, 0), agree=agree)
    for index, verdict in enumerate(verdicts):
        if voter(a_frame(index), [verdict])[-1].raised:
            return index
    return None


POLICIES = [KofN(3, 5), ExponentiallyWeighted(), SequentialProbabilityRatio()]


@pytest.mark.parametrize("policy", POLICIES, ids=lambda policy: type(policy).__name__)
@pytest.mark.parametrize(
    "verdicts",
    [
        [sees(i, 7, HERE) for i in range(12)],
        [sees(i, 7, (30 * i, 10 * i, 20, 20)) for i in range(12)],  # it is carried about, and keeps its label
        [sees(i, 1 + i % 4, (HERE, NEAR)[i % 2]) for i in range(12)],  # it stays, and its label flickers
        [sees(i, 7, None) for i in range(12)],
    ],
    ids=["still", "carried", "flickering label", "no region"],
)
def test_frames_of_one_attack_agree_and_raise_as_soon_as_without(policy: Policy[Any], verdicts: list[Verdict]) -> None:
    assert raised_at(verdicts, policy) == raised_at(verdicts, policy, agree=False) is not None


@pytest.mark.parametrize("policy", POLICIES, ids=lambda policy: type(policy).__name__)
def test_false_alarms_that_point_here_and_there_never_raise(policy: Policy[Any]) -> None:
    restless = [sees(i, i + 1, (60 * (i % 9), 60 * (i // 9 % 9), 40, 40)) for i in range(60)]
    assert raised_at(restless, policy) is None
    assert raised_at(restless, policy, agree=False) is not None


def test_an_attack_is_raised_amid_false_alarms_elsewhere() -> None:
    frames = [sees(i, 7, HERE) if i % 2 else sees(i, 20 + i, (60 * i, 300, 40, 40)) for i in range(10)]
    assert raised_at(frames, KofN(3, 5)) == 5


def test_one_frame_that_differs_does_not_take_over_the_evidence_of_the_others() -> None:
    frames = [sees(0, 7, HERE), sees(1, 7, HERE), sees(2, 9, THERE), sees(3, 7, NEAR)]
    assert raised_at(frames, KofN(3, 5)) == 3


def test_what_is_remembered_is_bounded_however_restless_the_scene() -> None:
    voter = Voter(KofN(3, 1000), hold=Hold(0, 0))
    for index in range(500):
        voter(a_frame(index), [sees(index, index + 1, (index * 50, 0, 10, 10))])
    (subject,) = voter._subjects.values()
    assert len(subject.standings["tight"].groups) == MOST_GROUPS


@pytest.mark.parametrize(
    ("one", "other", "agree"),
    [
        (Sighting(1, HERE), Sighting(1, THERE), True),
        (Sighting(1, HERE), Sighting(2, NEAR), True),
        (Sighting(1, HERE), Sighting(2, THERE), False),
        (Sighting(1, HERE), Sighting(2, (139, 139, 200, 200)), False),  # they touch, no more
        (Sighting(1, HERE), Sighting(2, (0, 0, 600, 600)), True),  # the smaller lies in the larger
        (Sighting(1, None), Sighting(2, HERE), False),
    ],
)
def test_sightings_agree_by_label_or_by_place(one: Sighting, other: Sighting, agree: bool) -> None:
    assert one.agrees(other) is other.agrees(one) is agree


def ten_flickering_minutes() -> list[bool]:
    """Suspicious or not, 10 frames a second: half seconds of clear sight between up to two seconds of none."""
    rng, flags = random.Random(3), list[bool]()  # noqa: S311 (nobody guesses it)
    while len(flags) < 6000:
        flags += [True] * rng.randint(3, 8) + [rng.random() < 0.1 for _ in range(rng.randint(1, 20))]
    return flags[:6000]


def alerts_of(flags: Sequence[bool], section: VoteSection) -> list[AlertState]:
    voter, tracker = make_voter(section, ("tight",)), AlertTracker()
    states: list[AlertState] = []
    for index, suspicious in enumerate([*flags, *[False] * 200]):
        frame = replace(a_frame(index), media_s=index / 10)
        prediction = a_prediction(frame, 1)
        verdict = replace(a_verdict(prediction, suspicious), score=2.0 + index * 1e-4)
        alert = tracker(prediction, [verdict], voter(frame, [verdict]))
        if alert is not None and alert.state is not AlertState.UPDATED:
            states.append(alert.state)
    return states


def test_ten_minutes_of_one_flickering_attack_are_one_alert_with_its_end() -> None:
    flags = ten_flickering_minutes()
    assert alerts_of(flags, VoteSection()) == [AlertState.RAISED, AlertState.CLEARED]
    assert len(alerts_of(flags, VoteSection(clear_after_s=0.0))) > 50


def test_an_alert_is_cleared_soon_after_the_attack_has_gone() -> None:
    voter = make_voter(VoteSection(), ("tight",))
    flags = [True] * 20 + [False] * 100
    raised = [
        voter(frame := replace(a_frame(i), media_s=i / 10), [a_verdict(a_prediction(frame, 1), flag)])[-1].raised
        for i, flag in enumerate(flags)
    ]
    assert raised.index(True) == 2
    assert 5.0 <= (raised.index(False, 20) - 20) / 10 <= 6.0
