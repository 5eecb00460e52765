"""EAD (Chen et al., Elastic-Net Attacks to Deep Neural Networks, AAAI 2018), untargeted, by the EN rule.

    min c f(x) + |delta|_2^2 + beta |delta|_1,   f as Carlini and Wagner's

by FISTA: a step of the smooth part from y, then what moved by less than beta goes back to where it was and all else
moves back by beta (equation 5); y goes on with the momentum k / (k + 3). Of all steps the change of the smallest
elastic-net length that fools as whole 255ths is kept. In place of a search for c each picture has the best of three.

ART's asks for the gradient of every label of a batch by itself, in every step.
"""

from __future__ import annotations

import torch
from torch import Tensor

from benchmarks.survey.attacks.base import Attacked, Scale
from benchmarks.survey.attacks.carlini import Smallest
from benchmarks.survey.subject import Subject, as_pixels
from taintwatch_calibration.craft.attack_folder import whole
from taintwatch_calibration.craft.losses import lead

__all__ = ["elastic_net", "shrunk"]

_CONSTANTS, _STEP, _BETA = (1.0, 10.0, 100.0), 0.01, 1e-3


def shrunk(moved: Tensor, own: Tensor, beta: float = _BETA) -> Tensor:
    """Return equation 5's S_beta: values of `moved` nearer to `own` than beta go back, all others by beta."""
    change = moved - own
    return torch.where(
        change.abs() <= beta, own, torch.where(change > 0, (moved - beta).clamp_max(1), (moved + beta).clamp_min(0))
    )


def elastic_net(subject: Subject, scale: Scale) -> Attacked:
    """Change each test picture by as little, in as few values, as fools the network."""
    chosen = subject.to_attack(scale.share_of_pictures(0.5))
    own, best = chosen.pixels, Smallest(chosen.pixels)
    steps = scale.of(100)
    for constant in _CONSTANTS:
        at = behind = own
        for step in range(steps):
            leaf = at.clone().requires_grad_(True)
            smooth = constant * lead(subject.logits(leaf), chosen.own, None, enough=0.0)
            (slope,) = torch.autograd.grad((smooth + (leaf - own).flatten(1).square().sum(1)).sum(), leaf)
            values = shrunk(at - _STEP * (1 - step / steps) ** 0.5 * slope, own)
            at, behind = (values + step / (step + 3) * (values - behind)).clamp(0, 1), values
            change = (values - own).flatten(1)
            with torch.no_grad():
                fooled = subject.logits(whole(values)).argmax(1) != chosen.own
            best.take(values, change.square().sum(1) + _BETA * change.abs().sum(1), fooled)
    return Attacked(as_pixels(own), as_pixels(best.made), chosen.own, more={"beta": _BETA, "constants": [*_CONSTANTS]})
