"""A patch is laid where it should lie, and crafting makes a classifier see its target."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from taintwatch_calibration.craft.engine import Schedule, Step
from taintwatch_calibration.craft.physical import Pattern, craft_patterns, label_pictures, normaliser
from taintwatch_calibration.craft.placement import Placement, PlacementBatch, apply_patch, apply_patterns
from taintwatch_calibration.craft.shapes import shape_mask
from taintwatch_models.preprocessing import Preprocessing


def place(x: float, y: float, size: float, degrees: float = 0.0) -> PlacementBatch:
    return PlacementBatch(*(torch.tensor([v]) for v in (x, y, size, math.radians(degrees))))


def test_an_upright_patch_covers_its_square_and_nothing_else() -> None:
    images = torch.zeros(1, 3, 100, 100)
    laid, coverage = apply_patch(images, torch.ones(3, 20, 20), shape_mask("square", 20), place(0.4, -0.2, 0.3))
    box = coverage[0, 0] > 0.5
    rows, columns = torch.where(box.any(1))[0], torch.where(box.any(0))[0]
    assert (int(columns[0]), int(columns[-1]) + 1) == (55, 85)  # centre 0.7 of the width, 0.3 wide
    assert (int(rows[0]), int(rows[-1]) + 1) == (25, 55)
    assert torch.equal(laid[0, :, 40, 70], torch.ones(3))
    assert laid[0, :, 60, 70].sum() == 0


def test_a_turned_patch_keeps_its_area_and_its_colours() -> None:
    patch = torch.zeros(3, 40, 40)
    patch[0] = 1
    _, upright = apply_patch(torch.zeros(1, 3, 120, 120), patch, shape_mask("square", 40), place(0, 0, 0.4))
    laid, turned = apply_patch(torch.zeros(1, 3, 120, 120), patch, shape_mask("square", 40), place(0, 0, 0.4, 30))
    assert abs(float(turned.sum() / upright.sum()) - 1) < 0.02
    assert float(laid[0, 1:].abs().max()) == 0.0


def test_a_circle_leaves_the_corners_free() -> None:
    mask = shape_mask("circle", 51)
    assert mask[0, 25, 25] == 1
    assert mask[0, 0, 0] == 0
    assert abs(float(mask.mean()) - math.pi / 4) < 0.04


def test_a_patch_anywhere_lies_inside_the_picture_in_each_of_its_sizes() -> None:
    pattern, mask = torch.ones(1, 3, 20, 20), torch.ones(1, 1, 20, 20)
    placement = Placement(sizes=(0.2, 0.4), rotation_degrees=0.0)
    _, covered = apply_patterns(torch.zeros(64, 3, 50, 50), pattern, mask, placement, torch.Generator().manual_seed(0))
    areas = covered.sum((1, 2, 3)).round().tolist()
    assert {round(area / 100) for area in areas} == {1, 4}  # 10 x 10 and 20 x 20 pixels, never cut off


class Blueness(nn.Module):
    """Class 1 where there is more blue than red."""

    def maps(self, x: Tensor) -> Tensor:
        return x

    def head(self, x: Tensor) -> Tensor:
        means = x.mean((2, 3))
        return torch.stack([means[:, 0], means[:, 2]], 1) * 20


def test_crafting_finds_what_the_classifier_reacts_to_and_reports_on_the_way() -> None:
    pixels = torch.rand(12, 3, 32, 32) * 0.3
    pixels[:, 0] += 0.4  # reddish: class 0
    preprocessing = Preprocessing((32, 32), mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
    told: list[Step] = []
    pictures = label_pictures(Blueness(), pixels, preprocessing)
    pattern, schedule = Pattern(1, Placement(sizes=(0.6,)), batch=8), Schedule(60, 0.2, "adam", box="sigmoid")
    mask = shape_mask("square", 16)[None]
    patch = craft_patterns(Blueness(), pictures, preprocessing, mask, pattern, schedule, report=told.append)[0]
    assert pictures.own.tolist() == [0] * 12
    assert patch.shape == (3, 16, 16)
    assert float(patch.min()) >= 0
    assert float(patch.max()) <= 1
    assert float(patch[2].mean()) > float(patch[0].mean()) + 0.5
    assert [step.iteration for step in told] == list(range(1, 61))
    assert told[-1].success == 1.0


def test_the_same_seed_crafts_the_same_patch() -> None:
    pixels = torch.rand(4, 3, 16, 16)
    pattern, schedule, size = Pattern(1, Placement(sizes=(0.5,)), batch=4), Schedule(5, seed=3), Preprocessing((16, 16))
    pictures, mask = label_pictures(Blueness(), pixels, size), shape_mask("square", 8)[None]
    first, second = (craft_patterns(Blueness(), pictures, size, mask, pattern, schedule) for _ in range(2))
    assert torch.equal(first, second)


def test_torch_and_numpy_normalise_alike() -> None:
    preprocessing = Preprocessing((4, 4), order="bgr", mean=(0.1, 0.2, 0.3), std=(0.4, 0.5, 0.6))
    rgb = torch.rand(2, 3, 4, 4)
    own = preprocessing.normalise((rgb.permute(0, 2, 3, 1).numpy() * 255)[..., ::-1])
    assert torch.allclose(normaliser(preprocessing)(rgb), torch.from_numpy(own), atol=1e-5)
