"""CMAG at run time: the file, the graph on ONNX Runtime, the detectors, and what loads them."""

from __future__ import annotations

import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest

from taintwatch_calibration.cmag.frames import measure
from taintwatch_calibration.cmag.thresholds import calibrate_cmag, calibrate_joint, cmag_scores
from taintwatch_calibration.thresholds import calibrate, tight_scores
from taintwatch_models.calibration_file import Calibration, CombinationCalibration, read_calibration, write_calibration
from taintwatch_models.cmag.file import attach_info, read_cmag, write_cmag
from taintwatch_models.cmag.joint import joint_score
from taintwatch_models.cmag.limits import StatisticLimit, exceedance
from taintwatch_models.cmag.runner import PICTURES, CmagRunner, reduce_pictures
from taintwatch_models.cmag.similarity import structural_similarity
from taintwatch_models.criteria import read_criteria
from taintwatch_models.detectors import make_detectors
from taintwatch_models.errors import CalibrationError, ConfigError, ModelError, TaintwatchError, UsageError
from taintwatch_models.loading import LoadedModel, load_model, load_radar_file
from taintwatch_models.model_files import ModelSettings
from taintwatch_models.onnx_radar import OnnxRadar
from taintwatch_models.radars import open_radar
from taintwatch_models.records import Frame, Prediction, Verdict
from tests.cmag_scene import CmagScene, benign_pictures, frames_of, make_scene, noisy


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> CmagScene:
    """A tiny model, its reconstructors, and its calibration with `cmag` and `joint` beside it."""
    folder = tmp_path_factory.mktemp("cmag")
    made = make_scene(folder)
    frames = frames_of(benign_pictures(400, seed=1))
    before, _ = calibrate(made.radar, frames, target_fpr=0.05, variants=("tight",))
    values = measure(made.radar, made.cmag, frames)
    cmag = calibrate_cmag(values, frames, target_fpr=0.05)
    tight = tight_scores(made.radar, frames, before.tight, progress=lambda what, done, total: None)
    joint = calibrate_joint(tight, cmag_scores(values, cmag.limits), frames, target_fpr=0.05)
    write_calibration(replace(before, cmag=cmag, combination=joint), folder / "tiny.calibration.json")
    return made


def judged(model: LoadedModel, pictures: np.ndarray) -> list[list[Verdict]]:
    """Return each detector's verdicts."""
    frames = [Frame("door", index, picture[:, :, ::-1], 0, 0) for index, picture in enumerate(pictures)]
    predictions = [result for result in model.classifier(frames) if isinstance(result, Prediction)]
    assert len(predictions) == len(frames)
    return [[detector(prediction) for prediction in predictions] for detector in model.detectors]


def test_the_daemon_loads_cmag_and_it_tells_perturbed_pictures_from_benign_ones(scene: CmagScene) -> None:
    model = load_model(ModelSettings(path=str(scene.model), detectors=("cmag",)))
    benign = benign_pictures(100, seed=2)
    (quiet,), (loud,) = judged(model, benign), judged(model, noisy(benign))
    assert np.mean([verdict.suspicious for verdict in quiet]) < 0.15
    assert np.mean([verdict.suspicious for verdict in loud]) > 0.95
    assert quiet[3].detector == "cmag"
    assert quiet[3].frame_index == 3
    assert set(quiet[3].statistics) == {"ssim", "l2"}
    assert quiet[3].suspicious == (quiet[3].score > quiet[3].threshold)


def test_joint_judges_by_both_and_keeps_the_scores_of_each(scene: CmagScene) -> None:
    model = load_model(ModelSettings(path=str(scene.model), detectors=("tight", "cmag", "joint")))
    tight, cmag, joint = judged(model, benign_pictures(20, seed=3))
    settings = model.calibration.combination
    assert settings is not None
    for one, other, whole in zip(tight, cmag, joint, strict=True):
        assert whole.score == pytest.approx(joint_score(settings, one.score, other.score))
        assert whole.statistics["tight"] == pytest.approx(one.score)
        assert whole.statistics["cmag_ssim"] == pytest.approx(other.statistics["ssim"])
    loud = judged(model, noisy(benign_pictures(20, seed=3)))[2]
    assert all(verdict.suspicious for verdict in loud)


def test_once_the_criteria_are_read_no_file_is_needed_any_more(scene: CmagScene, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(scene.model.parent, tmp_path / "copy"))
    settings = ModelSettings(path=str(folder / "tiny.onnx"), detectors=("tight", "joint"))
    file = load_radar_file(settings)
    criteria = read_criteria(file, settings)
    shutil.rmtree(folder)
    outputs = open_radar(file, criteria, settings)(np.zeros((1, 3, 32, 32), np.float32))
    assert {"tight_margin", "features"} <= set(outputs)
    assert [detector.name for detector in make_detectors(criteria, file.info)] == ["tight", "joint"]


