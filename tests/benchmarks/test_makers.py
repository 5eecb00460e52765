"""The independent maker: its Torch is the runtime's, its patches lie where they should, and they fool a classifier."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import torch

from benchmarks.makers.adam import make_patch
from benchmarks.makers.library import patches_of
from benchmarks.makers.onnx_torch import load_onnx
from benchmarks.makers.placement import Placement, apply_at, random_placement
from taintwatch_calibration.craft.materials import load_classifier
from tests.craft_scene import write_classifier


def test_its_torch_gives_the_runtimes_logits(tmp_path: Path) -> None:
    path = write_classifier(tmp_path / "model.onnx")
    session = onnxruntime.InferenceSession(str(path))
    x = np.random.default_rng(0).normal(size=(2, *session.get_inputs()[0].shape[1:])).astype(np.float32)
    expected = session.run(None, {session.get_inputs()[0].name: x})[0]
    assert np.abs(load_onnx(path)(torch.from_numpy(x)).numpy() - expected).max() < 1e-4


def test_a_patch_covers_its_share_of_the_picture_wholly_inside() -> None:
    pictures = np.zeros((20, 60, 60, 3), np.uint8)
    rng = np.random.default_rng(0)
    places = [random_placement(pictures, 0.4, rng) for _ in pictures]
    shown = apply_at(pictures, np.full((8, 8, 3), 255, np.uint8), places)
    assert np.abs((shown > 127).any(axis=3).mean(axis=(1, 2)) - 0.16).max() < 0.02
    for place in places:
        assert min(place.box()) >= 0
        assert max(place.box()) <= 60


def test_a_whole_pixel_place_is_exact() -> None:
    place = Placement(20, 30, 30).on_grid()
    shown = apply_at(np.zeros((1, 60, 60, 3), np.uint8), np.full((20, 20, 3), 255, np.uint8), [place])
    assert (shown[0, :, :, 0] == 255).sum() == 400


def test_its_patch_shows_the_target_to_a_classifier_of_brightness() -> None:
    def model(x: torch.Tensor) -> torch.Tensor:
        bright = x.mean((1, 2, 3))
        return torch.stack([0.45 - bright, bright - 0.45], 1) * 40

    dark = np.full((6, 32, 32, 3), 90, np.uint8)
    patch = make_patch(model, dark, lambda x: x, 1, steps=40, batch=4, size=16)
    assert patch.mean() > 220


def test_stored_patches_are_read_and_none_is_crafted_where_none_shall_be(tmp_path: Path) -> None:
    radar = load_classifier(str(write_classifier(tmp_path / "model.onnx")))

    def craft_on() -> tuple[np.ndarray, np.ndarray]:
        raise AssertionError("nothing was to be crafted")

    found = patches_of("none", radar, craft_on, (0, 1), tmp_path / "patches", lambda line: None, craft=False)
    assert found == {}
