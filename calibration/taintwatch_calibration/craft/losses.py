"""What crafting minimises: classification losses, and the two of Sharif et al. (CCS 2016) that make patterns printable.

Classification losses take logits (B, classes) and return (B,); the pattern's take values in [0, 1], RGB.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = [
    "CLASSIFIED",
    "DEFAULT_PALETTE",
    "change_norm",
    "lead",
    "non_printability",
    "others",
    "source_and_target",
    "total_variation",
    "wrong_or_wanted",
]


_FAR = 10.0  # nats: a label that is this unlikely need not become unlikelier

DEFAULT_PALETTE: tuple[tuple[float, float, float], ...] = (
    *((r, g, b) for r in (0.1, 0.5, 0.88) for g in (0.1, 0.5, 0.88) for b in (0.1, 0.5, 0.88)),
    *((level, level, level) for level in (0.06, 0.3, 0.94)),
)
"""What an office printer is trusted with where none was measured: 30 colours, sRGB in [0, 1], no deep primaries."""


def wrong_or_wanted(logits: Tensor, own: Tensor, target: Tensor | None) -> Tensor:
    """Return Sharif's softmax loss, (B,): cross-entropy to `target` (B,), or away from `own` where there is none."""
    if target is not None:
        return F.cross_entropy(logits, target, reduction="none")
    return -F.cross_entropy(logits, own, reduction="none").clamp_max(_FAR)


def others(logits: Tensor, label: Tensor) -> Tensor:
    """Return the largest logit but that of `label`, (B,)."""
    return logits.scatter(1, label[:, None], -torch.inf).amax(1)


def lead(logits: Tensor, own: Tensor, target: Tensor | None, *, enough: float = 5.0) -> Tensor:
    """Return by how much the wanted logit does not lead, (B,): flat once it leads by `enough` (Carlini and Wagner)."""
    if target is not None:
        return (others(logits, target) - logits.gather(1, target[:, None])[:, 0]).clamp_min(-enough)
    return (logits.gather(1, own[:, None])[:, 0] - others(logits, own)).clamp_min(-enough)


def source_and_target(logits: Tensor, own: Tensor, target: Tensor | None) -> Tensor:
    """Return LaVAN's loss, (B,): raise the target's log-probability and lower the source's (Karmon et al., 2018)."""
    away = wrong_or_wanted(logits, own, None)
    return away if target is None else wrong_or_wanted(logits, own, target) + away


def total_variation(pattern: Tensor, mask: Tensor | None = None) -> Tensor:
    """Return Sharif's total variation per pixel: mean of `sqrt(dx^2 + dy^2)` over (..., 3, h, w).

    Where `mask` (..., 1, h, w) is given, differences count only between pixels that are both inside.
    """
    down = pattern[..., 1:, :-1] - pattern[..., :-1, :-1]
    right = pattern[..., :-1, 1:] - pattern[..., :-1, :-1]
    steps = (down.square() + right.square() + 1e-12).sqrt()
    if mask is None:
        return steps.mean()
    inside = mask[..., :-1, :-1] * mask[..., 1:, :-1] * mask[..., :-1, 1:]
    return (steps * inside).sum() / (inside.sum() * pattern.shape[-3]).clamp_min(1.0)


def change_norm(before: Tensor, laid: Tensor, covered: Tensor) -> Tensor:
    """Return the length of the change of pictures (B, 3, H, W) over the root of the values covered, (B,).

    `covered` (B, 1, H, W) in [0, 1]. RP2's norm of M * delta (Eykholt et al., 2018, equation 3), per covered value: 0
    for stickers that look like what they cover, at most 1.
    """
    values = 3 * covered.sum((1, 2, 3)).clamp_min(1.0)
    return ((laid - before).square().sum((1, 2, 3)) + 1e-12).sqrt() / values.sqrt()


def non_printability(pattern: Tensor, palette: Tensor, mask: Tensor | None = None, *, rule: str = "nearest") -> Tensor:
    """Return how far the colours of `pattern` (..., 3, h, w) are from `palette` (n, 3), mean over the mask's pixels.

    `product` is Sharif's score, the product of the distances to all colours; it all but vanishes for a palette of
    thirty. `nearest` is the distance to the nearest colour (Thys et al., 2019): the same zeros, and a usable slope.
    """
    pixels = pattern.movedim(-3, -1).reshape(-1, 3)
    distances = (pixels[:, None] - palette.to(pixels)).square().sum(2).add(1e-12).sqrt()  # (pixels, n)
    score = distances.prod(1) if rule == "product" else distances.amin(1)
    if mask is None:
        return score.mean()
    inside = mask.expand_as(pattern[..., :1, :, :]).movedim(-3, -1).reshape(-1)
    return (score * inside).sum() / inside.sum().clamp_min(1.0)


CLASSIFIED = {"softmax": wrong_or_wanted, "lead": lead, "lavan": source_and_target}
"""The classification losses by name."""
