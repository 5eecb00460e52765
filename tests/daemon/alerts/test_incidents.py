"""The life of an alert: raised once, updated while it changes, cleared once."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest

from taintwatch.alerts.incidents import AlertTracker, new_event_id
from taintwatch.records import Alert, AlertState, Vote
from taintwatch.vote.policies import KofN
from taintwatch.vote.voter import OVERALL, Hold, Voter
from taintwatch_models.records import Prediction
from tests.fakes import a_frame, a_prediction, a_verdict

TOASTER, STOP = 1, 0


class Scene:
    """A voter and a tracker, fed one frame after the other at 25 frames/s."""

    def __init__(self, update_every_s: float = 1.0) -> None:
        self.voter = Voter(KofN(3, 5), hold=Hold(0, 0))
        ids = itertools.count(1)
        self.tracker = AlertTracker(update_every_s=update_every_s, new_id=lambda: f"e{next(ids)}")
        self.index = 0

    def frame(
        self, suspicious: bool, camera: str = "door", score: float = 2.0, label: int | None = None
    ) -> Alert | None:
        said = label if label is not None else (TOASTER if suspicious else STOP)
        prediction = a_prediction(a_frame(self.index, camera), said)
        self.index += 1
        return self.see(prediction, suspicious, score)

    def see(self, prediction: Prediction, suspicious: bool, score: float = 2.0) -> Alert | None:
        verdicts = (replace(a_verdict(prediction, suspicious), score=score if suspicious else -2.0),)
        return self.tracker(prediction, verdicts, self.voter(prediction.frame, verdicts))

    def walk(self, frames: str, camera: str = "door") -> list[tuple[int, AlertState]]:
        """The records of `frames` (x: suspicious), each with the number of its frame."""
        records = [(self.index, self.frame(frame == "x", camera)) for frame in frames]
        return [(index, alert.state) for index, alert in records if alert is not None]


def test_an_attack_is_raised_once_and_cleared_once() -> None:
    assert Scene().walk("....xxxxxxxxxxxx......") == [(6, AlertState.RAISED), (20, AlertState.CLEARED)]


def test_benign_frames_give_no_alert() -> None:
    assert Scene().walk("....x....x.....x.....") == []


def test_a_raised_alert_tells_what_was_seen_and_since_when() -> None:
    scene = Scene()
    scene.walk("....xx")
    alert = scene.frame(True)
    assert alert is not None
    assert (alert.event_id, alert.state, alert.camera, alert.detectors) == ("e1", AlertState.RAISED, "door", ("tight",))
    assert (alert.frame_index, alert.raised_frame_index, alert.suspicious_frames) == (6, 6, 3)
    assert (alert.label_name, alert.recovered_name, alert.confidence) == ("toaster", "stop", 0.98)
    assert (alert.score, alert.threshold, alert.media_s) == (2.0, 0.5, 0.24)
    assert alert.wall_ns == alert.raised_wall_ns
    assert alert.region is not None


def test_a_cleared_alert_tells_what_the_classifier_said_under_attack() -> None:
    scene = Scene()
    scene.walk("xxxx....")
    alert = scene.frame(False)
    assert alert is not None
    assert (alert.event_id, alert.state, alert.label_name) == ("e1", AlertState.CLEARED, "toaster")
    assert (alert.frame_index, alert.raised_frame_index, alert.suspicious_frames) == (8, 2, 4)
    assert alert.wall_ns > alert.raised_wall_ns
    assert alert.region is not None


def test_score_and_region_are_those_of_the_most_suspicious_frame() -> None:
    scene = Scene(update_every_s=0)
    for score in (3.0, 9.0, 4.0):
        raised = scene.frame(True, score=score)
    assert raised is not None
    assert raised.score == 9.0
    assert scene.frame(True, score=5.0) is None
    updated = scene.frame(True, score=9.5)
    assert updated is not None
    assert (updated.state, updated.score, updated.event_id) == (AlertState.UPDATED, 9.5, "e1")


def test_updates_are_spaced_in_the_frames_own_time() -> None:
    scene = Scene(update_every_s=0.2)  # 5 frames
    states = []
    for index in range(20):
        alert = scene.frame(True, score=1.0 + index)
        if alert is not None:
            states.append((index, alert.state, alert.score))
    updated = AlertState.UPDATED
    assert states == [(2, AlertState.RAISED, 3.0), (7, updated, 8.0), (12, updated, 13.0), (17, updated, 18.0)]


def test_nothing_is_updated_while_the_picture_stays_the_same() -> None:
    assert Scene(update_every_s=0).walk("xxx" + "x.xx" * 10) == [(2, AlertState.RAISED)]


def test_another_label_under_attack_is_an_update() -> None:
    scene = Scene(update_every_s=0)
    scene.walk("xxx")
    alert = scene.frame(True, label=STOP)
    assert alert is not None
    assert (alert.state, alert.label_name) == (AlertState.UPDATED, "stop")


def test_a_second_detector_is_an_update_and_the_first_that_stands_gives_the_score() -> None:
    tracker = AlertTracker(update_every_s=0, new_id=lambda: "e1")
    voter = Voter({"paper": KofN(3, 3), "tight": KofN(1, 1)}, hold=Hold(0, 0))
    seen = []
    for index in range(3):
        prediction = a_prediction(a_frame(index), TOASTER)
        verdicts = (replace(a_verdict(prediction, True, "paper"), score=7.0), a_verdict(prediction, True, "tight"))
        alert = tracker(prediction, verdicts, voter(prediction.frame, verdicts))
        seen.append(None if alert is None else (alert.state, alert.detectors, alert.score))
    assert seen == [
        (AlertState.RAISED, ("tight",), 2.0),
        None,
        (AlertState.UPDATED, ("paper", "tight"), 7.0),
    ]


def test_each_attack_has_an_id_of_its_own() -> None:
    scene = Scene()
    alerts = [alert for frame in "xxx.....xxx....." if (alert := scene.frame(frame == "x")) is not None]
    assert [(alert.event_id, alert.state.value) for alert in alerts] == [
        ("e1", "raised"),
        ("e1", "cleared"),
        ("e2", "raised"),
        ("e2", "cleared"),
    ]
    assert len({new_event_id() for _ in range(100)}) == 100


def test_suspicious_frames_long_before_an_attack_are_not_counted() -> None:
    scene = Scene()
    scene.walk("x.........")
    scene.walk("xx")
    alert = scene.frame(True)
    assert alert is not None
    assert alert.suspicious_frames == 3


def test_open_alerts_are_listed_and_closed_at_the_end() -> None:
    scene = Scene()
    scene.walk("xxx", "door")
    scene.walk("xxx", "gate")
    scene.walk("x", "yard")
    assert [alert.camera for alert in scene.tracker.open_alerts()] == ["door", "gate"]
    (closed,) = scene.tracker.close("door")
    assert (closed.state, closed.camera, closed.frame_index) == (AlertState.CLEARED, "door", 2)
    assert scene.tracker.close("door") == ()
    assert [alert.camera for alert in scene.tracker.close_all()] == ["gate"]
    assert scene.tracker.open_alerts() == ()


def test_cameras_have_alerts_of_their_own() -> None:
    scene = Scene()
    for _ in range(3):
        door = scene.frame(True, "door")
        gate = scene.frame(False, "gate")
    assert door is not None
    assert gate is None


def test_a_detector_without_a_vote_does_not_show_in_the_alert() -> None:
    tracker = AlertTracker()
    prediction = a_prediction(a_frame(), TOASTER)
    verdicts = (a_verdict(prediction, True, "ignored"), a_verdict(prediction, True, "tight"))
    alert = tracker(prediction, verdicts, Voter(KofN(1, 1), detectors=["tight"])(prediction.frame, verdicts))
    assert alert is not None
    assert alert.detectors == ("tight",)


def test_a_frame_without_a_combined_vote_is_a_mistake() -> None:
    prediction = a_prediction(a_frame())
    with pytest.raises(ValueError, match=OVERALL):
        AlertTracker()(prediction, (), (Vote("door", 0, "tight", False, 0.0),))
