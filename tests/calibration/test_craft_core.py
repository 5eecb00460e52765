"""The loop, the losses and how patterns lie: what every attack is made of."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from taintwatch_calibration.craft.engine import Checkpoint, Outcome, Schedule, Step, optimise
from taintwatch_calibration.craft.losses import change_norm, lead, non_printability, total_variation, wrong_or_wanted
from taintwatch_calibration.craft.placement import Placement, apply_patterns, bent
from taintwatch_calibration.craft.shapes import glasses_mask, load_mask, shape_mask
from taintwatch_models.errors import UsageError

WANTED = torch.tensor([0.2, 0.7, 0.5])


def objective(values: Tensor, generator: torch.Generator, progress: float) -> Outcome:
    noise = torch.rand(3, generator=generator) * 0.01
    return Outcome((values - WANTED - noise).square().sum(), float((values - WANTED).abs().amax() < 0.1))


def start(generator: torch.Generator) -> Tensor:
    return torch.rand(3, generator=generator)


@pytest.mark.parametrize("schedule", [Schedule(80, 0.1), Schedule(80, 0.1, "adam"), Schedule(80, 0.1, "sgd")])
def test_every_rule_finds_the_minimum_and_stays_within_colours(schedule: Schedule) -> None:
    told: list[Step] = []
    values = optimise(objective, start, schedule, report=told.append)
    assert torch.allclose(values, WANTED, atol=0.06)
    assert [step.iteration for step in told] == list(range(1, 81))
    assert all(0 <= float(v) <= 1 for step in told for v in step.values)


def test_it_stops_once_ten_steps_have_succeeded() -> None:
    told: list[Step] = []
    optimise(objective, start, Schedule(500, 0.05, stop_at=1.0), report=told.append)
    assert len(told) < 200
    assert all(step.success == 1 for step in told[-10:])


def test_an_interrupted_run_goes_on_as_if_it_had_not_been(tmp_path: Path) -> None:
    schedule = Schedule(40, 0.1, seed=4)
    whole = optimise(objective, start, schedule)
    checkpoint = Checkpoint(tmp_path / "kept" / "run.pt", "this", every=10)

    def interrupt(step: Step) -> None:
        if step.iteration == 27:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        optimise(objective, start, schedule, report=interrupt, checkpoint=checkpoint)
    told: list[Step] = []
    resumed = optimise(objective, start, schedule, report=told.append, checkpoint=checkpoint)
    assert told[0].iteration == 21
    assert torch.equal(resumed, whole)


def test_another_runs_checkpoint_is_not_taken(tmp_path: Path) -> None:
    optimise(objective, start, Schedule(10), checkpoint=Checkpoint(tmp_path / "c.pt", "one", every=5))
    with pytest.raises(UsageError, match="other settings"):
        optimise(objective, start, Schedule(10), checkpoint=Checkpoint(tmp_path / "c.pt", "two", every=5))
    (tmp_path / "c.pt").write_bytes(b"not a checkpoint")
    with pytest.raises(UsageError, match="not a readable checkpoint"):
        optimise(objective, start, Schedule(10), checkpoint=Checkpoint(tmp_path / "c.pt", "one"))


def test_losses_fall_as_the_attack_succeeds() -> None:
    own, target = torch.tensor([0]), torch.tensor([1])
    weak, strong = torch.tensor([[5.0, 0.0, 0.0]]), torch.tensor([[0.0, 5.0, 0.0]])
    for loss in (wrong_or_wanted, lead):
        assert float(loss(strong, own, target)) < float(loss(weak, own, target))
        assert float(loss(strong, own, None)) < float(loss(weak, own, None))
    assert float(lead(torch.tensor([[0.0, 50.0, 0.0]]), own, target, enough=5)) == -5


def test_total_variation_is_sharifs_and_keeps_within_the_mask() -> None:
    pattern = torch.zeros(1, 3, 4, 4)
    pattern[..., 2:] = 1  # one step to the right in each of the upper three rows
    assert float(total_variation(pattern)) == pytest.approx(1 / 3, abs=1e-5)
    left = torch.zeros(1, 1, 4, 4)
    left[..., :2] = 1
    assert float(total_variation(pattern, left)) == pytest.approx(0, abs=1e-5)


def test_printable_colours_score_nothing_and_others_their_distance() -> None:
    palette = torch.tensor([[0.0, 0.0, 0.0], [1.0, 1.0, 1.0]])
    assert float(non_printability(torch.ones(3, 2, 2), palette)) == pytest.approx(0, abs=1e-5)
    red = torch.tensor([1.0, 0.0, 0.0]).view(3, 1, 1).expand(3, 2, 2)
    assert float(non_printability(red, palette)) == pytest.approx(1.0, abs=1e-4)
    assert float(non_printability(red, palette, rule="product")) == pytest.approx(2**0.5, abs=1e-4)


def test_the_norm_of_a_change_is_its_length_over_what_it_covers() -> None:
    before, laid, covered = torch.rand(2, 3, 6, 6), torch.rand(2, 3, 6, 6), torch.zeros(2, 1, 6, 6)
    covered[:, :, 1:3, 2:5] = 1.0
    laid = before * (1 - covered) + laid * covered
    for row in range(2):
        length = float((laid[row] - before[row]).square().sum().sqrt()) / (3 * 6) ** 0.5
        assert float(change_norm(before, laid, covered)[row]) == pytest.approx(length, rel=1e-5)
    white = before * (1 - covered) + covered
    assert float(change_norm(torch.zeros_like(before), white * covered, covered)[0]) == pytest.approx(1.0)


def test_several_patterns_lie_each_at_its_own_place() -> None:
    patterns = torch.stack([torch.ones(3, 8, 8), torch.full((3, 8, 8), 0.5)])
    placement = Placement(((0.0, 0.0), (1.0, 1.0)), (0.25,), rotation_degrees=0)
    shown, covered = apply_patterns(
        torch.zeros(1, 3, 64, 64), patterns, torch.ones(2, 1, 8, 8), placement, torch.Generator()
    )
    assert float(shown[0, 0, 8, 8]) == 1
    assert float(shown[0, 0, 56, 56]) == pytest.approx(0.5)
    assert float(covered.mean()) == pytest.approx(2 * 0.0625, abs=0.01)


def test_an_overlay_covers_an_oblong_picture_as_its_mask_says() -> None:
    mask = torch.zeros(1, 1, 20, 40)
    mask[..., :10, :20] = 1
    placement = Placement(sizes=(1.0,), rotation_degrees=0, overlay=True)
    _, covered = apply_patterns(torch.zeros(1, 3, 20, 40), torch.ones(1, 3, 20, 40), mask, placement, torch.Generator())
    assert torch.allclose(covered[0, 0, :9, :19], torch.ones(9, 19))
    assert float(covered[0, 0, 12:].max()) == 0


def test_a_bent_pattern_keeps_its_middle_and_curves_towards_its_ends() -> None:
    band = shape_mask("band", 64)
    flat = bent(torch.ones(3, 64, 64), band, torch.tensor([0.0]), torch.tensor([0.0]))[1][0, 0]
    curved = bent(torch.ones(3, 64, 64), band, torch.tensor([0.8]), torch.tensor([0.8]))[1][0, 0]
    assert torch.allclose(flat[:, 1:-1], band[0, :, 1:-1], atol=0.1)
    middle, end = (curved[:, column] > 0.5 for column in (32, 62))
    rows = torch.arange(64.0)
    assert abs(float(rows[middle].mean()) - 31.5) < 1
    assert float(rows[end].mean()) - 31.5 > 4


@pytest.mark.parametrize("bend", [0.0, 0.8])
def test_no_colour_from_outside_of_the_mask_shows_at_its_edge(bend: float) -> None:
    mask = shape_mask("star", 40)[None]
    pattern = torch.where(mask > 0, 0.25, 1.0).expand(1, 3, 40, 40)
    placement = Placement(sizes=(0.6,), rotation_degrees=20, bend=bend)
    shown, covered = apply_patterns(
        torch.zeros(4, 3, 64, 64), pattern, mask, placement, torch.Generator().manual_seed(0)
    )
    assert float(covered.max()) == pytest.approx(1.0)
    assert float(shown.max()) == pytest.approx(0.25, abs=1e-4)


@pytest.mark.parametrize(("shape", "low", "high"), [("star", 0.2, 0.4), ("lightning", 0.2, 0.5), ("band", 0.35, 0.45)])
def test_shapes_cover_their_share(shape: str, low: float, high: float) -> None:
    mask = shape_mask(shape, 60)
    assert set(mask.flatten().tolist()) == {0.0, 1.0}
    assert low < float(mask.mean()) < high


def test_glasses_lie_around_the_eyes_and_leave_them_free() -> None:
    mask = glasses_mask((112, 112), (0.31, 0.69, 0.41))[0]
    assert 0.03 < float(mask.mean()) < 0.2
    assert float(mask[round(0.41 * 112) + 2, round(0.31 * 112)]) == 0
    assert float(mask[:20].sum()) == float(mask[90:].sum()) == 0
    with pytest.raises(UsageError, match="LEFT < RIGHT"):
        glasses_mask((112, 112), (0.7, 0.3, 0.4))


def test_masks_that_cannot_be_are_said(tmp_path: Path) -> None:
    import cv2
    import numpy as np

    cv2.imwrite(str(tmp_path / "black.png"), np.zeros((9, 9), np.uint8))
    with pytest.raises(UsageError, match="the mask covers nothing"):
        load_mask(tmp_path / "black.png", (8, 8))
    with pytest.raises(UsageError, match="cannot be read"):
        load_mask(tmp_path / "none.png", (8, 8))
    with pytest.raises(UsageError, match="there is no shape 'moon'"):
        shape_mask("moon", 8)
