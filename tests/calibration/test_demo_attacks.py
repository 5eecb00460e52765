"""The demo's attacks: the placement is where the scene has it, the loss drives the label, what is written is read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from taintwatch.demo.play import read_attack
from taintwatch.demo.sign_scene import SignPlacement
from taintwatch_calibration.craft.demo_attacks import PLANS, Measured, in_scene, measure, scene_pictures, write_attack
from taintwatch_calibration.craft.engine import Schedule, Step
from taintwatch_calibration.craft.materials import differentiable
from taintwatch_calibration.craft.physical import Pattern, Pictures, craft_patterns
from taintwatch_calibration.craft.placement import PlacementBatch
from taintwatch_calibration.craft.shapes import shape_mask
from taintwatch_models.bundled import bundled_radar
from taintwatch_models.classifier import ModelCard, Rejected
from taintwatch_models.onnx_session import SessionSettings
from taintwatch_models.preprocessing import Preprocessing
from taintwatch_models.records import Frame, Prediction, read_only

PLACEMENT = SignPlacement(14, 0.5, 0.5, 0.7, patch_x=0.5, patch_y=0.5, patch_side=0.4, motion=0.02)
SCHEDULE = Schedule(30, 0.3, "adam", box="sigmoid")
MASK = shape_mask("square", 8)[None]


class Colours(nn.Module):
    """Label 0: mostly red; 1: mostly blue; 2: mostly green."""

    def maps(self, x: Tensor) -> Tensor:
        return x

    def head(self, x: Tensor) -> Tensor:
        means = x.mean((2, 3))
        return torch.stack([means[:, 0], means[:, 2], means[:, 1]], 1) * 20


def pictures(count: int = 6) -> Pictures:
    pixels = torch.rand(count, 3, 24, 24, generator=torch.Generator().manual_seed(1)) * 0.2
    pixels[:, 0] += 0.3
    places = PlacementBatch(torch.zeros(count), torch.zeros(count), torch.full((count,), 0.6), torch.zeros(count))
    return Pictures(pixels, torch.zeros(count, dtype=torch.long), places)


def craft(pattern: Pattern, schedule: Schedule = SCHEDULE, steps: list[Step] | None = None) -> Tensor:
    pattern = replace(pattern, batch=4)
    report = None if steps is None else steps.append
    return craft_patterns(Colours(), pictures(), Preprocessing((24, 24)), MASK, pattern, schedule, report=report)[0]


def lead(patch: Tensor, target: int) -> float:
    return float(patch[(0, 2, 1)[target]].mean() - patch.mean())


@pytest.mark.parametrize("target", [1, 2])
def test_a_targeted_patch_takes_its_targets_colour(target: int) -> None:
    steps: list[Step] = []
    patch = craft(in_scene(target), steps=steps)
    assert lead(patch, target) > 0.2
    assert [step.iteration for step in steps] == list(range(1, 31))
    assert steps[-1].loss < steps[0].loss
    assert steps[-1].success == 1.0


def test_an_untargeted_patch_only_drives_the_right_label_away() -> None:
    assert lead(craft(in_scene(None)), 0) < -0.1


def test_a_patch_stays_within_what_a_printer_is_trusted_with() -> None:
    patch = craft(replace(in_scene(1), ink=(0.2, 0.7)))
    assert 0.2 <= float(patch.min()) < float(patch.max()) <= 0.7


def test_the_same_seed_gives_the_same_patch_and_another_another() -> None:
    first, again, other = (craft(in_scene(1), replace(SCHEDULE, seed=seed)) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_the_views_have_the_patch_where_the_scene_will_have_it() -> None:
    found = scene_pictures(PLACEMENT, Preprocessing((64, 64)), range(2), 2)
    assert found.pixels.shape == (4, 3, 64, 64)
    assert found.places is not None
    assert float(found.places.x.abs().max()) < 0.2
    assert float(found.places.size.mean()) == pytest.approx(0.4 / (1 - 0.02) ** 2, rel=0.05)
    red = found.pixels[:, :, 28:36, 28:36].mean((2, 3))
    assert bool((red[:, 0] > red[:, 2]).all())  # the stop sign's middle, in RGB


def test_the_bundled_classifier_says_the_same_in_torch_as_its_graph_does() -> None:
    radar = bundled_radar()
    model = differentiable(radar)
    pixels = (np.random.default_rng(0).random((2, 64, 64, 3)) * 255).astype(np.uint8)
    inputs = radar.info.preprocessing.normalise(pixels)
    from taintwatch_models.onnx_radar import OnnxRadar

    expected = OnnxRadar(radar, ("tight",), session=SessionSettings(threads=1))(inputs)["logits"]
    with torch.no_grad():
        assert np.allclose(model(torch.from_numpy(inputs)).numpy(), expected, atol=1e-3)


class PatchSpotter:
    """Says 8 where the middle of the frame is magenta in most scenes, else 14."""

    card = ModelCard("spotter", "0" * 64, "CPUExecutionProvider", tuple("x" * 44), (64, 64))

    def __call__(self, frames: Sequence[Frame]) -> list[Prediction | Rejected]:
        found: list[Prediction | Rejected] = []
        for frame in frames:
            blue, green, red = frame.image[230:250, 310:330].reshape(-1, 3).mean(axis=0)
            label = 8 if blue > 150 and red > 150 and green < 90 else 14
            found.append(Prediction(frame, read_only(np.zeros(44, np.float32)), label, "x", 1.0, 1.0))
        return found


def test_success_is_counted_on_the_frames_with_the_patch_against_those_without() -> None:
    magenta = np.full((64, 64, 3), (255, 0, 255), np.uint8)
    measured = measure(PatchSpotter(), PLACEMENT, magenta, None, range(2), each=3)
    assert measured == Measured(frames=6, success=1.0, target=1.0, seen_as=8, benign=1.0)
    assert measure(PatchSpotter(), PLACEMENT, magenta, 9, range(1), each=3).target == 0.0
    green = np.full((64, 64, 3), (0, 255, 0), np.uint8)
    assert measure(PatchSpotter(), PLACEMENT, green, None, range(1), each=3).success == 0.0


def test_what_is_written_is_what_the_demo_reads(tmp_path: Path) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (256, 256, 3), dtype=np.uint8)
    planned = replace(PLANS["on-sign"], placement=PLACEMENT)
    measured = Measured(200, 0.91, 0.9, 8, 1.0)
    recipe = write_attack(tmp_path, "on-sign", planned, "ab" * 32, picture, measured)
    attack = read_attack(recipe)
    assert np.array_equal(attack.picture, picture)
    assert (attack.name, attack.placement, attack.target, attack.success) == (
        "on-sign",
        PLACEMENT,
        planned.pattern.target,
        0.91,
    )
    assert attack.model_hash == "ab" * 32
