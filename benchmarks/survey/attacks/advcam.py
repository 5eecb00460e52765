"""AdvCam (Duan et al., Adversarial Camouflage, CVPR 2020): a worn look that fools, a picture at a time.

    min  style + content + smoothness + lambda adversarial,   adversarial over transformations

Style is the squared distance of Gram matrices to those of weathered paint, content that of the deepest maps to the
picture's own, smoothness the root of squared differences, each over the area that may change.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.survey.attacks.base import Attacked, Printed, Scale
from benchmarks.survey.attacks.features import gram, layer_maps, layers_of, style_loss
from benchmarks.survey.attacks.scrawls import weathered
from benchmarks.survey.subject import Subject, as_pixels
from taintwatch_calibration.craft.engine import Outcome, Schedule, optimise
from taintwatch_calibration.craft.losses import total_variation
from taintwatch_calibration.craft.placement import Placement

__all__ = ["CamouflageWeights", "camouflage", "content_loss", "surface", "transformed"]


@dataclass(frozen=True, slots=True)
class CamouflageWeights:
    """Of the terms; style and content are relative to the size of what is wanted."""

    style: float = 1.0
    content: float = 0.3
    smoothness: float = 0.2
    adversarial: float = 1.0


def surface(side: int, share: float = 0.7) -> Tensor:
    """Return the area that may change, a disc in the middle, (1, 1, side, side) in {0, 1}: most of a sign."""
    line = torch.linspace(-1, 1, side)
    return ((line[:, None].square() + line.square()) <= share**2).float()[None, None]


def content_loss(maps: Tensor, own: Tensor) -> Tensor:
    """Return the squared distance of maps (B, C, h, w) to the picture's own, (B,), over the latter's length."""
    return (maps - own).flatten(1).square().sum(1) / own.flatten(1).square().sum(1).clamp_min(1e-20)


def transformed(pictures: Tensor, generator: torch.Generator) -> Tensor:
    """Turn by up to 8 degrees, scale by up to 10%, change the light by up to 20%, each picture its own way."""
    count = len(pictures)

    def spread(limit: float) -> Tensor:
        return (torch.rand(count, generator=generator) * 2 - 1) * limit

    angle, size = spread(0.14), 1 + spread(0.1)
    matrix = torch.zeros(count, 2, 3)
    matrix[:, 0, 0], matrix[:, 1, 1] = torch.cos(angle) * size, torch.cos(angle) * size
    matrix[:, 0, 1], matrix[:, 1, 0] = -torch.sin(angle) * size, torch.sin(angle) * size
    grid = F.affine_grid(matrix, list(pictures.shape), align_corners=False)
    seen = F.grid_sample(pictures, grid, padding_mode="border", align_corners=False)
    return (seen * (1 + spread(0.2)).view(-1, 1, 1, 1)).clamp(0, 1)


def camouflage(subject: Subject, scale: Scale, weights: CamouflageWeights | None = None) -> Attacked:
    """Camouflage each test picture by itself, untargeted."""
    weights = weights or CamouflageWeights()
    chosen, mask = subject.to_attack(scale.pictures), surface(subject.side)
    names = layers_of(subject.radar)
    with torch.no_grad():
        style = [gram(maps) for maps in layer_maps(subject, weathered(subject.side, scale.seed), names)]
        own_maps = layer_maps(subject, chosen.pixels, names)[-1]

    def objective(values: Tensor, generator: torch.Generator, progress: float) -> Outcome:
        worn = chosen.pixels * (1 - mask) + values * mask
        maps = layer_maps(subject, worn, names)
        logits = subject.logits(transformed(worn, generator))
        away = -F.cross_entropy(logits, chosen.own, reduction="none").clamp_max(10)
        look = weights.style * style_loss(maps, style) + weights.content * content_loss(maps[-1], own_maps)
        smooth = weights.smoothness * total_variation(values, mask) * len(values)
        success = float((logits.argmax(1) != chosen.own).float().mean())
        return Outcome((look + weights.adversarial * away).sum() + smooth, success)

    schedule = Schedule(scale.of(120), 0.03, "adam", decay="cosine", seed=scale.seed)
    values = optimise(objective, lambda generator: chosen.pixels, schedule)
    worn = chosen.pixels * (1 - mask) + values * mask
    control = chosen.pixels * (1 - mask) + weathered(subject.side, scale.seed) * mask
    return Attacked(
        as_pixels(chosen.pixels), as_pixels(worn), chosen.own, control=as_pixels(control),
        printed=Printed(values[0], mask[0], Placement(sizes=(1.0,), rotation_degrees=0.0, overlay=True)),
        more={"changed_share_of_picture": round(float(mask.mean()), 3)},
    )  # fmt: skip