@pytest.mark.parametrize("detector", ["cmag", "joint"])
def test_the_reconstruction_can_be_shown_beside_the_frame(scene: CmagScene, detector: str) -> None:
    model = load_model(ModelSettings(path=str(scene.model), detectors=(detector,)))
    picture = benign_pictures(1, seed=4)[0]
    (prediction,) = model.classifier([Frame("door", 0, picture[:, :, ::-1], 0, 0)])
    shown = model.detectors[0].reconstruct(prediction)  # type: ignore[attr-defined]
    assert shown.shape == (16, 16, 3)
    assert shown.dtype == np.uint8
    assert np.abs(shown.astype(float).mean() - picture.astype(float).mean()) < 40


def test_the_graphs_statistics_are_those_of_its_own_reconstruction(scene: CmagScene) -> None:
    pixels = benign_pictures(5, seed=5)
    outputs = OnnxRadar(scene.radar, ("features",))(scene.radar.info.preprocessing.normalise(pixels))
    pictures = reduce_pictures(pixels, 16)
    found = CmagRunner(scene.cmag)(outputs["features"], outputs["logits"], pictures)
    made = found["reconstruction"]
    assert found["ssim"] == pytest.approx(structural_similarity(made, pictures), abs=1e-4)
    assert found["l2"] == pytest.approx(np.sqrt(((made - pictures) ** 2).sum(axis=(1, 2, 3))), rel=1e-4)
    ordered = np.sort(outputs["logits"], axis=1)
    assert found["margin"] == pytest.approx(ordered[:, -1] - ordered[:, -2], abs=1e-5)
    assert all(np.isfinite(found[name]).all() for name in (*PICTURES, *scene.cmag.info.statistics))


def test_one_picture_alone_gives_what_it_gives_in_a_batch(scene: CmagScene) -> None:
    pixels = benign_pictures(4, seed=6)
    outputs = OnnxRadar(scene.radar, ("features",))(scene.radar.info.preprocessing.normalise(pixels))
    features, logits, pictures = outputs["features"], outputs["logits"], reduce_pictures(pixels, 16)
    run = CmagRunner(scene.cmag, ("ssim", "l2", "texture"))
    together = run(features, logits, pictures)
    alone = run(features[2:3], logits[2:3], pictures[2:3])
    for name, values in together.items():
        assert alone[name][0] == pytest.approx(values[2], rel=1e-4, abs=1e-5)


def test_black_and_white_frames_have_finite_statistics(scene: CmagScene) -> None:
    model = load_model(ModelSettings(path=str(scene.model), detectors=("cmag",)))
    flat = np.stack([np.zeros((32, 32, 3), np.uint8), np.full((32, 32, 3), 255, np.uint8)])
    (verdicts,) = judged(model, flat)
    assert all(np.isfinite(verdict.score) for verdict in verdicts)


def test_a_file_reads_back_as_it_was_written(scene: CmagScene, tmp_path: Path) -> None:
    write_cmag(scene.cmag, tmp_path / "x.cmag.onnx")
    assert read_cmag(tmp_path / "x.cmag.onnx").info == scene.cmag.info
    assert [path.name for path in tmp_path.iterdir()] == ["x.cmag.onnx"]


def another_models(scene: CmagScene, folder: Path) -> ModelSettings:
    foreign = attach_info(scene.cmag.proto, replace(scene.cmag.info, model_hash="f" * 64, model_name="other"))
    write_cmag(foreign, folder / "foreign.onnx")
    attach_info(scene.cmag.proto, scene.cmag.info)
    return ModelSettings(path=str(scene.model), detectors=("cmag",), cmag=str(folder / "foreign.onnx"))


def other_sizes(scene: CmagScene, folder: Path) -> ModelSettings:
    wider = attach_info(scene.cmag.proto, replace(scene.cmag.info, channels=7))
    write_cmag(wider, folder / "wider.onnx")
    attach_info(scene.cmag.proto, scene.cmag.info)
    return ModelSettings(path=str(scene.model), detectors=("cmag",), cmag=str(folder / "wider.onnx"))


def missing(scene: CmagScene, folder: Path) -> ModelSettings:
    return ModelSettings(path=str(scene.model), detectors=("cmag",), cmag=str(folder / "none.onnx"))


def no_reconstructors(scene: CmagScene, folder: Path) -> ModelSettings:
    return ModelSettings(path=str(scene.model), detectors=("cmag",), cmag=str(scene.model))


def not_onnx(scene: CmagScene, folder: Path) -> ModelSettings:
    (folder / "text.onnx").write_text("not a graph")
    return ModelSettings(path=str(scene.model), detectors=("cmag",), cmag=str(folder / "text.onnx"))


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        (another_models, "belong to another model"),
        (other_sizes, "expect 7 maps of 8 x 8 and 3 classes, but the model gives 2"),
        (missing, "no such reconstructors"),
        (no_reconstructors, "not CMAG reconstructors"),
        (not_onnx, "not a valid ONNX file"),
    ],
)
def test_reconstructors_that_do_not_fit_are_refused_in_one_sentence(
    settings: object, sentence: str, scene: CmagScene, tmp_path: Path
) -> None:
    assert callable(settings)
    with pytest.raises(ModelError, match=sentence) as caught:
        load_model(settings(scene, tmp_path))
    assert "\n" not in str(caught.value)


