"""Carlini and Wagner's l2 attack (Towards Evaluating the Robustness of Neural Networks, S&P 2017), untargeted.

    min |delta|_2^2 + c f(x + delta),   f = max(Z_own - max of the others, -kappa),   x + delta = (tanh w + 1) / 2

by Adam on w; of all steps the smallest change that fools as whole 255ths is kept. ART's has a line search in place of
Adam, up to ten forwards a step. The constant is not searched for: c = 1, as in the region papers.
"""

from __future__ import annotations

import torch
from torch import Tensor

from benchmarks.survey.attacks.base import Attacked, Scale
from benchmarks.survey.subject import Subject, as_pixels
from taintwatch_calibration.craft.attack_folder import whole
from taintwatch_calibration.craft.engine import Outcome, Schedule, optimise
from taintwatch_calibration.craft.losses import lead

__all__ = ["Smallest", "carlini_l2"]


class Smallest:
    """The smallest change so far that fools, for each picture; the last one where none does."""

    def __init__(self, pictures: Tensor) -> None:
        self.made = pictures.clone()
        self.length = torch.full((len(pictures),), torch.inf)

    def take(self, values: Tensor, length: Tensor, fooled: Tensor) -> None:
        """Keep what is better of (B, 3, H, W), with its squared length and whether it fools, (B,)."""
        better = torch.where(fooled, length < self.length, torch.isinf(self.length))
        self.made[better] = values.detach()[better]
        self.length = torch.where(fooled & better, length.detach(), self.length)


def carlini_l2(subject: Subject, scale: Scale, constant: float = 1.0, kappa: float = 0.0) -> Attacked:
    """Change each test picture by as little as fools the network."""
    chosen = subject.to_attack(scale.pictures)
    best = Smallest(chosen.pixels)

    def objective(values: Tensor, generator: torch.Generator, progress: float) -> Outcome:
        logits = subject.logits(values)
        length = (values - chosen.pixels).flatten(1).square().sum(1)
        with torch.no_grad():
            fooled = subject.logits(whole(values)).argmax(1) != chosen.own
        best.take(values, length, fooled)
        loss = (length + constant * lead(logits, chosen.own, None, enough=kappa)).sum()
        return Outcome(loss, float(fooled.float().mean()))

    schedule = Schedule(scale.of(150), 0.01, "adam", decay="none", box="sigmoid", seed=scale.seed)
    optimise(objective, lambda generator: chosen.pixels, schedule)
    return Attacked(as_pixels(chosen.pixels), as_pixels(best.made), chosen.own)
