"""M-DI2-FGSM (Xie et al., Improving Transferability of Adversarial Examples with Input Diversity, CVPR 2019).

Iterative FGSM with momentum, whose every gradient is taken of the picture made smaller by a random factor and padded at
a random place with probability p. Settings as in the region papers: 20 steps of 2/255, eps 16/255, p 0.5. ART has the
momentum alone.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.survey.attacks.base import Attacked, Scale
from benchmarks.survey.subject import Subject, as_pixels
from taintwatch_calibration.craft.engine import Outcome, Schedule, optimise

__all__ = ["diverse_fgsm", "resized_and_padded"]

_SMALLEST = 0.9  # of the side; 299 of 331 in the paper


def resized_and_padded(pictures: Tensor, generator: torch.Generator) -> Tensor:
    """Return pictures (B, 3, S, S) at a random size of 0.9 S to S, padded with 0 to S at a random place."""
    side = pictures.shape[-1]
    size = int(torch.randint(int(_SMALLEST * side), side, (), generator=generator))
    small = F.interpolate(pictures, size=(size, size), mode="nearest")
    left, top = (int(torch.randint(0, side - size + 1, (), generator=generator)) for _ in range(2))
    return F.pad(small, (left, side - size - left, top, side - size - top))


def diverse_fgsm(subject: Subject, scale: Scale, eps: float = 16 / 255, probability: float = 0.5) -> Attacked:
    """Change each test picture by at most eps in each value, untargeted."""
    chosen = subject.to_attack(scale.pictures)

    def objective(values: Tensor, generator: torch.Generator, progress: float) -> Outcome:
        diverse = float(torch.rand((), generator=generator)) < probability
        paced = values * 1  # each picture's gradient over its own mean, as the paper has it
        paced.register_hook(lambda slope: slope / slope.abs().mean((1, 2, 3), keepdim=True).clamp_min(1e-20))
        logits = subject.logits(resized_and_padded(paced, generator) if diverse else paced)
        success = float((logits.argmax(1) != chosen.own).float().mean())
        loss = -F.cross_entropy(logits.double(), chosen.own, reduction="sum")  # float32's is 0 where it is sure
        return Outcome(loss, success)

    def within(values: Tensor) -> Tensor:
        return chosen.pixels + (values - chosen.pixels).clamp(-eps, eps)

    schedule = Schedule(scale.of(20), 2 / 255, "sign", momentum=1.0, decay="none", seed=scale.seed)
    made = optimise(objective, lambda generator: chosen.pixels, schedule, project=within)
    return Attacked(as_pixels(chosen.pixels), as_pixels(made), chosen.own)
