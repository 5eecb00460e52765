"""A detector that is guarded: a noisy sheet that hides a lamp is an attack, a lamp or a plain sheet is none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from benchmarks.objects.known_guard import KnownGuard
from taintwatch.assembly import make_detection
from taintwatch.config.load import parse_config
from taintwatch.deadlines import Deadlines
from taintwatch.pipeline import watch
from taintwatch_models.errors import CalibrationError, ConfigError
from taintwatch_models.objects.finder import FinderSettings
from taintwatch_models.objects.guard import GuardReference, ObjectGuard, read_guard, write_guard
from taintwatch_models.objects.guard_learning import learn_guard
from taintwatch_models.objects.guarded_model import NOTHING, load_guarded_model
from taintwatch_models.records import Frame, Prediction, read_only
from tests.fakes import FakeSupply
from tests.object_scene import write_guardable_detector

Picture = NDArray[np.uint8]


def street(index: int, sheet: str | None = None) -> Picture:
    """A grey street with a lamp, and perhaps a sheet on the lamp: `noise` or `plain`."""
    rng = np.random.default_rng(index)
    image = np.clip(rng.normal(70, 4, (192, 192, 3)), 0, 255)
    x, y = int(rng.integers(30, 110)), int(rng.integers(30, 110))
    image[y : y + 48, x : x + 48] = 235 + rng.normal(0, 4, (48, 48, 3))
    if sheet is not None:
        covered = rng.integers(0, 2, (16, 16, 3)) * 255.0 if sheet == "noise" else np.full((16, 16, 3), 150.0)
        image[y + 8 : y + 40, x + 8 : x + 40] = np.kron(covered, np.ones((2, 2, 1)))
    return np.clip(image, 0, 255).astype(np.uint8)


def general(count: int) -> list[Picture]:
    """Blobs of any colour."""
    made = []
    for index in range(count):
        rng = np.random.default_rng(10_000 + index)
        made.append(np.kron(rng.integers(0, 256, (8, 8, 3)), np.ones((24, 24, 1))).astype(np.uint8))
    return made


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> FinderSettings:
    path = write_guardable_detector(tmp_path_factory.mktemp("guard") / "lamps.onnx")
    return FinderSettings(
        str(path), labels=str(path.with_suffix(".txt")), decoder="yolox", device="cpu", threads=1, confidence=0.6
    )


@pytest.fixture(scope="module")
def reference(settings: FinderSettings) -> GuardReference:
    return learn_guard(settings, [street(index) for index in range(72)], general(60), target_fpr=0.02)


def suspicious(guard: ObjectGuard, pictures: Sequence[Picture]) -> float:
    return float(np.mean([guard(picture).score > guard.threshold for picture in pictures]))


def test_a_noisy_sheet_is_suspicious_and_later_frames_are_not(
    settings: FinderSettings, reference: GuardReference
) -> None:
    guard = ObjectGuard(settings, reference)
    assert suspicious(guard, [street(index, "noise") for index in range(500, 520)]) >= 0.9
    assert suspicious(guard, [street(index) for index in range(600, 640)]) <= 0.05
    assert suspicious(guard, [street(index, "plain") for index in range(700, 720)]) <= 0.2


def test_only_anomalous_frames_get_the_second_forward(settings: FinderSettings, reference: GuardReference) -> None:
    guard = ObjectGuard(settings, reference)
    assert all(guard(street(index, "noise")).change is not None for index in range(500, 505))
    looked = guard.looked
    for index in range(600, 640):
        guard(street(index))
    assert guard.looked - looked <= 20


def test_the_place_is_where_the_sheet_is(settings: FinderSettings, reference: GuardReference) -> None:
    guard = ObjectGuard(settings, reference)
    rng = np.random.default_rng(510)
    rng.normal(70, 4, (192, 192, 3))
    x, y = int(rng.integers(30, 110)), int(rng.integers(30, 110))
    left, top, width, height = guard(street(510, "noise")).place
    assert left - 8 <= x + 24 <= left + width + 8
    assert top - 8 <= y + 24 <= top + height + 8


def test_a_reference_is_written_and_read_back(
    settings: FinderSettings, reference: GuardReference, tmp_path: Path
) -> None:
    write_guard(reference, tmp_path / "lamps.objects.npz")
    guard, again = (ObjectGuard(settings, each) for each in (reference, read_guard(tmp_path / "lamps.objects.npz")))
    for index in (500, 600):
        assert guard(street(index, "noise")).score == pytest.approx(again(street(index, "noise")).score)


def test_what_is_wrong_is_said_in_a_sentence(
    settings: FinderSettings, reference: GuardReference, tmp_path: Path
) -> None:
    with pytest.raises(CalibrationError, match="too few; give at least 60"):
        learn_guard(settings, [street(0)] * 5, general(60))
    with pytest.raises(CalibrationError, match="belongs to another model"):
        ObjectGuard(settings, replace(reference, model_hash="0" * 64))
    with pytest.raises(CalibrationError, match="no such reference"):
        read_guard(tmp_path / "missing.npz")
    (tmp_path / "broken.npz").write_bytes(b"nothing")
    with pytest.raises(CalibrationError, match="not a readable reference"):
        read_guard(tmp_path / "broken.npz")


def test_the_guarded_model_stands_in_the_place_of_a_classifier(
    settings: FinderSettings, reference: GuardReference, tmp_path: Path
) -> None:
    write_guard(reference, tmp_path / "lamps.objects.npz")
    model = load_guarded_model(settings, str(tmp_path / "lamps.objects.npz"))
    frames = [
        Frame("road", index, read_only(image), 0, 0)
        for index, image in enumerate([street(600), np.full((192, 192, 3), 70, np.uint8), street(510, "noise")])
    ]
    seen, empty, attacked = model.classifier(frames)
    assert isinstance(seen, Prediction)
    assert isinstance(empty, Prediction)
    assert isinstance(attacked, Prediction)
    assert (seen.label_name, empty.label_name) == ("lamp", NOTHING)
    (detector,) = model.detectors
    assert not detector(seen).suspicious
    verdict = detector(attacked)
    assert verdict.suspicious
    assert verdict.region is not None
    assert set(verdict.statistics) == {"anomaly", "appearance", "change"}
    with pytest.raises(ConfigError, match="needs the guarded object detector"):
        detector(replace(seen, guarded=None))


def test_the_daemon_runs_a_guarded_detector_and_alerts_name_the_sheet(
    settings: FinderSettings, reference: GuardReference, tmp_path: Path
) -> None:
    write_guard(reference, tmp_path / "lamps.objects.npz")
    text = f"""
    [detect]
    detectors = ["objects"]
    [objects]
    model = "{settings.path}"
    labels = "{settings.labels}"
    decoder = "yolox"
    confidence = 0.6
    reference = "{tmp_path / "lamps.objects.npz"}"
    [vote]
    k = 2
    n = 3
    [publish]
    enabled = false
    """
    _, stack = make_detection(parse_config(text, "road.toml"), Deadlines())
    frames = [
        Frame("road", index, read_only(street(index, "noise")), index * 10**8, index * 10**8)
        for index in range(500, 504)
    ]
    batches = watch(
        FakeSupply([frames]), stack.classifier, stack.detectors, stack.voter, stack.tracker, stack.expander,
        max_batch=8, wait_s=0, stopping=lambda: False,
    )  # fmt: skip
    alerts = [step.alert for batch in batches for step in batch if step.alert is not None]
    stack.release()
    assert alerts[0].detectors == ("objects",)
    assert alerts[0].region is not None


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ('[detect]\ndetectors = ["objects"]', "name its file"),
        ('[detect]\ndetectors = ["objects", "tight"]\n[objects]\nmodel = "x.onnx"', "name it alone"),
    ],
)
def test_a_guard_that_cannot_be_is_refused(text: str, sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        parse_config(text, "road.toml")


def test_attackers_who_know_the_guard_compute_its_score_with_a_slope(
    settings: FinderSettings, reference: GuardReference
) -> None:
    guard = ObjectGuard(settings, reference)
    known = KnownGuard(guard)
    for picture in (street(500, "noise"), street(501, "noise"), street(600)):
        red_green_blue = np.ascontiguousarray(np.moveaxis(picture[..., ::-1], -1, 0))[None]
        planes = (torch.from_numpy(red_green_blue).float() / 255).requires_grad_()
        score = known.score(planes, known.outputs(planes), 0)
        guarded = guard(picture)
        change = 0.0 if guarded.change is None else float(reference.change.surprise(np.array([guarded.change.size]))[0])
        # The fill's change is another class's or object's in part, and the crops are shrunk by another library.
        assert float(score.detach()) == pytest.approx(guarded.score, abs=0.5 + change + 0.15 * guarded.score)
        (slope,) = torch.autograd.grad(score.sum(), [planes])
        assert slope.abs().max() > 0
