"""The gate: its statistic is an oracle's, what it has checked is checked as without it, and the rest is told."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from taintwatch_models.bundled import bundled_radar
from taintwatch_models.calibration_file import Calibration, GateCalibration, read_calibration, write_calibration
from taintwatch_models.criteria import Criteria
from taintwatch_models.detectors import make_detectors
from taintwatch_models.errors import CalibrationError, ConfigError
from taintwatch_models.gated import GatedRadar, GateScorer, SpotCheck, gate_scores, random_check
from taintwatch_models.graph.gate import LABELS, windows
from taintwatch_models.graph.prepare import prepare
from taintwatch_models.graph.verification import check_inputs
from taintwatch_models.loading import load_model
from taintwatch_models.model_files import ModelSettings
from taintwatch_models.onnx_radar import OnnxRadar
from taintwatch_models.onnx_session import SessionSettings
from taintwatch_models.radar_classifier import RadarClassifier
from taintwatch_models.radar_file import RadarFile
from taintwatch_models.records import Prediction
from tests.fakes import a_frame
from tests.models.heads import DESCRIPTION, HEADS, export, make
from tests.tiny_model import write_model

RADAR = bundled_radar()
INPUTS = check_inputs(RADAR.info.preprocessing, 16)


def never(count: int) -> NDArray[np.float64]:
    return np.ones(count)


def gated(threshold: float, *, share: float = 0.0, variants: tuple[str, ...] = ("tight",)) -> GatedRadar:
    return behind_gate(RADAR, threshold, random_check(share, never), variants)


def behind_gate(
    radar: RadarFile, threshold: float, spot_check: SpotCheck, variants: tuple[str, ...] = ("tight",)
) -> GatedRadar:
    session = SessionSettings(threads=1, device="cpu")
    check = OnnxRadar(radar, variants, session=session, from_maps=True)
    return GatedRadar(GateScorer(radar, session), check, GateCalibration(threshold, 0.1), spot_check)


def middle(radar: RadarFile, inputs: NDArray[np.float32]) -> float:
    scores = gate_scores(GateScorer(radar, SessionSettings(threads=1, device="cpu"))(inputs), GateCalibration(0.0, 0.1))
    return float(np.median(scores))


def test_the_statistic_is_the_best_margin_of_the_head_without_a_window_of_the_maps() -> None:
    found = GateScorer(RADAR, SessionSettings(threads=1, device="cpu"))(INPUTS)
    head = OnnxRadar(RADAR, (), from_maps=True, session=SessionSettings(threads=1, device="cpu"))
    for row in range(4):
        maps, label = found["features"][row], int(found["label"][row])
        followed = np.argsort(-found["logits"][row])[:LABELS]
        cells = windows(*maps.shape[1:]).T.reshape(-1, 1, *maps.shape[1:])
        without = head(np.repeat(INPUTS[:1], len(cells), 0), **{RADAR.info.maps: maps * (1 - cells)})["logits"]
        others = without[:, [index for index in followed if index != label]].max(axis=1)
        assert found["gate_margin"][row] == pytest.approx((others - without[:, label]).max(), abs=1e-3)


@pytest.mark.parametrize("size", [(7, 7), (8, 8), (1, 1), (14, 10), (28, 28)])
def test_windows_cover_every_cell_and_never_the_whole_of_a_map(size: tuple[int, int]) -> None:
    masks = windows(*size)
    assert masks.shape[0] == size[0] * size[1]
    assert set(np.unique(masks)) <= {0.0, 1.0}
    assert masks.max(axis=1).all()
    assert masks.shape[1] < 700
    if min(size) > 1:
        assert masks.mean(axis=0).max() < 0.7


def test_what_is_checked_is_checked_as_without_a_gate_and_the_rest_is_told() -> None:
    threshold = middle(RADAR, INPUTS)
    outputs = gated(threshold, variants=("tight", "paper"))(INPUTS)
    full = OnnxRadar(RADAR, ("tight", "paper"), session=SessionSettings(threads=1, device="cpu"))(INPUTS)
    checked = outputs["checked"]
    assert checked.sum() == 8
    np.testing.assert_array_equal(outputs["logits"], full["logits"])
    for name in ("tight_mask", "tight_rank", "paper_mask", "paper_rank", "tight_label"):
        np.testing.assert_array_equal(outputs[name][checked], full[name][checked])
    for name in ("tight_margin", "tight_swing", "saliency_concentration"):
        np.testing.assert_allclose(outputs[name][checked], full[name][checked], atol=1e-4)
    assert not outputs["tight_mask"][~checked].any()


def test_a_random_share_of_what_would_pass_is_checked_too() -> None:
    draws = np.array([0.0, 0.9] * 8)
    radar = behind_gate(RADAR, 1e9, random_check(0.5, lambda n: draws[:n]))
    assert radar(INPUTS)["checked"].tolist() == [True, False] * 8
    assert not gated(1e9, share=0.5)(INPUTS)["checked"].any()


def test_two_gates_do_not_draw_the_same_numbers() -> None:
    batch = np.concatenate([INPUTS] * 4)
    gates = [behind_gate(RADAR, 1e9, random_check(0.5)) for _ in range(2)]
    first, second = (gate(batch)["checked"] for gate in gates)
    assert first.tolist() != second.tolist()


@pytest.mark.parametrize("name", sorted(HEADS))
def test_every_head_that_can_be_prepared_can_have_a_gate(tmp_path: Path, name: str) -> None:
    radar = prepare(export(make(name), tmp_path / "m.onnx"), DESCRIPTION).radar
    inputs = check_inputs(radar.info.preprocessing, 4)
    outputs = behind_gate(radar, middle(radar, inputs), random_check(0.0))(inputs)
    full = OnnxRadar(radar, ("tight",), session=SessionSettings(device="cpu"))(inputs)
    checked = outputs["checked"]
    assert 0 < checked.sum() <= 2
    np.testing.assert_allclose(outputs["tight_margin"][checked], full["tight_margin"][checked], atol=1e-3)


def test_a_frame_that_was_let_pass_has_a_verdict_that_says_so() -> None:
    classifier = RadarClassifier(gated(1e9))
    prediction = classifier([a_frame()])[0]
    assert isinstance(prediction, Prediction)
    assert prediction.radar is not None
    assert not prediction.radar.checked
    calibration = Calibration(gate=GateCalibration(1e9, 0.1))
    for detector in make_detectors(Criteria(("tight", "paper"), calibration), RADAR.info):
        verdict = detector(prediction)
        assert not verdict.checked
        assert not verdict.suspicious
        assert (verdict.score, verdict.threshold) == (prediction.radar.gate, 1e9)
        assert verdict.statistics == {"gate": prediction.radar.gate}
    with pytest.raises(ConfigError, match="knows of no gate"):
        make_detectors(Criteria(("tight",)), RADAR.info)[0](prediction)


def test_a_gate_that_was_never_calibrated_is_refused(tmp_path: Path) -> None:
    model = write_model(tmp_path / "m.onnx")
    with pytest.raises(CalibrationError, match="the gate has no threshold for this model"):
        load_model(ModelSettings(path=str(model), gate_random_share=0.02))


def test_a_gate_before_the_joint_detector_is_refused() -> None:
    with pytest.raises(ConfigError, match="'joint' needs every frame checked"):
        load_model(ModelSettings(detectors=("joint",), gate_random_share=0.02))


def test_the_gate_s_calibration_comes_back_from_its_file(tmp_path: Path) -> None:
    before = Calibration(model_hash="0" * 64, gate=GateCalibration(1.5, 0.12, swing_weight=0.25, benign="b"))
    write_calibration(before, tmp_path / "c.json")
    assert read_calibration(tmp_path / "c.json") == before


def test_a_gate_calibrated_on_a_statistic_that_the_graph_lacks_says_so() -> None:
    outputs = {"logits": np.zeros((1, 3)), "label": np.zeros(1, np.int64), "gate_margin": np.zeros(1)}
    gate = replace(GateCalibration(0.0, 0.1), anomaly_weight=2.0)
    with pytest.raises(CalibrationError, match="maps' anomaly score"):
        gate_scores(outputs, gate)
    outputs["anomaly"] = np.ones(1)
    assert gate_scores(outputs, gate).tolist() == [2.0]
