"""The training of the appearance network: patterns that fool, scenes with their masks, an export that says the same."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch

from benchmarks.appearance.closeups import Closeups
from benchmarks.appearance.network import CLOSEUP, FIRST_LOOK, AppearanceNet, on_scale, to_onnx, train
from benchmarks.appearance.patterns import KINDS, Kind, craft_patterns
from benchmarks.appearance.scenes import Material, Scenes
from benchmarks.makers.onnx_torch import OnnxModule
from taintwatch_models.bundled import bundled_path, bundled_radar
from taintwatch_models.detection.intervention import label_margin
from taintwatch_models.onnx_radar import OnnxRadar

RNG = np.random.default_rng(3)
MATERIAL = Material(
    (RNG.integers(0, 60, (6, 40, 40, 3)).astype(np.uint8), RNG.integers(0, 60, (6, 120, 120, 3)).astype(np.uint8)),
    (0.5, 0.5),
    np.full((4, 48, 48, 3), 255, np.uint8),
)


def test_a_scene_is_as_bright_as_the_pattern_where_its_mask_says_so() -> None:
    scenes = Scenes(MATERIAL, 1, textures=40)
    drawn = [scenes() for _ in range(60)]
    with_pattern = [(picture, mask) for picture, mask in drawn if mask.any()]
    assert 15 < len(with_pattern) < 45
    brighter = 0
    for picture, mask in with_pattern:
        assert (picture.shape, mask.shape) == ((96, 96, 3), (96, 96))
        assert 0.02 < mask.mean() < 0.6
        brighter += picture[mask > 0.99].mean() > picture[mask == 0].mean()
    assert brighter > 0.9 * len(with_pattern)  # a texture behind it may be as bright


def test_the_same_seed_draws_the_same_scenes() -> None:
    one, other = (Scenes(MATERIAL, 5, textures=40) for _ in range(2))
    assert all((one()[0] == other()[0]).all() for _ in range(5))


def test_the_export_says_what_the_trained_network_says() -> None:
    torch.manual_seed(0)
    scenes = Scenes(MATERIAL, 2, textures=40)
    net = on_scale(train(scenes, AppearanceNet(FIRST_LOOK), 2, lambda step, loss: None), scenes)
    pixels = RNG.uniform(-1, 1, (2, 3, 96, 96)).astype(np.float32)
    given = ort.InferenceSession(to_onnx(net).SerializeToString()).run(["map"], {"pixels": pixels})[0]
    assert given.shape == (2, 1, 12, 12)
    assert given == pytest.approx(net(torch.from_numpy(pixels)).detach().numpy(), abs=1e-3)


@pytest.fixture(scope="module")
def closeups() -> Closeups:
    return Closeups(MATERIAL, bundled_path("appearance.onnx").read_bytes(), 1, textures=40)


def test_a_closeup_is_as_bright_as_the_pattern_where_its_mask_says_so(closeups: Closeups) -> None:
    drawn = [closeups() for _ in range(60)]
    assert all((picture.shape, mask.shape) == ((72, 72, 3), (72, 72)) for picture, mask in drawn)
    parts = [(picture[mask > 0.99], picture[mask < 0.01]) for picture, mask in drawn]
    compared = [inside.mean() > outside.mean() for inside, outside in parts if len(inside) and len(outside)]
    assert len(compared) > 15
    assert np.mean(compared) > 0.8  # a texture beside it may be as bright


def test_the_closeups_network_learns_to_set_patterns_apart(closeups: Closeups) -> None:
    torch.manual_seed(0)
    net = train(closeups, AppearanceNet(CLOSEUP), 12, lambda step, loss: None, apart=0.3)
    pictures, masks = zip(*(closeups() for _ in range(60)), strict=True)
    with torch.no_grad():
        answers = net(torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2) / 127.5 - 1).flatten(1).amax(1).numpy()
    has = np.array([mask.mean() > 0.2 for mask in masks])
    without = np.array([not mask.any() for mask in masks])
    assert answers[has].mean() > answers[without].mean()
    given = ort.InferenceSession(to_onnx(net, 72).SerializeToString()).get_outputs()[0]
    assert given.shape == ["batch", 1, 9, 9]


def margins_of(patterns: np.ndarray, pictures: np.ndarray, seed: int) -> np.ndarray:
    """The lead of each pattern's label on the bundled model, laid onto the middle of a picture."""
    radar = bundled_radar()
    shown = pictures[: len(patterns)].copy()
    for picture, pattern in zip(shown, patterns, strict=True):
        picture[16:48, 16:48] = cv2.resize(pattern, (32, 32), interpolation=cv2.INTER_AREA)
    inputs = radar.info.preprocessing.normalise(shown)
    logits = OnnxRadar(radar, ())(inputs)["logits"]
    targets = np.random.default_rng(seed).integers(0, len(radar.info.labels), len(patterns))
    return -label_margin(logits, targets)


@pytest.mark.parametrize("kind", [KINDS[0], KINDS[1], KINDS[4]], ids=lambda kind: kind.name)
def test_patterns_come_nearer_to_their_label_with_every_step(kind: Kind) -> None:
    pictures = RNG.integers(0, 256, (16, 64, 64, 3)).astype(np.uint8)
    before, after = (craft_patterns(bundled_radar(), pictures, replace(kind, steps=n), 3) for n in (1, 20))
    assert after.shape == (16, 48, 48, 3)
    gain = margins_of(after, pictures, 3) - margins_of(before, pictures, 3)
    assert gain.mean() > 1


def test_patterns_that_know_a_network_are_answered_lower_by_it() -> None:
    pictures = RNG.integers(100, 130, (16, 64, 64, 3)).astype(np.uint8)
    known = OnnxModule(onnx.load(bundled_path("appearance.onnx")))
    kind = replace(KINDS[0], steps=24)
    plain, hidden = (craft_patterns(bundled_radar(), pictures, kind, 3, against=net) for net in (None, known))
    assert answers(known, hidden).mean() < answers(known, plain).mean() - 1


def answers(net: OnnxModule, patterns: np.ndarray) -> np.ndarray:
    """The network's largest answer to each pattern, alone in the middle of a grey picture."""
    shown = np.full((len(patterns), 96, 96, 3), 120, np.uint8)
    shown[:, 24:72, 24:72] = patterns
    planes = torch.from_numpy(shown).permute(0, 3, 1, 2).float() / 127.5 - 1
    return np.asarray(net(planes).flatten(1).amax(1))
