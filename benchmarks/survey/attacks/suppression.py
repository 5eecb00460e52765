"""Dual Attention Suppression (Wang et al., CVPR 2021): a texture from which the network's attention is driven apart.

    min  L_d + lambda L_e
    L_d = 1/K sum over connected regions k of G_k / (N - N_k)       distraction of the model's attention
    L_e = |(beta E + 1) (T_adv - T_0)|^2                            evasion of the human's: the seed content stays

G_k is the attention in a region, N_k its cells of N, E the edges of the seed content T_0. No term names a label.
The paper wraps the texture around a car rendered in 3D; here it is what an object's surface shows in a photograph.
"""

from __future__ import annotations

import cv2
import numpy as np
import torch
from torch import Tensor

from benchmarks.survey.attacks.base import Attacked, Printed, Scale, show_pattern
from benchmarks.survey.attacks.features import attention
from benchmarks.survey.attacks.scrawls import smile
from benchmarks.survey.subject import Subject
from taintwatch_calibration.craft.engine import Outcome, Schedule, optimise
from taintwatch_calibration.craft.placement import Placement, apply_patterns
from taintwatch_calibration.craft.shapes import shape_mask

__all__ = ["distraction", "dual_attention", "evasion"]

SIDE = 64
PLACEMENT = Placement(((0.5, 0.72),), (0.36,), rotation_degrees=5.0, shift=0.03, scale=0.05, light=0.1)
_REGION = 0.3
"""Of the map's maximum: above it lie the regions."""


def distraction(saliency: Tensor) -> Tensor:
    """Return L_d of attention maps (B, h, w), (B,); a map of zeros has none.

    Regions lie above a share of each map's maximum. G_k is summed from the map as it is: over its own maximum it could
    not fade, and nothing would be suppressed.
    """
    return torch.stack([_of_one(each) for each in saliency])


def _of_one(share: Tensor) -> Tensor:
    inside = (share > _REGION * share.max()).detach().numpy().astype(np.uint8)
    count, numbers = cv2.connectedComponents(inside, connectivity=8)
    total = share.sum() * 0
    for region in range(1, count):
        mask = torch.from_numpy(numbers == region)
        total = total + (share * mask).sum() / max(1, share.numel() - int(mask.sum()))
    return total / max(1, count - 1)


def evasion(texture: Tensor, content: Tensor, edges: Tensor, beta: float = 8.0) -> Tensor:
    """Return L_e per value, a scalar: textures (3, h, w), edges (1, h, w) in {0, 1}."""
    return ((beta * edges + 1) * (texture - content)).square().mean()


def dual_attention(subject: Subject, scale: Scale, weight: float = 0.02) -> Attacked:
    """Craft one texture for all pictures; the attention that is driven apart is that of each picture's own label."""
    content, edges = smile(SIDE)
    mask = shape_mask("circle", SIDE)
    pictures = subject.to_craft_on()

    def objective(values: Tensor, generator: torch.Generator, progress: float) -> Outcome:
        rows = torch.randint(len(pictures), (16,), generator=generator)
        own = pictures.own[rows]
        laid, _ = apply_patterns(pictures.pixels[rows], values[None], mask[None], PLACEMENT, generator)
        inputs = subject.normalise(laid)
        saliency = attention(subject.model, inputs, own)
        loss = distraction(saliency).mean() + weight * evasion(values, content, edges)
        with torch.no_grad():
            success = float((subject.model(inputs).argmax(1) != own).float().mean())
        return Outcome(loss, success)

    schedule = Schedule(scale.of(150), 0.02, "adam", seed=scale.seed)
    texture = optimise(objective, lambda generator: content, schedule)
    return show_pattern(
        subject.to_attack(scale.pictures), Printed(texture, mask, PLACEMENT), target=None, seed=scale.seed,
        control=content, more={"texture_l2_from_seed": round(float((texture - content).norm()), 3)},
    )  # fmt: skip
