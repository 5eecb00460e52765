"""The region attacks of two papers as they print them: FCRs (binary mask, ICLR 2021 submission) and CFRs (soft mask).

Grad-CAM's map L of the true class, cut at a share of its maximum, is where a picture X is changed: X' = X + delta * M.
FCRs ("003") minimise 1 / (beta / |delta| - log(S / T)), CFRs ("000") 1 / (beta / |delta * M| - log(S) / T), by plain
SGD over N steps with no stop at success; S is the softmax's share of the true class. `craft/region.py` has our own.

Read to the letter CFRs' mask sums to 1 over the picture, so that its peak is about 1e-4 at 224 x 224, and delta is
multiplied by it in every step: the change goes to nothing. `Reading` names that and the readings that work.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from taintwatch_calibration.craft.attack_folder import whole
from taintwatch_calibration.craft.engine import Outcome, Schedule, Step, optimise
from taintwatch_calibration.craft.physical import Model, Pictures, normaliser
from taintwatch_calibration.craft.region import Regions, soft_mask
from taintwatch_models.errors import UsageError
from taintwatch_models.preprocessing import Preprocessing

__all__ = ["READINGS", "PublishedRecipe", "Reading", "published_loss", "published_mask", "published_region_attack"]

_LEAST_LENGTH = 1e-12


@dataclass(frozen=True, slots=True)
class Reading:
    """What of the papers' text is taken how."""

    mask: Literal["binary", "sum", "maximum"]
    """1 in the region (FCRs); L over its sum (CFRs to the letter), or over its maximum."""
    loss: Literal["shifted", "scaled"]
    """-log(S / T) (FCRs: T only shifts it, which changes the pace), or -log(S) / T (CFRs)."""
    each_step: bool
    """Whether delta is multiplied by the mask after every step, as printed; it makes no difference to a binary one."""


READINGS: dict[str, Reading] = {
    "003": Reading("binary", "shifted", each_step=True),
    "000": Reading("maximum", "scaled", each_step=True),
    "000-literal": Reading("sum", "scaled", each_step=True),
    "000-once": Reading("maximum", "scaled", each_step=False),
    "003-scaled": Reading("binary", "scaled", each_step=True),
}
"""By name: each paper in the reading that works, CFRs to the letter, and what lies between the two."""


@dataclass(frozen=True, slots=True)
class PublishedRecipe:
    """The papers' settings; the defaults are those for ILSVRC2012."""

    reading: str = "003"
    """One of `READINGS`."""
    step: float = 20.0
    """eta, LR: 20 for ILSVRC2012, 10 for CIFAR-10."""
    iterations: int = 20
    """N: 20, 30 in the study of hyper-parameters."""
    beta: float = 1.0
    threshold: float = 0.2
    """t, tau: of L's maximum."""
    temperature: float = 0.05
    """T: 0.05 (FCRs, ILSVRC2012), 0.03 (FCRs, CIFAR-10), 0.1 (CFRs)."""
    start: float = 0.1
    """Deviation of the Gaussian noise that delta starts as; how it starts is not said, at 0 there is no slope."""
    batch: int = 16
    seed: int = 0

    def __post_init__(self) -> None:
        """Raises `UsageError` for what cannot be."""
        if self.reading not in READINGS:
            raise UsageError(
                f"there is no published region attack {self.reading!r}; choose one of {', '.join(READINGS)}"
            )
        if not 0 <= self.threshold < 1:
            raise UsageError(f"the region's threshold must be from 0 to below 1, not {self.threshold:g}")
        if min(self.step, self.beta, self.temperature, self.start) <= 0 or min(self.iterations, self.batch) < 1:
            raise UsageError("step, beta, temperature, start, iterations and batch must all be above 0")


def published_mask(model: Model, inputs: Tensor, own: Tensor, threshold: float, kind: str) -> Tensor:
    """Return the papers' mask of `own`, (B, 1, H, W): see `Reading.mask`."""
    share = soft_mask(model, inputs, own, threshold)
    if kind == "binary":
        return (share > 0).to(share)
    return share / share.sum((1, 2, 3), keepdim=True) if kind == "sum" else share


def published_loss(logits: Tensor, own: Tensor, length: Tensor, recipe: PublishedRecipe) -> Tensor:
    """Return 1 / (beta / length + J'), (B,): what is minimised. `length` (B,) is the change's Euclidean length."""
    away = F.cross_entropy(logits.double(), own, reduction="none")  # -log S; float32 would be 0 where S is near 1
    if READINGS[recipe.reading].loss == "scaled":
        away = away / recipe.temperature
    else:
        away = away + torch.log(torch.tensor(recipe.temperature, dtype=torch.float64))
    return 1 / (recipe.beta / length.double().clamp_min(_LEAST_LENGTH) + away)


def published_region_attack(
    model: Model,
    pictures: Pictures,
    preprocessing: Preprocessing,
    recipe: PublishedRecipe,
    *,
    report: Callable[[Step], None] | None = None,
) -> Regions:
    """Attack every picture by itself; success is counted on whole 255ths. `report` gets each step over all batches.

    Raises `UsageError` where there is none.
    """
    if not len(pictures):
        raise UsageError("there is no picture to attack: the classifier gets none right")
    made = []
    for start in range(0, len(pictures), recipe.batch):
        rows = slice(start, start + recipe.batch)
        part = Pictures(pictures.pixels[rows], pictures.own[rows])

        def counted(step: Step, before: int = start // recipe.batch * recipe.iterations) -> None:
            if report is not None:
                report(replace(step, iteration=before + step.iteration))

        made.append(_attack(model, part, preprocessing, recipe, counted))
    return Regions(*(torch.cat([getattr(part, name) for part in made]) for name in ("pixels", "masks", "success")))


def _attack(
    model: Model, part: Pictures, preprocessing: Preprocessing, recipe: PublishedRecipe, report: Callable[[Step], None]
) -> Regions:
    """The engine's values are (1 + delta) / 2: a change in [-1, 1] is all that a picture can take."""
    normalise, reading = normaliser(preprocessing, part.pixels.device), READINGS[recipe.reading]
    mask = published_mask(model, normalise(part.pixels), part.own, recipe.threshold, reading.mask)

    def objective(values: Tensor, generator: torch.Generator, progress: float) -> Outcome:
        delta = 2 * values - 1
        shown = (part.pixels + delta * mask).clamp(0, 1)
        logits = model.head(model.maps(normalise(shown)))
        loss = published_loss(logits, part.own, (delta * mask).flatten(1).norm(dim=1), recipe).sum()
        return Outcome(loss, float((logits.argmax(1) != part.own).float().mean()), shown.detach())

    def start(generator: torch.Generator) -> Tensor:
        noise = torch.randn(part.pixels.shape, generator=generator).to(part.pixels) * recipe.start
        return ((1 + noise * (mask > 0)) / 2).clamp(0, 1)

    # A step of eta in delta is one of eta / 4 in the values.
    schedule = Schedule(recipe.iterations, recipe.step / 4, "sgd", momentum=0.0, decay="none", seed=recipe.seed)
    project = (lambda values: (1 + (2 * values - 1) * mask) / 2) if reading.each_step else None
    values = optimise(objective, start, schedule, report=report, project=project)
    with torch.no_grad():
        made = whole(part.pixels + (2 * values - 1) * mask)
        fooled = model.head(model.maps(normalise(made))).argmax(1) != part.own
    return Regions(made, mask, fooled)
