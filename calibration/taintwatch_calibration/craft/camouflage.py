"""A texture painted over whole objects, the same on every one: a universal camouflage (UPC: Huang et al., CVPR 2020).

UPC renders the texture onto the parts of an object. Here it is repeated over an ellipse in the object's box, and keeps
the object's own light and shade, as paint or a printed foil does.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["painted"]

_REACH = 0.9
"""Sides of the ellipse, as shares of the box's."""
_SOFT = 0.1
_SHADE = (0.4, 1.5)
"""Least and largest light of a place, relative to the mean of the picture's objects."""


def painted(
    pictures: Tensor, texture: Tensor, boxes: Tensor, *, repeats: float = 2.0, gain: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Paint `texture` (3, s, s) over one object of each picture (B, 3, H, W), all RGB in [0, 1].

    `boxes` (B, 4): x, y, width and height in pixels; `repeats`: of the texture along a box's longer side; `gain` (B,)
    multiplies its values. Returns the pictures and the coverage (B, 1, H, W) in [0, 1].
    """
    height, width = pictures.shape[2:]
    columns = (torch.arange(width) + 0.5).to(pictures)
    rows = (torch.arange(height) + 0.5).to(pictures)
    x, y, wide, high = (boxes[:, index, None, None].to(pictures) for index in range(4))  # (B, 1, 1)
    across, down = (columns - x - wide / 2), (rows[:, None] - y - high / 2)  # from the middle, in pixels
    away = ((2 * across / wide) ** 2 + (2 * down / high) ** 2).sqrt() / _REACH  # (B, H, W): 1 at the ellipse
    coverage = ((1 - away) / _SOFT + 0.5).clamp(0, 1)[:, None]
    period = torch.maximum(wide, high) / repeats
    grid = torch.stack([_repeated(across / period).expand_as(away), _repeated(down / period).expand_as(away)], -1)
    colour = F.grid_sample(
        texture.expand(len(pictures), -1, -1, -1), grid, padding_mode="reflection", align_corners=False
    )
    shade = _shade(pictures, coverage)
    if gain is not None:
        shade = shade * gain.view(-1, 1, 1, 1).to(shade)
    return pictures * (1 - coverage) + (colour * shade).clamp(0, 1) * coverage, coverage


def _repeated(places: Tensor) -> Tensor:
    """Return places in the texture, in [-1, 1]: mirrored where it repeats, so that no seam shows."""
    return 1 - 2 * (torch.remainder(places + 0.5, 2) - 1).abs()


def _shade(pictures: Tensor, coverage: Tensor) -> Tensor:
    """Return the light of each place relative to the object's mean: (B, 1, H, W)."""
    grey = F.avg_pool2d(pictures.mean(1, keepdim=True), 5, stride=1, padding=2, count_include_pad=False)
    mean = (grey * coverage).sum((2, 3), keepdim=True) / coverage.sum((2, 3), keepdim=True).clamp_min(1e-6)
    return (grey / mean.clamp_min(1e-3)).clamp(*_SHADE)
