"""A model that was learnt is judged by the detector `combined`, with a reason."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from taintwatch_models.classifier import Rejected
from taintwatch_models.detection.detector import explain
from taintwatch_models.detection.general import general_pictures
from taintwatch_models.detection.learning import learn
from taintwatch_models.detection.reference import write_reference
from taintwatch_models.errors import CalibrationError, ConfigError
from taintwatch_models.loading import load_model, load_radar_file
from taintwatch_models.model_files import ModelSettings, default_detectors
from taintwatch_models.onnx_session import SessionSettings
from taintwatch_models.records import Frame, Verdict, read_only
from tests.tiny_model import write_model


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> ModelSettings:
    """A tiny model that was learnt, at the target rate of 2%."""
    path = write_model(tmp_path_factory.mktemp("learnt") / "tiny.onnx")
    radar = load_radar_file(ModelSettings(path=str(path)))
    pictures = general_pictures(radar.info.preprocessing)
    write_reference(
        learn(radar, pictures[::2], pictures[1::2], threads=1, description="made for the test"),
        path.with_name("tiny.reference.npz"),
    )
    session = SessionSettings(device="cpu", threads=1)
    return ModelSettings(path=str(path), session=session, detectors=("combined",), target_fpr=0.02)


def shown(picture: np.ndarray) -> Frame:
    return Frame("door", 0, read_only(picture), 0, 0)


def verdict_on(settings: ModelSettings, picture: np.ndarray) -> Verdict:
    model = load_model(settings)
    prediction = model.classifier([shown(picture)])[0]
    assert not isinstance(prediction, Rejected)
    return next(d for d in model.detectors if d.name == "combined")(prediction)


def attacked() -> np.ndarray:
    picture = np.full((64, 64, 3), 40, np.uint8)
    picture[20:48, 8:36] = (255, 0, 255)
    return picture


def test_a_learnt_model_is_judged_by_combined_and_another_by_tight(settings: ModelSettings, tmp_path: Path) -> None:
    assert default_detectors(settings) == ("combined",)
    other = write_model(tmp_path / "other.onnx")
    assert default_detectors(ModelSettings(path=str(other))) == ("tight",)


def test_an_attack_is_suspicious_with_its_place_in_the_frame_and_the_label_without_it(settings: ModelSettings) -> None:
    verdict = verdict_on(settings, attacked())
    assert verdict.suspicious
    assert (verdict.label_name, verdict.recovered_name) == ("toaster", "scene")
    assert verdict.region is not None
    x, y, width, height = verdict.region.box
    assert abs(x + width / 2 - 22) <= 8
    assert abs(y + height / 2 - 34) <= 8


def test_a_verdict_explains_itself(settings: ModelSettings) -> None:
    words = explain(verdict_on(settings, attacked()))
    assert "of" in words
    assert "filled, the window gives 'scene' instead of 'toaster'" in words


def test_a_plain_picture_is_not_suspicious_and_was_looked_at_once(settings: ModelSettings) -> None:
    verdict = verdict_on(settings, np.full((64, 64, 3), 120, np.uint8))
    assert not verdict.suspicious
    assert verdict.region is None
    assert np.isfinite(verdict.score)


def test_the_calibration_of_a_learnt_model_says_what_it_was_learnt_from(settings: ModelSettings) -> None:
    calibration = load_model(settings).calibration
    assert calibration.calibrated
    assert (calibration.benign, calibration.target_fpr) == ("made for the test", 0.02)


def test_other_detectors_judge_beside_it(settings: ModelSettings) -> None:
    model = load_model(replace(settings, detectors=("combined", "tight")))
    prediction = model.classifier([shown(attacked())])[0]
    assert not isinstance(prediction, Rejected)
    assert [detector(prediction).detector for detector in model.detectors] == ["combined", "tight"]


def test_a_missing_reference_says_what_to_run(tmp_path: Path) -> None:
    path = write_model(tmp_path / "tiny.onnx")
    with pytest.raises(CalibrationError, match="taintwatch calibrate learn"):
        load_model(ModelSettings(path=str(path), detectors=("combined",)))


def test_a_target_rate_that_was_not_chosen_is_refused(settings: ModelSettings) -> None:
    with pytest.raises(ConfigError, match=r"it has 0\.02, 0\.001"):
        load_model(replace(settings, target_fpr=0.1))


def test_the_gate_of_the_other_variants_is_refused_beside_it(settings: ModelSettings) -> None:
    with pytest.raises(ConfigError, match="switch \\[gate\\] off"):
        load_model(replace(settings, gate_random_share=0.0))
