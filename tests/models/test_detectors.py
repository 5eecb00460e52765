"""Verdicts follow the statistics and the calibration, and a calibration belongs to one model."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from taintwatch_models.bundled import bundled_radar
from taintwatch_models.calibration_file import (
    Calibration,
    HeldOut,
    PaperCalibration,
    TightCalibration,
    read_calibration,
    write_calibration,
)
from taintwatch_models.classifier import Rejected
from taintwatch_models.criteria import Criteria
from taintwatch_models.detectors import PaperDetector, TightDetector, make_detectors, tight_score
from taintwatch_models.errors import CalibrationError, ConfigError, DeviceError, ModelError
from taintwatch_models.loading import load_model
from taintwatch_models.model_files import ModelSettings
from taintwatch_models.onnx_session import SessionSettings
from taintwatch_models.preprocessing import Preprocessing
from taintwatch_models.records import Frame, Prediction, RadarStatistics
from tests.tiny_model import write_model

LABELS = ("stop", "go", "turn")
PREPROCESSING = Preprocessing((8, 8))


def prediction(*, margin: float = 2.0, swing: float = 6.0, rank: int = 1, label: int = 0, new: int = 1) -> Prediction:
    mask = np.zeros((8, 8), bool)
    mask[2:5, 3:6] = True
    radar = RadarStatistics(3.0, mask, new, rank, margin, swing, mask, new, rank)
    frame = Frame("door", 7, np.zeros((80, 80, 3), np.uint8), 1, 2)
    return Prediction(frame, np.zeros(3, np.float32), label, LABELS[label], 0.9, 1.0, radar)


def test_the_score_is_the_margin_less_a_share_of_the_margin_before() -> None:
    margin, before = 3.0, -5.0
    for weight in (0.0, 0.5, 1.0):
        assert tight_score(margin, margin - before, weight) == pytest.approx(margin - weight * before)


def test_concentrated_saliency_raises_the_score_where_it_is_weighed() -> None:
    weighed = TightCalibration(swing_weight=0.0, concentration_weight=2.0, threshold=0.0)
    plain = TightCalibration(swing_weight=0.0, threshold=0.0)
    scores = [TightDetector(c, LABELS, PREPROCESSING)(prediction()).score for c in (plain, weighed)]
    assert scores == [2.0, pytest.approx(2.0 + 2.0 * np.log(3.0))]  # the statistics' concentration is 3
    assert (
        tight_score(1.0, 1.0, 0.0, concentration=0.0, concentration_weight=5.0) == 1.0
    )  # a map that is zero everywhere says nothing


def test_tight_is_suspicious_above_its_threshold_and_not_on_it() -> None:
    on = TightDetector(TightCalibration(swing_weight=0.5, threshold=4.0), LABELS, PREPROCESSING)
    below = TightDetector(TightCalibration(swing_weight=0.5, threshold=3.99), LABELS, PREPROCESSING)
    assert not on(prediction()).suspicious
    verdict = below(prediction())
    assert verdict.suspicious
    assert verdict.score == 4.0
    assert verdict.camera == "door"
    assert verdict.frame_index == 7


def test_a_suspicious_verdict_says_where_and_what_may_have_been_there() -> None:
    verdict = TightDetector(TightCalibration(threshold=0), LABELS, PREPROCESSING)(prediction())
    assert verdict.region is not None
    assert verdict.region.box == (35, 25, 21, 21)  # cells 3..5 and 2..4 of 8, by their centres, in 80 pixels
    assert (verdict.recovered_label, verdict.recovered_name) == (1, "go")
    json.dumps(dataclasses.asdict(verdict), allow_nan=False)


def test_a_label_that_stays_is_not_called_recovered() -> None:
    verdict = TightDetector(TightCalibration(threshold=0), LABELS, PREPROCESSING)(prediction(new=0))
    assert verdict.recovered_label is None
    assert verdict.recovered_name is None


def test_paper_is_suspicious_when_the_rank_change_exceeds_its_limit() -> None:
    detector = PaperDetector(PaperCalibration(rank_change=2), LABELS, PREPROCESSING)
    assert [detector(prediction(rank=rank)).suspicious for rank in (0, 2, 3)] == [False, False, True]


def test_an_unknown_detector_and_missing_statistics_are_said() -> None:
    with pytest.raises(ConfigError, match="no detector 'tite'; there are combined, tight, paper"):
        make_detectors(Criteria(("tite",)), bundled_radar().info)
    bare = dataclasses.replace(prediction(), radar=None)
    with pytest.raises(ConfigError, match="does not give"):
        TightDetector(TightCalibration(), LABELS, PREPROCESSING)(bare)


def test_a_calibration_survives_being_written(tmp_path: Path) -> None:
    calibration = Calibration("ab", "m", "2026-01-01", 0.02, "benign", 9,
                              TightCalibration(0.7, "blur", 0.3, 1.5, HeldOut(4, 1, 0.25, 0.05, 0.7)))  # fmt: skip
    path = tmp_path / "c.json"
    write_calibration(calibration, path)
    assert read_calibration(path, model_hash="ab") == calibration
    assert list(tmp_path.iterdir()) == [path]


def test_another_models_calibration_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "c.json"
    write_calibration(Calibration("ab", "theirs"), path)
    with pytest.raises(CalibrationError, match="another model \\('theirs', hash ab; this one's is cd\\)"):
        read_calibration(path, model_hash="cd")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"format": "other/9"}, "not a calibration of this version"),
        ({"tight": {"saliency_threshold": "high"}}, "tight: saliency_threshold has value high"),
        ({"tight": {"kut": 1}}, "unknown key 'tight: kut'"),
        ({"tight": 3}, "tight has value 3: Input should be an object"),
        ({"paper": {"labels": True}}, "labels has value True"),
    ],
)
def test_a_damaged_calibration_is_named_by_its_key(change: dict[str, object], said: str, tmp_path: Path) -> None:
    path = tmp_path / "c.json"
    write_calibration(Calibration("ab"), path)
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(CalibrationError) as caught:
        read_calibration(path)
    assert said in str(caught.value)


def test_a_run_with_another_models_calibration_does_not_start(tmp_path: Path) -> None:
    model = write_model(tmp_path / "m.onnx")
    write_calibration(Calibration("ab" * 32, "theirs"), tmp_path / "m.calibration.json")
    with pytest.raises(CalibrationError, match="belongs to another model"):
        load_model(ModelSettings(path=str(model)))


def test_a_plain_model_runs_uncalibrated_and_says_so(tmp_path: Path) -> None:
    loaded = load_model(ModelSettings(path=str(write_model(tmp_path / "m.onnx")), detectors=("tight", "paper")))
    assert any("not calibrated" in warning for warning in loaded.warnings)
    assert [detector.name for detector in loaded.detectors] == ["tight", "paper"]
    assert loaded.classifier.card.provider == "CPUExecutionProvider"


def test_a_bad_frame_is_rejected_and_the_others_of_its_batch_go_on(tmp_path: Path) -> None:
    loaded = load_model(ModelSettings(path=str(write_model(tmp_path / "m.onnx"))))
    grey = Frame("a", 0, np.full((40, 40, 3), 99, np.uint8), 0, 0)
    empty = Frame("b", 0, np.zeros((0, 40, 3), np.uint8), 0, 0)
    results = loaded.classifier([grey, empty, grey])
    assert isinstance(results[0], Prediction)
    assert isinstance(results[1], Rejected)
    assert "no pixels" in results[1].reason
    assert isinstance(results[2], Prediction)
    assert results[0].confidence == pytest.approx(float(np.exp(results[0].logits[0]) / np.exp(results[0].logits).sum()))


def test_a_device_that_is_not_there_is_an_error_only_when_required(tmp_path: Path) -> None:
    path = str(write_model(tmp_path / "m.onnx"))
    with pytest.raises(DeviceError, match="is required"):
        load_model(
            ModelSettings(
                path=path, session=SessionSettings(providers=("OpenVINOExecutionProvider",), require_device=True)
            )
        )
    loaded = load_model(ModelSettings(path=path, session=SessionSettings(providers=("OpenVINOExecutionProvider",))))
    assert loaded.classifier.card.provider == "CPUExecutionProvider"
    with pytest.raises(DeviceError, match="auto, cpu or cuda"):
        load_model(ModelSettings(path=path, session=SessionSettings(device="gpu")))


def test_a_fill_that_is_no_fill_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="'pink' is neither one of mean, average, noise"):
        load_model(ModelSettings(path=str(write_model(tmp_path / "m.onnx")), fill="pink"))


def test_a_prepared_file_beside_the_model_is_used_and_a_stale_one_is_not(tmp_path: Path) -> None:
    from taintwatch_models.graph.prepare import prepare
    from taintwatch_models.loading import load_radar_file
    from taintwatch_models.model_description import describe
    from taintwatch_models.radar_file import write_radar

    model = write_model(tmp_path / "m.onnx")
    radar = prepare(model, describe(model)).radar
    write_radar(radar, tmp_path / "m.radar.onnx")
    assert load_radar_file(ModelSettings(path=str(model))).info == radar.info
    assert load_radar_file(ModelSettings(path=str(tmp_path / "m.radar.onnx"))).info == radar.info
    write_model(model, last_bias=1.0)
    assert load_radar_file(ModelSettings(path=str(model))).info.source_sha256 != radar.info.source_sha256


def test_a_plain_file_is_not_taken_for_a_prepared_one(tmp_path: Path) -> None:
    from taintwatch_models.radar_file import read_radar

    with pytest.raises(ModelError, match="not a prepared model; run `taintwatch model prepare"):
        read_radar(write_model(tmp_path / "m.onnx"))