def test_damaged_metadata_is_told(scene: CmagScene, tmp_path: Path) -> None:
    proto = onnx.ModelProto()
    proto.CopyFrom(scene.cmag.proto)
    next(p for p in proto.metadata_props if p.key == "taintwatch.cmag").value = '{"version": 1, "size": 3}'
    onnx.save(proto, str(tmp_path / "bad.onnx"))
    with pytest.raises(ModelError, match="metadata is damaged"):
        read_cmag(tmp_path / "bad.onnx")


def test_sizes_that_do_not_match_the_graph_are_refused(scene: CmagScene) -> None:
    run = CmagRunner(scene.cmag, ("ssim",))
    features, logits = np.zeros((1, 2, 8, 8), np.float32), np.zeros((1, 3), np.float32)
    with pytest.raises(UsageError, match="expect features, logits and pictures"):
        run(features, logits, np.zeros((1, 3, 20, 20), np.float32))
    with pytest.raises(UsageError, match="give no 'colour'"):
        CmagRunner(scene.cmag, ("colour",))


@pytest.mark.parametrize(
    ("detector", "kept", "error", "sentence"),
    [
        ("cmag", {"cmag": None}, CalibrationError, "'cmag' has no thresholds"),
        ("joint", {"combination": None}, CalibrationError, "'joint' was never calibrated"),
    ],
)
def test_without_thresholds_they_refuse_to_judge(
    detector: str, kept: dict[str, None], error: type[TaintwatchError], sentence: str, scene: CmagScene, tmp_path: Path
) -> None:
    calibration = read_calibration(scene.model.with_name("tiny.calibration.json"))
    write_calibration(replace(calibration, **kept), tmp_path / "less.json")  # type: ignore[arg-type]
    settings = ModelSettings(path=str(scene.model), detectors=(detector,), calibration=str(tmp_path / "less.json"))
    with pytest.raises(error, match=sentence):
        load_model(settings)


def test_a_calibration_with_cmag_reads_back_as_it_was_written(scene: CmagScene, tmp_path: Path) -> None:
    calibration = read_calibration(scene.model.with_name("tiny.calibration.json"))
    assert calibration.cmag is not None
    own = replace(calibration.cmag.limits[0], by_class={"0": 0.25})
    changed = replace(calibration, cmag=replace(calibration.cmag, limits=(own,)))
    write_calibration(changed, tmp_path / "c.json")
    assert read_calibration(tmp_path / "c.json") == changed


@pytest.mark.parametrize("limits", ["[]", '[{"statistic": "ssim", "threshold": "high"}]', "3"])
def test_wrong_limits_in_a_calibration_are_refused(limits: str, tmp_path: Path) -> None:
    text = f'{{"format": "taintwatch-calibration/1", "cmag": {{"target_fpr": 0.05, "limits": {limits}}}}}'
    (tmp_path / "c.json").write_text(text)
    with pytest.raises(CalibrationError, match="limit"):
        read_calibration(tmp_path / "c.json")


def test_a_detector_whose_classifier_gives_no_maps_says_so(scene: CmagScene) -> None:
    cmag = load_model(ModelSettings(path=str(scene.model), detectors=("cmag",))).detectors[0]
    plain = load_model(ModelSettings(path=str(scene.model), detectors=("tight",)))
    (prediction,) = plain.classifier([Frame("door", 0, np.full((32, 32, 3), 90, np.uint8), 0, 0)])
    with pytest.raises(ConfigError, match="without its maps"):
        cmag(prediction)  # type: ignore[arg-type]


def test_low_similarity_and_high_distance_exceed_their_limits() -> None:
    floor = StatisticLimit("ssim", 0.6, 0.1, {"4": 0.3})
    assert exceedance(floor, 0.5, label=1) == pytest.approx(1.0)
    assert exceedance(floor, 0.7, label=1) == pytest.approx(-1.0)
    assert exceedance(floor, 0.5, label=4) < 0  # label 4 has a threshold of its own
    assert exceedance(StatisticLimit("l2", 2.0, 0.5), 3.0, label=0) == pytest.approx(2.0)


@pytest.mark.parametrize(("rule", "score"), [("either", 3.0), ("both", 1.0), ("score", 4.0)])
def test_the_rules_join_normalised_scores(rule: str, score: float) -> None:
    settings = CombinationCalibration(rule, 0.0, 0.05, 10.0, 2.0, 0.0, 0.5)
    assert joint_score(settings, tight=12.0, cmag=1.5) == pytest.approx(score)


def test_calibrations_without_cmag_are_still_read(tmp_path: Path) -> None:
    write_calibration(Calibration(model_hash="a" * 64), tmp_path / "c.json")
    assert read_calibration(tmp_path / "c.json").cmag is None


def test_judging_by_reconstruction_needs_no_torch(scene: CmagScene) -> None:
    code = (
        "import sys; from taintwatch_models.loading import ModelSettings, load_model\n"
        f"load_model(ModelSettings(path={str(scene.model)!r}, detectors=('tight', 'cmag', 'joint')))\n"
        "sys.exit('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=100)
    assert done.returncode == 0, done.stderr
