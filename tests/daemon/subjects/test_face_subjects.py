"""A face camera on fakes: each face is judged and voted on by itself, and alerts name it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from taintwatch.alerts.incidents import AlertTracker
from taintwatch.pipeline import Step, watch
from taintwatch.records import AlertState
from taintwatch.subjects.faces import FaceExpander
from taintwatch.vote.policies import KofN
from taintwatch.vote.voter import Hold, Voter
from taintwatch_models.classifier import Rejected
from taintwatch_models.faces.detector import STRANGER, KnownFaces, StrangerClassifier
from taintwatch_models.faces.finder import Face
from taintwatch_models.records import Frame, Prediction, read_only
from tests.fakes import CARD, FakeClassifier, FakeDetector, FakeSupply

LEFT, RIGHT = 40, 440


def a_face(x: float) -> Face:
    return Face((x, 100, 160, 160), ((x + 50, 160), (x + 110, 160)), True)


def a_frame(index: int, *, attacked: Sequence[int] = (), camera: str = "door") -> Frame:
    """640 x 400, dark; the faces at `attacked` are bright, which the fakes take for an attack."""
    image = np.zeros((400, 640, 3), np.uint8)
    for x in attacked:
        image[60:300, x - 20 : x + 180] = 255
    at_ns = index * 100_000_000
    return Frame(camera, index, read_only(image), at_ns, at_ns, index * 0.1)


def run(
    frames: Sequence[Frame],
    faces: Callable[[int], Sequence[int]] = lambda index: (LEFT, RIGHT),
    classifier: FakeClassifier | None = None,
    voter: Voter | None = None,
    tracker: AlertTracker | None = None,
) -> list[Step]:
    found = iter([tuple(a_face(x) for x in faces(frame.index)) for frame in frames])

    def find(image: NDArray[np.uint8]) -> tuple[Face, ...]:
        return next(found)

    batches = watch(
        FakeSupply([[frame] for frame in frames]),
        StrangerClassifier(classifier or FakeClassifier(), 0.5),
        [KnownFaces(FakeDetector("face"))],
        voter or Voter(KofN(2, 3), hold=Hold(0, 0)),
        tracker or AlertTracker(),
        FaceExpander(find, size=112),
        max_batch=4,
        wait_s=0,
        stopping=lambda: False,
    )
    return [step for batch in batches for step in batch]


def test_each_face_gives_a_step_and_a_frame_without_one_says_so() -> None:
    steps = run([a_frame(0), a_frame(1)], lambda index: (LEFT, RIGHT) if index == 0 else ())
    assert [step.frame.index for step in steps] == [0, 0, 1]
    assert [step.first for step in steps] == [True, False, True]
    assert all(step.frame.image.shape == (400, 640, 3) for step in steps)
    assert [getattr(step.outcome, "label_name", None) for step in steps] == ["stop", "stop", None]


def test_an_attacked_face_raises_one_alert_of_its_camera_and_the_other_face_none() -> None:
    steps = run([a_frame(index, attacked=[LEFT]) for index in range(4)])
    alerts = [step.alert for step in steps if step.alert is not None]
    assert [(alert.camera, alert.state, alert.frame_index) for alert in alerts] == [("door", AlertState.RAISED, 1)]
    assert alerts[0].subject == "face 1"
    assert {(vote.camera, vote.subject) for step in steps for vote in step.votes} == {
        ("door", "face 1"),
        ("door", "face 2"),
    }


def test_two_attacked_faces_are_two_alerts() -> None:
    steps = run([a_frame(index, attacked=[LEFT, RIGHT]) for index in range(2)])
    events = {step.alert.event_id for step in steps if step.alert is not None}
    assert len(events) == 2


def test_two_people_who_look_anomalous_once_each_are_no_attack() -> None:
    steps = run([a_frame(0, attacked=[LEFT]), a_frame(1, attacked=[RIGHT]), a_frame(2)])
    assert not [step for step in steps if step.alert is not None]


def test_the_alert_of_a_face_that_leaves_is_cleared() -> None:
    tracker = AlertTracker()
    frames = [a_frame(index, attacked=[LEFT]) for index in range(2)] + [a_frame(index) for index in (2, 14)]
    steps = run(frames, lambda index: (LEFT,) if index < 2 else (), tracker=tracker)
    assert [step.alert.state for step in steps if step.alert] == [AlertState.RAISED, AlertState.CLEARED]
    assert tracker.open_alerts() == ()


def test_the_region_is_told_in_the_cameras_pixels() -> None:
    steps = run([a_frame(index, attacked=[RIGHT]) for index in range(2)])
    (alert,) = [step.alert for step in steps if step.alert is not None]
    assert alert.region is not None
    x, y, width, height = alert.region.box
    assert RIGHT - 80 < x < x + width <= 640
    assert 0 <= y < y + height < 300


def test_a_camera_that_is_gone_ends_the_alerts_of_all_its_faces() -> None:
    tracker, voter = AlertTracker(), Voter(KofN(2, 3), hold=Hold(0, 0))
    run([a_frame(index, attacked=[LEFT, RIGHT]) for index in range(2)], voter=voter, tracker=tracker)
    assert [alert.camera for alert in tracker.open_alerts()] == ["door", "door"]
    assert tracker.close("yard") == ()
    assert [(alert.subject, alert.state) for alert in tracker.close("door")] == [
        ("face 1", AlertState.CLEARED),
        ("face 2", AlertState.CLEARED),
    ]
    assert tracker.close("door") == ()
    voter.gap("door")
    voter.forget("door")


class Unsure(FakeClassifier):
    def __call__(self, frames: Sequence[Frame]) -> list[Prediction | Rejected]:
        outcomes = super().__call__(frames)
        return [replace(each, confidence=0.3) if isinstance(each, Prediction) else each for each in outcomes]


def test_a_stranger_is_called_so_and_raises_nothing() -> None:
    steps = run([a_frame(index, attacked=[LEFT]) for index in range(3)], lambda index: (LEFT,), Unsure())
    assert {getattr(step.outcome, "label_name", None) for step in steps} == {STRANGER}
    assert all(verdict.label_name == STRANGER and not verdict.suspicious for s in steps for verdict in s.verdicts)
    assert not any(step.alert for step in steps)


def test_a_failed_inference_rejects_the_frame_and_the_next_goes_on() -> None:
    steps = run([a_frame(0), a_frame(1)], lambda index: (LEFT,), FakeClassifier(fails_on=[0]))
    assert [type(step.outcome) for step in steps] == [Rejected, Prediction]
    assert steps[0].frame.camera == "door"


def test_a_frame_that_is_no_picture_is_rejected() -> None:
    grey = replace(a_frame(0), image=read_only(np.zeros((8, 8), np.uint8)))
    (step,) = run([grey])
    assert isinstance(step.outcome, Rejected)
    assert "(height, width, 3)" in step.outcome.reason


@pytest.mark.parametrize("camera", ["door", "yard.2"])
def test_the_classifier_is_given_aligned_faces(camera: str) -> None:
    sizes: list[tuple[int, ...]] = []

    class Looking(FakeClassifier):
        def __call__(self, frames: Sequence[Frame]) -> list[Prediction | Rejected]:
            sizes.extend(frame.image.shape for frame in frames)
            assert {frame.camera for frame in frames} == {camera}
            return super().__call__(frames)

    run([a_frame(0, camera=camera)], classifier=Looking())
    assert sizes == [(112, 112, 3)] * 2
    assert CARD.labels
