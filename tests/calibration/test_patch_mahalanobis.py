"""The most anomalous place of the maps, whatever the label: fitted on benign cells, computed by the radar graph."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter
from scipy.spatial.distance import cdist

from taintwatch_calibration.anomaly import Fitted, fit_anomaly
from taintwatch_calibration.benign import BenignFrames
from taintwatch_calibration.craft.adaptive import differentiable_anomaly
from taintwatch_calibration.craft.materials import differentiable
from taintwatch_models.bundled import bundled_radar
from taintwatch_models.errors import ModelError
from taintwatch_models.graph.anomaly import attach_anomaly, maps_graph
from taintwatch_models.graph.patch_mahalanobis import PatchLayer, PatchReference, PatchView
from taintwatch_models.loading import load_radar_file
from taintwatch_models.model_files import ModelSettings
from taintwatch_models.onnx_radar import OnnxRadar
from taintwatch_models.onnx_session import SessionSettings, open_session
from taintwatch_models.radar_file import RadarFile
from tests.calibration.test_anomaly import anomaly, greys
from tests.tiny_model import write_model


@pytest.fixture
def radar(tmp_path: Path) -> RadarFile:
    return load_radar_file(ModelSettings(path=str(write_model(tmp_path / "m.onnx"))))


def maps_of(radar: RadarFile, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    session, _ = open_session(
        maps_graph(radar, ["features"]).SerializeToString(), SessionSettings(device="cpu", threads=1)
    )
    maps: NDArray[np.float32] = session.run(
        ["features"], {radar.info.input: radar.info.preprocessing.normalise(pixels)}
    )[0]
    return maps


def test_the_graph_gives_the_largest_windowed_mahalanobis_distance_of_the_cells(radar: RadarFile) -> None:
    rng = np.random.default_rng(2)
    mean, root = rng.random(2).astype(np.float32), (30 * rng.random((2, 2))).astype(np.float16).astype(np.float32)
    layer = PatchLayer("features", np.array([1, 0]), mean, root, 3, 0.25, 2.0)
    fitted = attach_anomaly(radar, [], PatchReference((layer,), (PatchView(1, 0.5, 4.0),)))
    pixels = greys(4).pixels
    expected = []
    for maps in maps_of(radar, pixels):
        height, width = maps.shape[1:]
        cells = maps[[1, 0]].reshape(2, -1).T
        inverse = root.astype(np.float64) @ root.T
        squared = cdist(cells, mean[None], "mahalanobis", VI=inverse).reshape(height, width) ** 2 / 2
        windows = uniform_filter(squared, 3)[1:-1, 1:-1]  # whole windows only
        expected.append(((np.log(windows.max()) - 0.25) / 2.0 - 0.5) / 4.0)
    np.testing.assert_allclose(anomaly(fitted, pixels), expected, rtol=1e-3, atol=1e-3)


@pytest.fixture(scope="module")
def signs() -> Fitted:
    return fit_anomaly(bundled_radar(), slopes(160), threads=1)


def slopes(count: int, seed: int = 0) -> BenignFrames:
    """Smooth pictures, (64, 64, 3): a slope of light from one corner to another, and a little noise."""
    rng = np.random.default_rng(seed)
    across, down = np.meshgrid(np.linspace(0, 1, 64), np.linspace(0, 1, 64))
    turns = rng.uniform(-60, 60, (count, 2, 1, 1, 1))
    light = 128 + turns[:, 0] * across[..., None] + turns[:, 1] * down[..., None]
    pixels = np.clip(light + rng.normal(0, 4, (count, 64, 64, 3)), 0, 255).astype(np.uint8)
    return BenignFrames(pixels, False, 0, "slopes")


def test_a_pattern_of_unusual_activations_is_anomalous_wherever_it_lies(signs: Fitted) -> None:
    usual, odd = slopes(60, seed=3).pixels, slopes(60, seed=3).pixels
    rng = np.random.default_rng(0)
    for picture in odd:
        top, left = rng.integers(0, 64 - 18, 2)
        picture[top : top + 18, left : left + 18] = rng.integers(0, 2, (18, 18, 3)) * 255
    assert np.quantile(anomaly(signs.radar, usual), 0.95) < anomaly(signs.radar, odd).min()


def test_benign_pictures_that_were_not_seen_are_as_anomalous_as_the_scores_of_those_that_were(signs: Fitted) -> None:
    unseen = anomaly(signs.radar, slopes(160, seed=8).pixels)
    assert abs(np.median(signs.scores)) < 0.1
    assert abs(np.median(unseen)) < 0.4
    assert (unseen > np.quantile(signs.scores, 0.95)).mean() < 0.15


def test_footage_without_any_noise_does_not_make_everything_anomalous() -> None:
    still = np.repeat(slopes(1).pixels, 120, axis=0)
    fitted = fit_anomaly(bundled_radar(), BenignFrames(still, True, 0, "still"), threads=1)
    assert np.abs(fitted.scores).max() < 5
    assert np.abs(anomaly(fitted.radar, still[:2])).max() < 5


def test_it_needs_no_labels_that_were_seen_often(radar: RadarFile) -> None:
    frames = greys(200)
    by_place = fit_anomaly(radar, frames)
    assert by_place.local is not None
    without = fit_anomaly(radar, frames, local=False)
    assert without.local is None
    assert without.layers
    assert not np.allclose(by_place.scores, without.scores)


def test_frames_that_were_fitted_on_are_judged_as_if_they_had_not_been_seen() -> None:
    pixels = slopes(150).pixels.copy()
    pixels[7] = np.random.default_rng(1).integers(0, 255, pixels[7].shape)
    fitted = fit_anomaly(bundled_radar(), BenignFrames(pixels, False, 0, "slopes and one"), threads=1)
    assert fitted.scores.argmax() == 7
    assert fitted.scores[7] > 1.2 * anomaly(fitted.radar, pixels)[7]  # the graph's reference has seen it


def test_torch_computes_what_the_graph_computes_and_has_its_slope(radar: RadarFile) -> None:
    fitted = fit_anomaly(radar, greys(150))
    model = differentiable(radar)
    pixels = greys(6, seed=9).pixels
    inputs = torch.from_numpy(radar.info.preprocessing.normalise(pixels)).requires_grad_(True)
    score = differentiable_anomaly(model, fitted)
    found = score(inputs)
    np.testing.assert_allclose(
        found.detach().numpy(), anomaly(fitted.radar, pixels), rtol=3e-2, atol=3e-2
    )  # float16 in the graph
    (slope,) = torch.autograd.grad(found.sum(), inputs)
    assert float(slope.abs().sum()) > 0
    small = (inputs - 1e-3 * slope / slope.norm()).detach()
    assert float(score(small.detach()).detach().sum()) < float(found.detach().sum())


def test_a_value_that_the_classifier_does_not_have_is_named(radar: RadarFile) -> None:
    with pytest.raises(ModelError, match="no value 'nowhere'"):
        differentiable(radar).between(torch.zeros(1, 3, 32, 32), ["nowhere"])


def test_the_output_is_replaced_by_a_later_fit(radar: RadarFile) -> None:
    once: Fitted = fit_anomaly(radar, greys(150))
    twice = fit_anomaly(once.radar, greys(150, seed=5))
    outputs = [output.name for output in twice.radar.proto.graph.output]
    assert outputs.count("anomaly") == 1
    run = OnnxRadar(twice.radar, ("tight",))
    assert run(radar.info.preprocessing.normalise(greys(2).pixels))["anomaly"].shape == (2,)
