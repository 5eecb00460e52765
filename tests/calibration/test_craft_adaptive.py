"""The detector as something to differentiate: it says what the real one says, and has a slope."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from taintwatch_calibration.craft.adaptive import against, binarised, evade_tight, high_rank_target
from taintwatch_calibration.craft.materials import differentiable, load_classifier, read_pictures, to_pictures
from taintwatch_calibration.craft.physical import AttackedBatch, normaliser
from taintwatch_models.calibration_file import Calibration, TightCalibration
from taintwatch_models.detectors import tight_score
from taintwatch_models.errors import UsageError
from taintwatch_models.onnx_radar import OnnxRadar
from tests.craft_scene import write_classifier, write_pictures


def test_binarising_is_hard_forwards_and_soft_backwards() -> None:
    share = torch.tensor([0.1, 0.59, 0.61, 1.0], requires_grad=True)
    mask = binarised(share, 0.6, 20.0)
    assert mask.tolist() == [0.0, 0.0, 1.0, 1.0]
    mask.sum().backward()
    assert share.grad is not None
    assert float(share.grad[1]) == pytest.approx(20 * 0.25, rel=0.05)
    assert float(share.grad[0]) < 0.01


@pytest.mark.parametrize("weight", [0.0, 0.5, 1.0])
def test_the_differentiable_tight_scores_as_the_product_does(tmp_path: Path, weight: float) -> None:
    radar = load_classifier(str(write_classifier(tmp_path / "model.onnx")))
    model = differentiable(radar)
    generator = torch.Generator().manual_seed(0)
    pixels = torch.rand(6, 3, 32, 32, generator=generator)
    pixels[3:, :, 8:20, 8:20] = torch.tensor([1.0, 0.0, 1.0]).view(3, 1, 1)
    preprocessing = radar.info.preprocessing
    settings = TightCalibration(saliency_threshold=0.6, swing_weight=weight, threshold=-1000.0)
    inputs = normaliser(preprocessing)(pixels).requires_grad_(True)
    maps = model.maps(inputs)
    batch = AttackedBatch(inputs, maps, model.head(maps), torch.full((6,), 2), None, pixels[:, :1], 1.0)
    ours = evade_tight(model, preprocessing, settings)(batch)  # mean of score + 1001, so low is the threshold
    found = OnnxRadar(radar, ("tight",), Calibration(tight=settings))(inputs.detach().numpy())
    theirs = [
        tight_score(float(m), float(s), weight)
        for m, s in zip(found["tight_margin"], found["tight_swing"], strict=True)
    ]
    assert float(ours.detach()) - 1001 == pytest.approx(sum(theirs) / 6, abs=0.05)
    (slope,) = torch.autograd.grad(ours, inputs)
    assert float(slope.abs().sum()) > 0


@pytest.mark.parametrize("name", ["tight", "paper", "misleading"])
def test_every_adaptive_loss_reaches_the_pixels(tmp_path: Path, name: str) -> None:
    radar = load_classifier(str(write_classifier(tmp_path / "model.onnx")))
    model = differentiable(radar)
    pixels = torch.rand(3, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    pixels[:, 1, 8:24, 8:24] = 0
    inputs = normaliser(radar.info.preprocessing)(pixels).requires_grad_(True)
    maps = model.maps(inputs)
    covered = torch.zeros(3, 1, 32, 32)
    covered[..., 8:24, 8:24] = 1
    batch = AttackedBatch(inputs, maps, model.head(maps), torch.full((3,), 2), None, covered, 0.5)
    calibration = Calibration(tight=TightCalibration(threshold=-50.0))
    loss = against(name, 2.0, model, radar.info.preprocessing, calibration)(batch)
    (slope,) = torch.autograd.grad(loss, inputs)
    assert bool(torch.isfinite(slope).all())
    assert name == "paper" or float(slope.abs().sum()) > 0


def test_the_high_ranking_target_is_the_runner_up(tmp_path: Path) -> None:
    radar = load_classifier(str(write_classifier(tmp_path / "model.onnx")))
    pictures = read_pictures(write_pictures(tmp_path / "images", 5), radar)
    preprocessing = radar.info.preprocessing
    chosen = high_rank_target(differentiable(radar), to_pictures(pictures, preprocessing), normaliser(preprocessing))
    found = OnnxRadar(radar, ())(preprocessing.normalise(pictures.pixels))["logits"]
    assert chosen == int(found.argsort(1)[0, -2])


def test_unknown_detectors_and_weights_are_said(tmp_path: Path) -> None:
    radar = load_classifier(str(write_classifier(tmp_path / "model.onnx")))
    model, preprocessing = differentiable(radar), radar.info.preprocessing
    with pytest.raises(UsageError, match="no adaptive attack on 'cmag'"):
        against("cmag", 1.0, model, preprocessing, Calibration())
    with pytest.raises(UsageError, match="must not be below 0"):
        against("tight", -1.0, model, preprocessing, Calibration())
