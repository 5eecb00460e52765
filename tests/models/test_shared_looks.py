"""Second looks are shared by the frames of one event, taken again when they should be, and bounded in time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from taintwatch_models.detection.detector import CombinedDetector, explain
from taintwatch_models.detection.general import general_pictures
from taintwatch_models.detection.learning import learn
from taintwatch_models.detection.looks import CombinedRadar
from taintwatch_models.detection.reference import Reference
from taintwatch_models.loading import load_radar_file
from taintwatch_models.model_files import ModelSettings, SecondLookLimits
from taintwatch_models.onnx_session import SessionSettings
from taintwatch_models.radar_classifier import RadarClassifier
from taintwatch_models.radar_file import RadarFile
from taintwatch_models.records import Frame, Prediction, SecondLook, read_only
from taintwatch_models.shared_looks import SharedLooks, TimeBudget
from tests.tiny_model import write_model


@pytest.fixture(scope="module")
def radar(tmp_path_factory: pytest.TempPathFactory) -> RadarFile:
    return load_radar_file(ModelSettings(path=str(write_model(tmp_path_factory.mktemp("model") / "tiny.onnx"))))


@pytest.fixture(scope="module")
def reference(radar: RadarFile) -> Reference:
    pictures = general_pictures(radar.info.preprocessing)
    return learn(radar, pictures[:100], pictures[200:], threads=1)


@pytest.fixture(scope="module")
def combined(radar: RadarFile, reference: Reference) -> CombinedRadar:
    return CombinedRadar(radar, reference, SessionSettings(device="cpu", threads=1))


class Clock:
    """Time stands still but for what the second looks take: a second each."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def shared(combined: CombinedRadar, monkeypatch: pytest.MonkeyPatch, share: float | None = None) -> Any:
    """A classifier whose looks are shared, with `.looked`: the rows of each second look, and `.clock`."""
    clock, looked = Clock(), list[int]()

    def second(inputs: np.ndarray, first: Any, rows: np.ndarray) -> Any:
        looked.append(len(rows))
        clock.now += len(rows)
        return CombinedRadar.second(combined, inputs, first, rows)

    monkeypatch.setattr(combined, "second", second)
    made: Any = RadarClassifier(SharedLooks(combined, SecondLookLimits(share=share), clock))
    made.looked, made.clock = looked, clock
    return made


def frame(at_s: float, *, camera: str = "door", left: int = 3, attacked: bool = True) -> Frame:
    picture = np.full((32, 32, 3), 40, np.uint8)
    if attacked:
        picture[12:26, left : left + 14] = (255, 0, 255)
    return Frame(camera, 0, read_only(picture), round(at_s * 1e9), 0)


def outcomes(classifier: Any, frames: Sequence[Frame]) -> list[Prediction]:
    found = classifier(frames)
    assert all(isinstance(outcome, Prediction) for outcome in found)
    return list(found)


def became(classifier: Any, *frames: Frame) -> list[str]:
    found = [outcome.window for outcome in outcomes(classifier, frames)]
    return [window.second_look.value for window in found if window is not None]


def test_the_frames_of_one_event_share_one_second_look(
    combined: CombinedRadar, monkeypatch: pytest.MonkeyPatch
) -> None:
    classifier = shared(combined, monkeypatch)
    found = [became(classifier, frame(at / 10))[0] for at in range(8)]
    assert found == ["taken", *["shared"] * 7]
    assert classifier.looked == [1]


def test_a_shared_look_gives_what_the_frames_own_would(
    combined: CombinedRadar, monkeypatch: pytest.MonkeyPatch, radar: RadarFile
) -> None:
    alone = RadarClassifier(combined)([frame(0.1)])[0]
    classifier = shared(combined, monkeypatch)
    first, again = outcomes(classifier, [frame(0.0)])[0], outcomes(classifier, [frame(0.1)])[0]
    assert isinstance(alone, Prediction)
    assert alone.window is not None
    assert first.window is not None
    assert again.window is not None
    assert again.window.values == pytest.approx(alone.window.values, abs=1e-4)
    assert again.window.score == pytest.approx(alone.window.score, abs=1e-4)
    assert again.window.filled_label == alone.window.filled_label


