"""What learning reads from one forward of each picture is what separate forwards give."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from taintwatch_models.detection import observer as module
from taintwatch_models.detection.anomaly import LayerCells, at_places, with_outputs
from taintwatch_models.detection.cells import cell_names, choose_layers, with_cells
from taintwatch_models.detection.general import general_pictures
from taintwatch_models.detection.observer import Observer, Recalled, cell_sums
from taintwatch_models.detection.windows import box_averages, window_cells
from taintwatch_models.graph.anomaly import region_map
from taintwatch_models.graph.builder import GraphBuilder
from taintwatch_models.graph.transforms import keep_outputs
from taintwatch_models.loading import load_radar_file
from taintwatch_models.model_files import ModelSettings
from taintwatch_models.onnx_session import SessionSettings, open_session
from taintwatch_models.radar_file import RadarFile
from tests.tiny_model import write_model

CPU = SessionSettings(device="cpu", threads=1)


@pytest.fixture(scope="module")
def radar(tmp_path_factory: pytest.TempPathFactory) -> RadarFile:
    path = write_model(tmp_path_factory.mktemp("model") / "tiny.onnx")
    return load_radar_file(ModelSettings(path=str(path)))


@pytest.fixture(scope="module")
def pictures(radar: RadarFile) -> np.ndarray:
    return general_pictures(radar.info.preprocessing)[:40]


@pytest.fixture(scope="module")
def layers(radar: RadarFile, pictures: np.ndarray) -> tuple[LayerCells, ...]:
    return choose_layers(radar, radar.info.preprocessing.normalise(pictures[:2]), [0])


@pytest.fixture
def forwards() -> list[int]:
    """How many pictures each batch that was forwarded had."""
    return []


@pytest.fixture
def observer(radar: RadarFile, layers: tuple[LayerCells, ...], forwards: list[int]) -> Observer:
    return Observer(radar, layers, CPU, forwards.append)


def test_one_forward_gives_the_maps_and_the_cells(
    radar: RadarFile, layers: tuple[LayerCells, ...], pictures: np.ndarray, observer: Observer
) -> None:
    inputs = radar.info.preprocessing.normalise(pictures[16:32])
    names = [*cell_names(layers), "features", "region"]
    graph = with_outputs(with_cells(radar.proto, layers), GraphBuilder(17), {"region": ["batch", 1, None, None]})
    graph.graph.node.append(onnx.helper.make_node("Identity", [region_map(radar.proto)], ["region"]))
    session, _ = open_session(keep_outputs(graph, names).SerializeToString(), CPU)
    *cells, maps, region = session.run(names, {radar.info.input: inputs})
    observed = list(observer(pictures))[1]
    assert observed.start == 16
    for own, given in zip(observed.cells, cells, strict=True):
        assert own == pytest.approx(np.moveaxis(given, 1, -1), abs=1e-5)
    assert observed.looked.saliency_shares == pytest.approx(saliency_shares(region[:, 0]), abs=1e-4)
    assert observed.looked.features == pytest.approx(salient_features(maps, region[:, 0]), abs=1e-4)


def saliency_shares(saliency: np.ndarray) -> np.ndarray:
    """The logarithm of each window's average over that of all windows, none below a twentieth: (B, 196)."""
    averages = box_averages(saliency, *window_cells(saliency.shape[1:]))
    return at_places(np.log(averages / averages.mean(axis=(1, 2), keepdims=True) + 0.05))


def salient_features(maps: np.ndarray, saliency: np.ndarray) -> np.ndarray:
    """The mean of the maps over the window of largest average saliency, signed square roots."""
    height, width = window_cells(saliency.shape[1:])
    averages = box_averages(saliency, height, width)
    rows, columns = np.unravel_index(averages.reshape(len(averages), -1).argmax(axis=1), averages.shape[1:])
    corners = zip(rows, columns, strict=True)
    means = [own[:, r : r + height, c : c + width].mean(axis=(1, 2)) for own, (r, c) in zip(maps, corners, strict=True)]
    return np.sign(means) * np.sqrt(np.abs(means))


def test_each_folds_sums_are_those_of_its_own_pictures(
    layers: tuple[LayerCells, ...], pictures: np.ndarray, observer: Observer
) -> None:
    folds = np.arange(len(pictures)) % 3
    sums, looked = cell_sums(observer(pictures), layers, folds)
    cells = np.concatenate([batch.cells[-1] for batch in observer(pictures)])
    for fold in range(3):
        own = cells[folds == fold].reshape(-1, cells.shape[-1]).astype(np.float64)
        assert sums[fold][-1].count == len(own)
        assert sums[fold][-1].first == pytest.approx(own.sum(axis=0), rel=1e-4)
        assert sums[fold][-1].second == pytest.approx(own.T @ own, rel=1e-4, abs=1e-3)
    assert len(looked.labels) == len(pictures)


@pytest.mark.parametrize(("room", "times"), [(2**29, 1), (0, 2)])
def test_cells_that_fit_are_recalled_and_others_are_forwarded_again(
    room: int, times: int, pictures: np.ndarray, observer: Observer, forwards: list[int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(module, "_MOST_KEPT", room)
    recalled = Recalled(observer, pictures)
    once, again = list(recalled), list(recalled)
    assert sum(forwards) == times * len(pictures)
    for one, other in zip(once, again, strict=True):
        assert all(np.array_equal(a, b) for a, b in zip(one.cells, other.cells, strict=True))
