"""Strong random erasing: what makes a benign sign keep its label when a region of it is filled.

After Zhong et al., "Random Erasing Data Augmentation" (AAAI 2020), with larger and more kinds of fill: without it
a radar detector has nothing to tell an attack from a sign by, because a sign's evidence is one compact glyph.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from benchmarks.signs.network import MEAN

__all__ = ["erase", "random_fills"]

_SMALLEST, _LARGEST = 0.15, 0.5
"""Shares of the picture's side."""
_FILLS = 5


def erase(images: Tensor, chosen: Tensor, generator: Generator, mean: Sequence[float] = MEAN) -> Tensor:
    """Return `images` (B, 3, H, W, in [0, 1]) with one or two regions filled where `chosen` (B,) is true.

    A region is a rectangle (two in three) or an ellipse, 0.15 to 0.5 of the side each way, centred anywhere.
    Its fill is the mean training colour (`mean`, RGB in [0, 1]), the picture's own mean, a random colour, noise, or a
    blurred copy.
    """
    twice = chosen & (torch.rand(len(images), generator=generator, device=images.device) < 0.5)
    erased = images.clone()
    for some in (chosen, twice):
        index = torch.nonzero(some).flatten()
        part = erased[index]
        erased[index] = torch.where(_regions(part, generator), random_fills(part, generator, mean), part)
    return erased


def _regions(images: Tensor, generator: Generator) -> Tensor:
    """(B, 1, H, W), bool: one region for each picture."""
    count, size, device = len(images), images.shape[-1], images.device
    draws = torch.rand(count, 5, 1, 1, generator=generator, device=device)
    half_x, half_y = ((_SMALLEST + (_LARGEST - _SMALLEST) * draws[:, i]) / 2 for i in (0, 1))
    centre_x, centre_y = (0.1 + 0.8 * draws[:, i] for i in (2, 3))
    axis = (torch.arange(size, device=device) + 0.5) / size
    x, y = (axis[None, None, :] - centre_x) / half_x, (axis[None, :, None] - centre_y) / half_y  # (B, 1, W), (B, H, 1)
    box = (x.abs() <= 1) & (y.abs() <= 1)
    round_ = x**2 + y**2 <= 1
    return torch.where(draws[:, 4] < 1 / 3, round_, box)[:, None]


def random_fills(images: Tensor, generator: Generator, mean: Sequence[float] = MEAN) -> Tensor:
    """Return for each picture (B, 3, H, W) one of the five fills, over its whole area."""
    count, size, device = len(images), images.shape[-1], images.device
    kind = torch.randint(0, _FILLS, (count, 1, 1, 1), generator=generator, device=device)
    usual = torch.tensor(mean, device=device)[None, :, None, None].expand_as(images)
    own = images.mean(dim=(2, 3), keepdim=True).expand_as(images)
    constant = torch.rand(count, 3, 1, 1, generator=generator, device=device).expand_as(images)
    noise = torch.rand(images.shape, generator=generator, device=device)
    small = F.avg_pool2d(images, max(1, size // 6))
    blurred = F.interpolate(small, size=(size, size), mode="bilinear", align_corners=False)
    filled = usual
    for index, other in enumerate((own, constant, noise, blurred), start=1):
        filled = torch.where(kind == index, other, filled)
    return filled