@pytest.mark.parametrize(
    ("later", "becomes"),
    [
        (frame(1.5), "taken"),  # after a second it is taken again
        (frame(0.5, left=16), "taken"),  # at another place
        (frame(0.5, camera="gate"), "taken"),  # before another camera
        (frame(0.5), "shared"),
        (frame(0.5, attacked=False), "not_needed"),
    ],
)
def test_a_look_is_taken_again_in_time_and_when_the_event_changes(
    later: Frame, becomes: str, combined: CombinedRadar, monkeypatch: pytest.MonkeyPatch
) -> None:
    classifier = shared(combined, monkeypatch)
    assert became(classifier, frame(0.0)) == ["taken"]
    assert became(classifier, later) == [becomes]


def test_cameras_share_one_batch_of_hosts_and_the_newest_frame_of_an_event_is_looked_at(
    combined: CombinedRadar, monkeypatch: pytest.MonkeyPatch
) -> None:
    classifier = shared(combined, monkeypatch)
    assert became(classifier, frame(0.0), frame(0.1), frame(0.0, camera="gate")) == ["shared", "taken", "taken"]
    assert classifier.looked == [2]


def test_without_time_the_second_look_waits_and_the_verdict_says_so(
    combined: CombinedRadar, monkeypatch: pytest.MonkeyPatch, radar: RadarFile, reference: Reference
) -> None:
    classifier = shared(combined, monkeypatch, share=0.5)
    points = tuple(replace(point, threshold=1e6) for point in reference.points)
    info = radar.info
    detector = CombinedDetector(replace(reference, points=points), 0.02, info.labels, info.preprocessing)
    assert became(classifier, frame(0.0)) == ["taken"]  # a second of work, where half a second was saved up
    outcome = outcomes(classifier, [frame(0.1, left=16)])[0]
    assert outcome.window is not None
    assert outcome.window.second_look is SecondLook.WAITING
    verdict = detector(outcome)
    assert not verdict.checked
    assert "the second look has to wait" in explain(verdict)
    classifier.clock.now += 10
    assert became(classifier, frame(0.2, left=16)) == ["taken"]


def test_a_verdict_names_the_subject_that_was_judged(
    combined: CombinedRadar, radar: RadarFile, reference: Reference
) -> None:
    door = replace(frame(0.0), subject="door")
    (outcome,) = RadarClassifier(combined)([door])
    assert isinstance(outcome, Prediction)
    verdict = CombinedDetector(reference, 0.02, radar.info.labels, radar.info.preprocessing)(outcome)
    assert (verdict.camera, verdict.subject, verdict.label) == (door.camera, "door", outcome.label)


def test_a_look_that_cannot_be_renewed_in_time_is_shared_on_for_some_seconds(
    combined: CombinedRadar, monkeypatch: pytest.MonkeyPatch
) -> None:
    classifier = shared(combined, monkeypatch, share=0.5)
    assert became(classifier, frame(0.0)) == ["taken"]
    assert became(classifier, frame(2.0)) == ["shared"]
    assert became(classifier, frame(9.0)) == ["waiting"]


def test_a_camera_full_of_decoys_does_not_keep_another_waiting(
    combined: CombinedRadar, monkeypatch: pytest.MonkeyPatch
) -> None:
    classifier = shared(combined, monkeypatch, share=0.5)
    assert became(classifier, frame(0.0, camera="decoyed")) == ["taken"]
    classifier.clock.now += 2  # time for one more
    found = became(classifier, frame(0.3, camera="decoyed", left=16), frame(0.2, camera="door"))
    assert found == ["waiting", "taken"]


def test_second_looks_take_no_more_than_their_share_of_the_time() -> None:
    clock = Clock()
    budget, taken = TimeBudget(0.25, clock), 0.0
    for _ in range(2000):
        clock.now += 0.1
        looks = budget.affordable(3)
        if looks:
            clock.now += 0.2 * looks
            taken += 0.2 * looks
            budget.spend(looks, 0.2 * looks)
    assert taken / clock.now == pytest.approx(0.25, abs=0.02)
