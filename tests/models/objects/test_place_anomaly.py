"""The graph gives each cell's distance, as its definition does."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from taintwatch_models.errors import CalibrationError
from taintwatch_models.objects.finder import FinderSettings, ObjectFinder
from taintwatch_models.objects.place_anomaly import cell_names, choose_layers, with_cells, with_distances
from tests.object_scene import write_guardable_detector


def test_distances_are_of_the_chosen_channels_at_every_so_manyth_cell(tmp_path: Path) -> None:
    path = write_guardable_detector(tmp_path / "lamps.onnx")
    settings = FinderSettings(str(path), labels=str(path.with_suffix(".txt")), decoder="yolox", device="cpu")
    plain = ObjectFinder(settings)
    rng = np.random.default_rng(3)
    shapes = {name: np.zeros((1, 12, 48, 48), np.float32) for name in cell_names(plain.proto)}
    (layer, *_) = choose_layers(plain.proto, shapes, seed=0)
    drawn = np.array([1, 4, 7, 9])
    layer = replace(
        layer, stride=2, channels=drawn, mean=rng.normal(size=4).astype(np.float32),
        whitening=rng.normal(size=(4, 4)).astype(np.float32),
    )  # fmt: skip
    inputs = plain.preprocessing([rng.integers(0, 255, (192, 192, 3)).astype(np.uint8)])
    cells = ObjectFinder(settings, extend=lambda proto: with_cells(proto, [layer])).run(inputs)["cells0"]
    found = ObjectFinder(settings, extend=lambda proto: with_distances(proto, [layer])).run(inputs)["distances0"]
    white = (np.moveaxis(cells[0], 0, -1) - layer.mean) @ layer.whitening
    assert found[0, 0] == pytest.approx((white**2).mean(axis=-1), rel=1e-3)
    with pytest.raises(CalibrationError, match="no convolution with weights of its own"):
        with_distances(plain.proto, [replace(layer, value="nothing")])


def test_the_plain_answer_leaves_out_what_an_extension_adds(tmp_path: Path) -> None:
    path = write_guardable_detector(tmp_path / "lamps.onnx")
    settings = FinderSettings(str(path), labels=str(path.with_suffix(".txt")), decoder="yolox", device="cpu")
    plain = ObjectFinder(settings)
    layers = choose_layers(
        plain.proto, {name: np.zeros((1, 12, 48, 48), np.float32) for name in cell_names(plain.proto)}, seed=0
    )
    finder = ObjectFinder(settings, extend=lambda proto: with_distances(proto, layers))
    inputs = finder.preprocessing([np.full((192, 192, 3), 90, np.uint8)])
    assert set(finder.run(inputs)) == {"output", *(f"distances{index}" for index in range(len(layers)))}
    assert set(finder.run_plain(inputs)) == {"output"}
    assert np.array_equal(finder.run(inputs)["output"], finder.run_plain(inputs)["output"])
