"""Black-box glasses by a particle swarm (Sharif et al., Accessorize to a Crime, CCS 2016, section 8).

The attacker asks for class probabilities and gets no gradient. A swarm of colourings moves by

    v <- w v + c1 r1 (own best - x) + c2 r2 (swarm's best - x),   x <- x + v

(Eberhart and Kennedy, 1995) and is judged by the white box's cost: softmax loss + total variation.
The colouring is a coarse grid enlarged to the frame, so that the swarm's space has a few hundred dimensions; the paper
starts from the best of its earlier solutions, here all particles start at random.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.survey.attacks.base import Attacked, Printed, Scale
from benchmarks.survey.subject import Subject, as_pixels
from taintwatch_calibration.craft.losses import total_variation, wrong_or_wanted
from taintwatch_calibration.craft.placement import Placement
from taintwatch_calibration.craft.shapes import glasses_mask

__all__ = ["Swarm", "fly", "swarm_glasses"]

_GRID = (6, 12)
PLACEMENT = Placement(sizes=(1.0,), rotation_degrees=0.0, overlay=True)


@dataclass(frozen=True, slots=True)
class Swarm:
    """The swarm's size and pace (Clerc and Kennedy's constriction values)."""

    particles: int = 25
    inertia: float = 0.73
    own: float = 1.5
    shared: float = 1.5
    fastest: float = 0.25


def fly(
    cost: Callable[[Tensor], Tensor], shape: tuple[int, ...], steps: int, swarm: Swarm, seed: int
) -> tuple[Tensor, list[float]]:
    """Minimise `cost`, from particles (P, *shape) in [0, 1] to (P,), without gradients.

    Returns the best position and the best cost after each step: `steps` + 1 of them, never rising.
    """
    generator = torch.Generator().manual_seed(seed)
    places = torch.rand(swarm.particles, *shape, generator=generator)
    speeds = 0.2 * (torch.rand(places.shape, generator=generator) - 0.5)
    best, lowest = places.clone(), cost(places)
    history = [float(lowest.min())]
    for _ in range(steps):
        first, second = (torch.rand(places.shape, generator=generator) for _ in range(2))
        leader = best[lowest.argmin()]
        speeds = (
            swarm.inertia * speeds + swarm.own * first * (best - places) + swarm.shared * second * (leader - places)
        )
        places = (places + speeds.clamp(-swarm.fastest, swarm.fastest)).clamp(0, 1)
        found = cost(places)
        better = found < lowest
        best[better], lowest = places[better], torch.minimum(found, lowest)
        history.append(float(lowest.min()))
    return best[lowest.argmin()], history


def swarm_glasses(subject: Subject, scale: Scale) -> Attacked:
    """Give each of the pictures glasses of its own, dodging: any label but the wearer's."""
    swarm, chosen = Swarm(), subject.to_attack(scale.share_of_pictures(0.5))
    mask = glasses_mask(subject.preprocessing.size, (0.34, 0.66, 0.46))
    made, queries = [], []
    for index in range(len(chosen)):
        picture, own = chosen.pixels[index], chosen.own[index : index + 1]

        def wear(grid: Tensor, picture: Tensor = picture) -> Tensor:
            large = F.interpolate(grid, size=picture.shape[1:], mode="bilinear", align_corners=False)
            return picture * (1 - mask) + large * mask

        @torch.no_grad()
        def cost(grid: Tensor, own: Tensor = own, wear: Callable[[Tensor], Tensor] = wear) -> Tensor:
            loss = wrong_or_wanted(subject.logits(wear(grid)), own.expand(len(grid)), None)
            return loss + 0.1 * torch.stack([total_variation(one) for one in grid])

        best, history = fly(cost, (3, *_GRID), scale.of(40), swarm, scale.seed + index)
        made.append(wear(best[None])[0])
        queries.append(swarm.particles * len(history))
    grey = chosen.pixels * (1 - mask) + 0.5 * mask
    printed = Printed(made[0], mask, PLACEMENT)
    return Attacked(
        as_pixels(chosen.pixels), as_pixels(torch.stack(made)), chosen.own, None, printed, as_pixels(grey),
        {"queries_per_picture": int(np.mean(queries))},
    )  # fmt: skip
