"""Eyeglasses of the face trials: how they are worn, and how they are made adversarial."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from benchmarks.face_trials.glasses_craft import GlassesRecipe, Photos, craft_glasses
from benchmarks.face_trials.worn import PATTERN_SCALE, PoseLimits, draw_poses, pattern_size, still, wear
from taintwatch_calibration.faces.glasses_shape import GlassesShape
from taintwatch_models.faces.align import TEMPLATE_EYES

EYES = torch.tensor(TEMPLATE_EYES)[None]
STRAIGHT = torch.tensor([[[38.5, 51.5], [74.5, 51.5]]])  # 36 pixels apart: a pattern's own scale


def test_glasses_worn_straight_are_the_pattern_on_the_face() -> None:
    shape = GlassesShape()
    pattern = torch.rand(3, *pattern_size(shape), generator=torch.Generator().manual_seed(0))
    face = torch.full((1, 3, 112, 112), 0.5)
    worn, coverage = wear(face, STRAIGHT, pattern, shape, still(1))
    rows, columns = pattern_size(shape)
    top, left = 51.5 + shape.drop * PATTERN_SCALE - rows / 2 + 0.5, 56.5 - columns / 2 + 0.5
    part = worn[0, :, round(top) : round(top) + rows, round(left) : round(left) + columns]
    inside = torch.from_numpy(shape.mask(PATTERN_SCALE)) > 0.99
    difference = (part - pattern).abs()[:, inside]
    assert float(difference.median()) < 0.1  # half a pixel of interpolation; noise is the hardest pattern for it
    assert torch.equal(worn * (coverage == 0), face * (coverage == 0))
    assert 0.08 < float(coverage.mean()) < 0.13


def test_glasses_follow_the_eyes() -> None:
    shape = GlassesShape()
    pattern = torch.zeros(3, *pattern_size(shape))
    faces = torch.ones(2, 3, 112, 112)
    turned = torch.tensor([[[38.0, 40.0], [74.0, 60.0]], [[50.0, 70.0], [68.0, 70.0]]])
    _, coverage = wear(faces, turned, pattern, shape, still(2))
    y, x = torch.meshgrid(torch.arange(112.0), torch.arange(112.0), indexing="ij")
    for cover, eyes in zip(coverage[:, 0], turned, strict=True):
        weight = cover / cover.sum()
        middle = torch.stack([(x * weight).sum(), (y * weight).sum()])
        assert float((middle - eyes.mean(0)).norm()) < 0.15 * float((eyes[1] - eyes[0]).norm())
    assert float(coverage[1].sum() / coverage[0].sum()) == pytest.approx((18 / 41.2) ** 2, rel=0.05)


def test_a_head_that_turns_away_narrows_its_glasses() -> None:
    shape, faces = GlassesShape(), torch.ones(1, 3, 112, 112)
    pattern = torch.zeros(3, *pattern_size(shape))
    _, straight = wear(faces, EYES, pattern, shape, still(1))
    _, aside = wear(faces, EYES, pattern, shape, replace(still(1), yaw=torch.tensor([0.8])))

    def width(coverage: Tensor) -> int:
        return int((coverage[0, 0].amax(0) > 0.5).sum())

    assert width(aside) < 0.85 * width(straight)


def test_poses_keep_to_their_limits() -> None:
    poses = draw_poses(200, PoseLimits(yaw_degrees=10, shift=0.1, light=0.2), torch.Generator().manual_seed(1))
    assert 0.1 < float(poses.yaw.abs().max()) <= 10 * torch.pi / 180
    assert float(poses.x.abs().max()) <= 0.1
    assert 0.8 <= float(poses.gain.min()) < float(poses.gain.max()) <= 1.2
    assert float(poses.roll.abs().max()) == 0


def red_or_blue(faces: Tensor) -> Tensor:
    """A face identifier with a weakness: person 1 where it is red around the eyes, 2 where blue, else 0."""
    region = faces[:, :, 40:70, 15:97].mean((2, 3))
    red, blue = region[:, 0] - region[:, 1], region[:, 2] - region[:, 1]
    return torch.stack([torch.full_like(red, 0.5), 12 * red, 12 * blue], 1)


def a_wearer() -> Photos:
    return Photos(torch.full((3, 3, 112, 112), 0.5), EYES.expand(3, 2, 2), 0)


@pytest.mark.parametrize("target", [1, 2])
def test_impersonation_makes_the_camera_see_the_target(target: int) -> None:
    told: list[float] = []
    crafted = craft_glasses(
        red_or_blue,
        a_wearer(),
        GlassesShape(),
        GlassesRecipe(target=target, iterations=60, stop_probability=0.8),
        report=lambda iteration, probability: told.append(probability),
    )
    assert crafted.reached
    assert crafted.probability >= 0.8
    assert told[-1] == crafted.probability
    assert crafted.iterations < 60
    assert 0 <= float(crafted.pattern.min()) <= float(crafted.pattern.max()) <= 1


def test_dodging_makes_the_camera_see_anybody_else() -> None:
    crafted = craft_glasses(
        red_or_blue, a_wearer(), GlassesShape(), GlassesRecipe(target=None, iterations=60, stop_probability=0.7)
    )
    worn, _ = wear(a_wearer().pixels, a_wearer().eyes, crafted.pattern, GlassesShape(), still(3))
    assert crafted.reached
    assert (red_or_blue(worn).argmax(1) != 0).all()


def test_crafting_stops_at_the_last_iteration_and_says_that_it_failed() -> None:
    crafted = craft_glasses(
        lambda faces: faces.mean((2, 3)) * 0, a_wearer(), GlassesShape(), GlassesRecipe(target=1, iterations=3)
    )
    assert (crafted.iterations, crafted.reached) == (3, False)


def test_the_same_seed_gives_the_same_glasses() -> None:
    recipe = GlassesRecipe(target=1, iterations=4, stop_probability=1.0)
    first, second = (craft_glasses(red_or_blue, a_wearer(), GlassesShape(), recipe).pattern for _ in range(2))
    assert torch.equal(first, second)
    other = craft_glasses(red_or_blue, a_wearer(), GlassesShape(), replace(recipe, seed=1)).pattern
    assert not torch.equal(first, other)
