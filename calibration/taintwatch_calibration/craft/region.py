"""The contributing-feature-region attack: for each picture a faint change of just the region that its label rests on.

Grad-CAM's map of the label, where it exceeds a threshold, is a soft mask; the change is optimised by SGD on
`|mask * change|^2 + beta / cross-entropy(inverse temperature * logits)`: the inverted objective grows steep near the
original label and flat far from it. Written from the method's description (Grad-CAM soft mask, inverse temperature T,
beta, inverted objective, SGD); where it left room, this is our reading.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from taintwatch_calibration.craft.engine import Outcome, Schedule, Step, optimise
from taintwatch_calibration.craft.physical import Model, Pictures, normaliser
from taintwatch_models.errors import UsageError
from taintwatch_models.preprocessing import Preprocessing

__all__ = ["RegionRecipe", "Regions", "region_attack", "soft_mask"]


@dataclass(frozen=True, slots=True)
class RegionRecipe:
    """How each picture is changed."""

    threshold: float = 0.2
    """Of the map's maximum: what lies below is left alone."""
    inverse_temperature: float = 1.0
    """T: multiplies the logits; below 1 the cross-entropy still has a slope where the classifier is very sure."""
    beta: float = 10.0
    """Weight of fooling against staying faint: a change grows to a length of about half of it, if need be."""
    iterations: int = 100
    step: float = 0.01
    """SGD's learning rate at first; it falls as a cosine."""
    batch: int = 16
    seed: int = 0

    def __post_init__(self) -> None:
        """Raises `UsageError` for what cannot be."""
        if not 0 <= self.threshold < 1:
            raise UsageError(f"the region's threshold must be from 0 to below 1, not {self.threshold:g}")
        if min(self.inverse_temperature, self.beta, self.step) <= 0 or min(self.iterations, self.batch) < 1:
            raise UsageError("inverse temperature, beta, step, iterations and batch must all be above 0")


@dataclass(frozen=True, slots=True, eq=False)
class Regions:
    """What came out, for each picture."""

    pixels: Tensor
    """(N, 3, H, W), RGB in [0, 1], whole 255ths."""
    masks: Tensor
    """(N, 1, H, W) in [0, 1]."""
    success: Tensor
    """(N,) bool: the label is no longer the picture's own."""


def soft_mask(model: Model, inputs: Tensor, own: Tensor, threshold: float) -> Tensor:
    """Return Grad-CAM's map of `own` over its maximum, 0 below `threshold`: (B, 1, H, W) in [0, 1].

    Where Grad-CAM finds nothing, the mask is 1 everywhere: some region must be changed.
    """
    maps = model.maps(inputs).detach().requires_grad_(True)
    score = model.head(maps).gather(1, own[:, None]).sum()
    (gradient,) = torch.autograd.grad(score, maps)
    saliency = F.relu((gradient.mean((2, 3), keepdim=True) * maps.detach()).sum(1, keepdim=True))
    large = F.interpolate(saliency, size=inputs.shape[2:], mode="bilinear", align_corners=False)
    top = large.amax((1, 2, 3), keepdim=True)
    share = torch.where(top > 0, large / top.clamp_min(1e-12), torch.ones_like(large))
    return share * (share >= threshold)


def region_attack(
    model: Model,
    pictures: Pictures,
    preprocessing: Preprocessing,
    recipe: RegionRecipe,
    *,
    report: Callable[[Step], None] | None = None,
) -> Regions:
    """Attack every picture by itself. `report` is told each step, counted over all batches.

    Raises `UsageError` where there is none.
    """
    if not len(pictures):
        raise UsageError("there is no picture to attack: the classifier gets none right")
    normalise = normaliser(preprocessing, pictures.pixels.device)
    made = []
    for start in range(0, len(pictures), recipe.batch):
        rows = slice(start, start + recipe.batch)
        part = Pictures(pictures.pixels[rows], pictures.own[rows])

        def on_step(step: Step, before: int = start // recipe.batch * recipe.iterations) -> None:
            if report is not None:
                report(replace(step, iteration=before + step.iteration))

        made.append(_batch(model, part, normalise, recipe, on_step))
    return Regions(*(torch.cat([getattr(part, name) for part in made]) for name in ("pixels", "masks", "success")))


def _batch(
    model: Model,
    part: Pictures,
    normalise: Callable[[Tensor], Tensor],
    recipe: RegionRecipe,
    on_step: Callable[[Step], None],
) -> Regions:
    masks = soft_mask(model, normalise(part.pixels), part.own, recipe.threshold)
    best = _Best(part)

    def objective(values: Tensor, generator: torch.Generator, progress: float) -> Outcome:
        change = (values - 0.5) * 2 * masks  # values 0.5 are no change
        shown = (part.pixels + _pushed(change, recipe.beta)).clamp(0, 1)
        # What is kept must be whole 255ths; the slope goes through the rounding.
        whole = shown + ((shown * 255).round() / 255 - shown).detach()
        logits = model.head(model.maps(normalise(whole)))
        # float64: where the classifier is sure, float32's cross-entropy is 0 and has no slope
        away = F.cross_entropy(recipe.inverse_temperature * logits.double(), part.own, reduction="none")
        faint = change.square().flatten(1).sum(1)
        fooled = logits.argmax(1) != part.own
        best.keep(whole.detach(), fooled, faint.detach())
        # A picture that is fooled only grows fainter; one that is not is pushed as well.
        loss = (faint + recipe.beta * torch.where(fooled, 0.0, 1.0) / away.clamp_min(1e-12)).sum()
        return Outcome(loss, float(best.success.float().mean()), best.pixels)

    schedule = Schedule(recipe.iterations, recipe.step, "sgd", momentum=0.0, seed=recipe.seed)
    optimise(objective, lambda generator: torch.full_like(part.pixels, 0.5), schedule, report=on_step)
    return Regions(best.pixels, masks, best.success)


def _pushed(change: Tensor, length: float) -> Tensor:
    """Return `change`; backwards, each picture's gradient is brought to `length` (none stays none).

    The inverted objective is so steep near the original label that plain SGD would jump out of the picture, and so flat
    where several labels are close that it would stop before the border: its direction is followed at one pace.
    """

    def paced(gradient: Tensor) -> Tensor:
        found = gradient.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
        made: Tensor = torch.where(found > 0, gradient * (length / found.clamp_min(1e-30)), 0.0)
        return made

    through = change.clone()
    through.register_hook(paced)
    return through


class _Best:
    """The faintest change so far that fools, for each picture; its original until there is one."""

    def __init__(self, part: Pictures) -> None:
        self.pixels = part.pixels.clone()
        self.success = torch.zeros(len(part), dtype=torch.bool, device=part.pixels.device)
        self._size = torch.full((len(part),), torch.inf, device=part.pixels.device)

    def keep(self, shown: Tensor, fooled: Tensor, size: Tensor) -> None:
        better = fooled & (size < self._size)
        self.pixels = torch.where(better.view(-1, 1, 1, 1), shown, self.pixels)
        self._size = torch.where(better, size, self._size)
        self.success = self.success | fooled
