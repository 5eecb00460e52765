"""How anomalous a picture's maps are for its label: fitted on benign frames, computed by the radar graph."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from click.testing import CliRunner
from scipy.spatial.distance import mahalanobis

from taintwatch_calibration.anomaly import fit_anomaly
from taintwatch_calibration.benign import BenignFrames
from taintwatch_calibration.cli_calibrate import calibrate_group
from taintwatch_calibration.thresholds import calibrate, tight_scores
from taintwatch_models.bundled import bundled_path
from taintwatch_models.calibration_file import TightCalibration, read_calibration
from taintwatch_models.errors import CalibrationError
from taintwatch_models.graph.anomaly import (
    LayerReference,
    attach_anomaly,
    gives_anomaly,
    layer_values,
    pooling_graph,
)
from taintwatch_models.loading import load_model, load_radar_file
from taintwatch_models.model_files import ModelSettings
from taintwatch_models.onnx_radar import OnnxRadar
from taintwatch_models.radar_file import RadarFile, read_radar
from tests.tiny_model import footage, write_model, write_video


@pytest.fixture
def radar(tmp_path: Path) -> RadarFile:
    return load_radar_file(ModelSettings(path=str(write_model(tmp_path / "m.onnx"))))


def greys(count: int, seed: int = 0, footage: bool = False) -> BenignFrames:
    rng = np.random.default_rng(seed)
    level = rng.integers(90, 160, (count, 1, 1, 1))
    pixels = np.clip(level + rng.normal(0, 8, (count, 32, 32, 3)), 0, 255).astype(np.uint8)
    return BenignFrames(pixels, footage, 0, "greys")


def anomaly(radar: RadarFile, pixels: np.ndarray) -> np.ndarray:
    return OnnxRadar(radar, ("tight",))(radar.info.preprocessing.normalise(pixels))["anomaly"]


def test_the_graph_gives_the_mahalanobis_distance_to_the_nearest_mean_of_the_label(radar: RadarFile) -> None:
    (layer,) = layer_values(radar)  # the tiny model has one convolution: its maps alone
    rng = np.random.default_rng(1)
    means = rng.random((3, 2, 2)).astype(np.float16).astype(np.float32)
    root = (30 * rng.random((2, 2))).astype(np.float16).astype(np.float32)
    fitted = attach_anomaly(radar, [LayerReference(layer, means, root, 0.5, 2.0)])
    pixels = greys(5).pixels
    inputs = radar.info.preprocessing.normalise(pixels)
    session = onnxruntime.InferenceSession(pooling_graph(radar, [layer]).SerializeToString())
    labels, pooled = session.run(["label", "pooled_0"], {radar.info.input: inputs})
    maps = OnnxRadar(radar, ("tight", "features"))(inputs)["features"]
    np.testing.assert_allclose(pooled, np.log1p(maps.max(axis=(2, 3))), rtol=1e-5)
    weight = root @ root.T
    squared = [min(mahalanobis(x, m, weight) ** 2 for m in means[n]) for x, n in zip(pooled, labels, strict=True)]
    expected = (np.log(np.array(squared) / 2) - 0.5) / 2.0
    np.testing.assert_allclose(anomaly(fitted, pixels), expected, rtol=1e-4, atol=1e-4)


def test_benign_pictures_that_were_not_seen_are_about_as_anomalous_as_those_that_were(radar: RadarFile) -> None:
    fitted = fit_anomaly(radar, greys(300))
    unseen = anomaly(fitted.radar, greys(300, seed=7).pixels)
    assert abs(np.median(fitted.scores)) < 0.2
    assert abs(np.median(unseen) - np.median(fitted.scores)) < 0.3
    assert 0.0 < (unseen > np.quantile(fitted.scores, 0.95)).mean() < 0.2


def test_a_patch_that_excites_a_channel_as_nothing_benign_does_is_anomalous(radar: RadarFile) -> None:
    fitted = fit_anomaly(radar, greys(200))
    attacked = greys(20, seed=3).pixels.copy()
    attacked[:, 4:12, 4:12] = (255, 0, 255)
    assert anomaly(fitted.radar, attacked).min() > np.quantile(fitted.scores, 0.99)


def test_fitting_again_replaces_the_reference_and_adds_no_output(radar: RadarFile) -> None:
    once = fit_anomaly(radar, greys(150))
    twice = fit_anomaly(once.radar, greys(150, seed=5))
    assert [o.name for o in twice.radar.proto.graph.output].count("anomaly") == 1
    assert len(twice.radar.proto.graph.node) == len(once.radar.proto.graph.node)
    pixels = greys(4, seed=9).pixels
    direct = fit_anomaly(radar, greys(150, seed=5))
    np.testing.assert_allclose(anomaly(twice.radar, pixels), anomaly(direct.radar, pixels), rtol=1e-5)


@pytest.mark.parametrize("footage", [False, True])
def test_what_is_said_of_a_frame_was_learnt_from_others(radar: RadarFile, footage: bool) -> None:
    frames = greys(200, footage=footage)
    odd = frames.pixels.copy()
    odd[100] = np.where(np.arange(32)[:, None, None] < 16, (255, 0, 255), 120)  # one magenta frame
    fitted = fit_anomaly(radar, BenignFrames(odd, footage, 0, "greys and one"), local=False)
    assert fitted.scores.argmax() == 100
    assert anomaly(fitted.radar, odd[100:101])[0] < fitted.scores[100]  # the whole fit did see it


def test_too_few_frames_to_learn_from_are_refused(radar: RadarFile) -> None:
    with pytest.raises(CalibrationError, match="99 benign frames are too few to learn what they look like"):
        fit_anomaly(radar, greys(99))


def test_calibrating_weighs_anomaly_where_the_graph_gives_it_and_not_elsewhere(radar: RadarFile) -> None:
    frames = greys(200)
    plain, _ = calibrate(radar, frames, target_fpr=0.05, variants=("tight",))
    fitted = fit_anomaly(radar, frames)
    weighed, _ = calibrate(fitted.radar, frames, target_fpr=0.05, variants=("tight",), anomaly=fitted.scores)
    assert plain.tight.anomaly_weight == 0
    assert weighed.tight.anomaly_weight > 0
    assert weighed.tight.held_out is not None
    assert weighed.tight.held_out.rate <= 0.15


def test_a_calibration_with_anomaly_is_refused_for_a_graph_without_it(radar: RadarFile) -> None:
    settings = TightCalibration(anomaly_weight=1.0)
    with pytest.raises(CalibrationError, match="which this model's graph does not give; run the prepared model"):
        tight_scores(radar, greys(3), settings, progress=lambda what, done, total: None)


def test_learning_by_command_writes_a_model_that_runs_with_its_thresholds(tmp_path: Path) -> None:
    model = write_model(tmp_path / "m.onnx")
    video = write_video(tmp_path / "benign.mkv", footage(150))
    learnt = tmp_path / "m.radar.onnx"
    arguments = ["thresholds", "--model", str(model), "--benign", str(video), "--fpr", "0.05", "--learn", str(learnt)]
    result = CliRunner().invoke(calibrate_group, arguments, catch_exceptions=False)
    assert result.exit_code == 0
    assert gives_anomaly(read_radar(learnt))
    assert read_calibration(tmp_path / "m.calibration.json").tight.anomaly_weight > 0
    loaded = load_model(ModelSettings(path=str(learnt)))
    assert loaded.calibration.tight.anomaly_weight > 0


def test_the_thresholds_of_a_learnt_model_are_refused_at_the_start_for_the_plain_one(tmp_path: Path) -> None:
    model = write_model(tmp_path / "m.onnx")
    video = write_video(tmp_path / "benign.mp4", footage(120))
    learnt = tmp_path / "learnt" / "m.radar.onnx"
    learnt.parent.mkdir()
    arguments = ["--benign", str(video), "--fpr", "0.05", "--learn", str(learnt), "--variant", "tight"]
    CliRunner().invoke(
        calibrate_group,
        ["thresholds", "--model", str(model), *arguments, "--out", str(tmp_path / "m.calibration.json")],
        catch_exceptions=False,
        standalone_mode=False,
    )
    with pytest.raises(CalibrationError, match=r"run the prepared model \(\.radar\.onnx\) that .* --learn"):
        load_model(ModelSettings(path=str(model)))
    with pytest.raises(CalibrationError, match="'paper' is blind"):  # it needs no anomaly; but 3 labels have 2 ranks
        load_model(ModelSettings(path=str(model), detectors=("paper",)))


def test_a_name_that_no_prepared_model_has_is_refused_before_anything_is_read(tmp_path: Path) -> None:
    model = write_model(tmp_path / "m.onnx")
    arguments = ["thresholds", "--model", str(model), "--benign", "nowhere", "--learn", str(tmp_path / "m.onnx")]
    result = CliRunner().invoke(calibrate_group, arguments)
    assert "must end in .radar.onnx" in str(result.exception)


def test_the_bundled_model_says_how_anomalous_a_picture_is() -> None:
    radar = read_radar(bundled_path("signs.radar.onnx"))
    assert gives_anomaly(radar)
    assert len(layer_values(radar)) == 11
