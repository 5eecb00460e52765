"""The region attacks as two papers print them: each equation against one written out by hand."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from taintwatch_calibration.craft.measurement import faintness
from taintwatch_calibration.craft.physical import Pictures, normaliser
from taintwatch_calibration.craft.published_region import (
    READINGS,
    PublishedRecipe,
    published_loss,
    published_mask,
    published_region_attack,
)
from taintwatch_models.errors import UsageError
from taintwatch_models.preprocessing import Preprocessing

SIZE = Preprocessing((16, 16))


class Toy(nn.Module):
    """Four channels of maps from random weights, then pooled and linear: three classes."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(5)
        self.convolution, self.linear = nn.Conv2d(3, 4, 3, 2, 1), nn.Linear(4, 3)

    def maps(self, x: Tensor) -> Tensor:
        return torch.relu(self.convolution(x))

    def head(self, maps: Tensor) -> Tensor:
        logits: Tensor = self.linear(maps.mean((2, 3))) * 4
        return logits


def scene(count: int = 3) -> tuple[Toy, Pictures]:
    model = Toy()
    pixels = torch.rand(count, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    return model, Pictures(pixels, model.head(model.maps(normaliser(SIZE)(pixels))).argmax(1))


@pytest.mark.parametrize(
    ("reading", "away"), [("003", lambda s, t: -math.log(s / t)), ("000", lambda s, t: -math.log(s) / t)]
)
def test_the_loss_is_the_papers_inverse(reading: str, away: Callable[[float, float], float]) -> None:
    logits, length = torch.tensor([[2.0, 0.5, -1.0]]), torch.tensor([0.7])
    recipe = PublishedRecipe(reading, beta=1.3, temperature=0.2)
    share = float(logits.softmax(1)[0, 0])
    expected = 1 / (1.3 / 0.7 + away(share, 0.2))
    assert float(published_loss(logits, torch.tensor([0]), length, recipe)) == pytest.approx(expected)


def test_the_masks_are_one_in_the_region_or_sum_to_one_or_peak_at_one() -> None:
    model, pictures = scene()
    inputs = normaliser(SIZE)(pictures.pixels)
    masks = {kind: published_mask(model, inputs, pictures.own, 0.2, kind) for kind in ("binary", "sum", "maximum")}
    assert set(masks["binary"].flatten().tolist()) <= {0.0, 1.0}
    assert masks["sum"].sum((1, 2, 3)).tolist() == pytest.approx([1.0] * 3)
    assert masks["maximum"].amax((1, 2, 3)).tolist() == pytest.approx([1.0] * 3)
    assert torch.equal(masks["sum"] > 0, masks["binary"] > 0)
    assert float(masks["maximum"][masks["maximum"] > 0].min()) >= 0.2


@pytest.mark.parametrize("reading", list(READINGS))
def test_the_steps_are_those_of_the_printed_algorithm(reading: str) -> None:
    model, pictures = scene(1)
    recipe = PublishedRecipe(reading, step=0.02, iterations=4, temperature=0.5, start=0.1, batch=1, seed=3)
    made = published_region_attack(model, pictures, SIZE, recipe)
    # By hand: delta <- (delta - eta * d(1/J)/d delta) * M, plainly.
    normalise, mask = normaliser(SIZE), made.masks
    noise = torch.randn(pictures.pixels.shape, generator=torch.Generator().manual_seed(3)) * 0.1
    delta = noise * (mask > 0)
    for _ in range(4):
        delta = delta.detach().requires_grad_(True)
        shown = (pictures.pixels + delta * mask).clamp(0, 1)
        logits = model.head(model.maps(normalise(shown)))
        loss = published_loss(logits, pictures.own, (delta * mask).flatten(1).norm(dim=1), recipe).sum()
        (gradient,) = torch.autograd.grad(loss, delta)
        delta = (delta - 0.02 * gradient).clamp(-1, 1)
        if READINGS[reading].each_step:
            delta = delta * mask
    expected = ((pictures.pixels + delta.detach() * mask).clamp(0, 1) * 255).round() / 255
    assert torch.allclose(made.pixels, expected, atol=1.01 / 255)
    assert float((made.pixels - expected).abs().mean()) < 1e-4


def test_read_to_the_letter_the_soft_mask_changes_nothing_and_the_binary_one_only_the_region() -> None:
    model, pictures = scene(6)
    made = {name: published_region_attack(model, pictures, SIZE, PublishedRecipe(name, step=20, temperature=0.1))
            for name in ("003", "000-literal")}  # fmt: skip
    assert not bool(made["000-literal"].success.any())
    assert float((made["000-literal"].pixels - pictures.pixels).abs().max()) <= 1 / 255

    assert bool(((made["003"].pixels - pictures.pixels).abs() * (made["003"].masks == 0) <= 0.51 / 255).all())


def test_settings_that_cannot_be_are_refused() -> None:
    with pytest.raises(UsageError, match="no published region attack '001'"):
        PublishedRecipe("001")
    with pytest.raises(UsageError, match="must all be above 0"):
        PublishedRecipe(temperature=0)


def test_faintness_counts_every_norm_and_both_peaks() -> None:
    before = torch.full((1, 3, 16, 16), 0.5)
    after = before.clone()
    after[0, 0, :2] += 0.25  # 32 values
    faint = faintness(before, after)
    assert faint.l0 == 32
    assert faint.l1 == pytest.approx(8.0)
    assert faint.l2 == pytest.approx(math.sqrt(32 * 0.0625))
    assert faint.psnr == pytest.approx(-10 * math.log10(32 * 0.0625 / 768))
    assert faint.psnr_255 - faint.psnr == pytest.approx(48.13, abs=0.01)
    noise = (torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(0)) - 0.5) * 0.2
    ramp = torch.linspace(0.2, 0.8, 16).expand(1, 3, 16, 16)
    noisy = faintness(ramp, ramp + noise)
    assert noisy.ssim_global > noisy.ssim
    assert faintness(ramp, ramp).ssim_global == pytest.approx(1.0)
