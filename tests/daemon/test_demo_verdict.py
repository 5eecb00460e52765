"""The demo's verdict: success only where the alert came in time, ended in time, and nothing else was alerted."""

from __future__ import annotations

from dataclasses import replace

import pytest

from taintwatch.demo.verdict import Chapter, judge_act, stray_alerts
from taintwatch.records import Alert, AlertState

STOP, OTHER = 14, 8
CHAPTER = Chapter("on-sign", range(45, 105), range(150), STOP, (OTHER,) * 60)


def alert(state: AlertState, frame: int, raised: int, event: str = "a") -> Alert:
    return Alert(
        event_id=event,
        state=state,
        camera="camera",
        detectors=("tight",),
        raised_wall_ns=0,
        wall_ns=0,
        captured_ns=0,
        frame_index=frame,
        raised_frame_index=raised,
        media_s=None,
        suspicious_frames=3,
        label=OTHER,
        label_name="speed limit 120 km/h",
        recovered_label=STOP,
        recovered_name="stop",
        confidence=0.9,
        score=2.0,
        threshold=1.0,
        region=None,
    )


def life(raised: int, cleared: int | None, event: str = "a") -> list[Alert]:
    records = [alert(AlertState.RAISED, raised, raised, event)]
    if cleared is not None:
        records.append(alert(AlertState.CLEARED, cleared, raised, event))
    return records


def test_an_alert_in_time_that_ends_after_the_patch_left_is_a_success() -> None:
    result = judge_act(CHAPTER, life(47, 110))
    assert result.problems == ()
    assert (result.entered, result.left, result.raised, result.cleared, result.delay) == (45, 105, 47, 110, 2)
    assert result.fooled == 1.0


@pytest.mark.parametrize(
    ("alerts", "words"),
    [
        ([], "no alert was raised while the patch was there"),
        (life(55, 110), "10 frames after the patch, not within 10"),
        (life(47, None), "was not cleared"),
        (life(47, 90), "cleared in frame 90, before the patch left in 105"),
        (life(47, 150), "before the scene changed"),
        (life(30, 110), "no alert was raised while"),
    ],
)
def test_every_other_course_is_named_as_a_problem(alerts: list[Alert], words: str) -> None:
    problems = judge_act(CHAPTER, alerts).problems
    assert any(words in problem for problem in problems), problems


def test_the_ninth_frame_after_the_patch_is_still_in_time() -> None:
    assert judge_act(CHAPTER, life(54, 110)).problems == ()


def test_a_patch_that_fools_nobody_is_no_demonstration() -> None:
    weak = replace(CHAPTER, labels=(STOP,) * 13 + (OTHER,) * 47)
    assert judge_act(weak, life(47, 110)).problems == ("the patch fooled the classifier in only 78% of its frames",)


def test_a_patch_that_never_came_is_a_problem_and_not_a_crash() -> None:
    gone = replace(CHAPTER, attacked=range(0), labels=())
    assert judge_act(gone, []).problems == ("the patch never came",)


def test_alerts_outside_every_attack_are_strays_whatever_their_end() -> None:
    alerts = [*life(10, 20, "early"), *life(47, 110), *life(120, None, "late")]
    assert stray_alerts([CHAPTER], alerts) == (10, 120)


def test_the_end_of_another_alert_does_not_count() -> None:
    alerts = [*life(47, None), *life(47, 110, "other")[1:]]
    assert "the alert was not cleared" in judge_act(CHAPTER, alerts).problems
