"""Adversarial eyeglasses: Sharif et al., Accessorize to a Crime, CCS 2016.

The pattern of a frame is optimised so that a face identifier names somebody else (impersonation) or anybody else
(dodging): softmax loss over several photographs with small shifts, total variation, non-printability score.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from benchmarks.face_trials.worn import PATTERN_SCALE, PoseLimits, draw_poses, pattern_size, still, wear
from taintwatch_calibration.craft.engine import Outcome, Schedule, Step, optimise
from taintwatch_calibration.craft.losses import DEFAULT_PALETTE, non_printability, total_variation, wrong_or_wanted
from taintwatch_calibration.faces.glasses_shape import GlassesShape

__all__ = ["SMALL_SHIFTS", "Crafted", "GlassesRecipe", "Photos", "craft_glasses"]

_NEAR = 0.05  # with the shifts the probability is a little lower than without: from here on it is looked at

SMALL_SHIFTS = PoseLimits(roll_degrees=1.0, shift=0.02, scale=0.01, light=0.05)


@dataclass(frozen=True, slots=True)
class GlassesRecipe:
    """What is crafted, and when it is good enough."""

    target: int | None
    """The label to be seen (impersonation); None: any but the wearer's (dodging)."""
    iterations: int = 300
    stop_probability: float = 0.95
    """Stop once the target's mean probability reaches this, or the wearer's falls to 1 minus this."""
    learning_rate: float = 0.1
    smoothness: float = 0.1
    """Weight of the total variation."""
    printability: float = 0.1
    """Weight of the non-printability score; 0 leaves it out (a purely digital attack)."""
    limits: PoseLimits = SMALL_SHIFTS
    """Small movements of the glasses between photographs."""
    seed: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class Photos:
    """One wearer's aligned photographs."""

    pixels: Tensor
    """(N, 3, H, W), RGB in [0, 1]."""
    eyes: Tensor
    """(N, 2, 2): see `wear`."""
    label: int
    """Who it is."""


@dataclass(frozen=True, slots=True, eq=False)
class Crafted:
    """A pattern for a frame, and how it came about."""

    pattern: Tensor
    """(3, rows, columns) in [0, 1], RGB."""
    iterations: int
    probability: float
    """Mean probability of the target (dodging: of anybody else) on the photographs it was crafted on."""
    reached: bool
    """Whether that is the stop probability."""


def craft_glasses(
    model: Callable[[Tensor], Tensor],
    photos: Photos,
    shape: GlassesShape,
    recipe: GlassesRecipe,
    *,
    report: Callable[[int, float], None] | None = None,
) -> Crafted:
    """Craft with Adam. `model` maps RGB in [0, 1], (B, 3, H, W), to logits.

    `report` gets the iteration and the probability reached in it.
    """
    objective = _Worn(model, photos, shape, recipe, torch.tensor(DEFAULT_PALETTE))
    schedule = Schedule(
        recipe.iterations, recipe.learning_rate, "adam", decay="none", box="sigmoid",
        stop_at=recipe.stop_probability, stop_over=1, seed=recipe.seed,
    )  # fmt: skip
    steps = 0

    def reported(step: Step) -> None:
        nonlocal steps
        steps = step.iteration
        if report is not None:
            report(step.iteration, step.success)

    size = pattern_size(shape)
    pattern = optimise(objective, lambda generator: torch.rand(3, *size, generator=generator), schedule,
                       report=reported)  # fmt: skip
    probability = _as_worn(model, photos, pattern, shape, recipe.target)
    return Crafted(pattern, steps, probability, probability >= recipe.stop_probability)


class _Worn:
    """From a pattern (3, rows, columns) to the loss over all photographs with the glasses on; success: probability."""

    def __init__(
        self, model: Callable[[Tensor], Tensor], photos: Photos, shape: GlassesShape, recipe: GlassesRecipe,
        palette: Tensor,
    ) -> None:  # fmt: skip
        self._model, self._photos, self._shape, self._recipe, self._palette = model, photos, shape, recipe, palette
        self._inside = torch.from_numpy(shape.mask(PATTERN_SCALE) > 0).float()[None]  # (1, rows, columns)
        self._own = torch.full((len(photos.pixels),), photos.label)
        self._target = None if recipe.target is None else torch.full_like(self._own, recipe.target)

    def __call__(self, pattern: Tensor, generator: torch.Generator, progress: float) -> Outcome:
        recipe, photos = self._recipe, self._photos
        poses = draw_poses(len(photos.pixels), recipe.limits, generator)
        worn, _ = wear(photos.pixels, photos.eyes, pattern, self._shape, poses)
        logits = self._model(worn)
        loss = wrong_or_wanted(logits, self._own, self._target).mean()
        loss = loss + recipe.smoothness * total_variation(pattern, self._inside)
        if recipe.printability:
            loss = loss + recipe.printability * non_printability(pattern, self._palette, self._inside)
        probability = _probability(logits.detach(), photos.label, recipe.target)
        if probability >= recipe.stop_probability - _NEAR:
            probability = _as_worn(self._model, photos, pattern.detach(), self._shape, recipe.target)
        return Outcome(loss, min(probability, 1.0), worn.detach())


@torch.no_grad()
def _as_worn(
    model: Callable[[Tensor], Tensor], photos: Photos, pattern: Tensor, shape: GlassesShape, target: int | None
) -> float:
    worn, _ = wear(photos.pixels, photos.eyes, pattern, shape, still(len(photos.pixels)))
    return _probability(model(worn), photos.label, target)


def _probability(logits: Tensor, label: int, target: int | None) -> float:
    shares = logits.softmax(1)
    return float(1 - shares[:, label].mean() if target is None else shares[:, target].mean())
