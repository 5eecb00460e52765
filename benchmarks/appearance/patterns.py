"""Many quick adversarial patterns of many kinds: what the network shall learn the look of.

Each batch of patterns is optimised on a network of the zoo, over random places and turns on its training pictures, for
so few steps that thousands can be had. They differ in how they start, how they are regularised and who optimises them,
because the network shall know the look and not a maker. Some are also optimised against an appearance network that was
trained before: what it learns from these is what is left to who knows it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from taintwatch_calibration.craft.materials import differentiable
from taintwatch_models.detection.appearance import SIDE as SEEN
from taintwatch_models.detection.appearance import WINDOW
from taintwatch_models.radar_file import RadarFile

__all__ = ["BATCH", "KINDS", "SIDE", "Kind", "craft_patterns", "rounds"]

BATCH, SIDE = 16, 48
_SIDES = (0.22, 0.55)
_RESOLUTIONS = (20, 32, 48)
_TURN = 0.35  # radians
_LEAD = 5.0  # logits
_UNSEEN = -1.0
"""What an attacker of the appearance network wants its answer to be: below that of most benign windows."""

RGB = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Kind:
    """One way of optimising a pattern."""

    name: str
    steps: int
    start: float
    """Deviation of the start, in logits of the pixel's value."""
    smoothness: float = 0.0
    """Weight of the total variation."""
    photograph: bool = False
    """Near a photograph, within 0.15 or 0.3 of every value."""
    sign: bool = False
    """Steps by the gradient's sign instead of Adam's."""
    likely: bool = False
    """Cross-entropy instead of a margin that ends once it is met."""


KINDS = (
    Kind("plain", 70, 0.1),
    Kind("from noise", 70, 1.0, smoothness=0.3, likely=True),
    Kind("near a photograph", 70, 0.0, photograph=True),
    Kind("smooth", 90, 0.1, smoothness=2.5),
    Kind("by sign", 50, 0.3, sign=True),
)


Net = Callable[[Tensor], Tensor]
"""An appearance network: RGB in [-1, 1], (B, 3, 96, 96), to logits (B, 1, 12, 12)."""


def craft_patterns(radar: RadarFile, pictures: RGB, kind: Kind, seed: int, against: Net | None = None) -> RGB:
    """Return 16 patterns (16, 48, 48, 3) for random labels of a network.

    `pictures` (n, h, w, 3): RGB, what the patterns are laid onto. `against`: what they also hide from, in the second
    half of the steps, of which there are half as many again.
    """
    rng = np.random.default_rng(seed)
    torch.manual_seed(seed)
    model, size, show = _model(radar)
    targets = torch.from_numpy(rng.integers(0, len(radar.info.labels), BATCH))
    hidden, pattern = _start(kind, pictures, rng)
    optimiser = torch.optim.Adam([hidden], 0.15)
    steps = kind.steps if against is None else kind.steps * 3 // 2
    for step in range(steps):
        some = _planes(_resized(pictures[rng.integers(0, len(pictures), BATCH)], size))
        laid = _lay(some, pattern(), rng)
        logits = model(show(laid))
        loss = _loss(logits, targets, likely=kind.likely) + kind.smoothness * 4 * _variation(pattern())
        if against is not None and 2 * step > steps:
            loss = loss + F.relu(_answer(against, laid) - _UNSEEN).mean()
        (slope,) = torch.autograd.grad(loss, [hidden])
        if kind.sign:
            with torch.no_grad():
                hidden -= 0.25 * slope.sign()
        else:
            hidden.grad = slope
            optimiser.step()
    with torch.no_grad():
        final = F.interpolate(pattern(), (SIDE, SIDE), mode="bilinear").clamp(0, 1)
    return np.asarray((final * 255).round().byte().permute(0, 2, 3, 1).numpy())


def _model(radar: RadarFile) -> tuple[Callable[[Tensor], Tensor], int, Callable[[Tensor], Tensor]]:
    preprocessing = radar.info.preprocessing
    mean, std = (torch.tensor(values).reshape(-1, 1, 1) for values in (preprocessing.mean, preprocessing.std))
    scale = 255 / preprocessing.scale

    def show(pictures: Tensor) -> Tensor:
        return (pictures * scale - mean) / std

    return differentiable(radar), preprocessing.size[0], show


def _start(kind: Kind, pictures: RGB, rng: np.random.Generator) -> tuple[Tensor, Callable[[], Tensor]]:
    side = int(rng.choice(_RESOLUTIONS))
    if kind.photograph:
        base = _planes(_resized(pictures[rng.integers(0, len(pictures), BATCH)], side))
        reach = float(rng.choice((0.15, 0.3)))
        moved = torch.zeros(BATCH, 3, side, side, requires_grad=True)
        return moved, lambda: (base + reach * torch.tanh(moved)).clamp(0, 1)
    hidden = (kind.start * torch.randn(BATCH, 3, side, side)).requires_grad_()
    return hidden, lambda: torch.sigmoid(hidden)


def _lay(pictures: Tensor, patterns: Tensor, rng: np.random.Generator) -> Tensor:
    size = pictures.shape[-1]
    side = round(size * rng.uniform(*_SIDES))
    shown = F.interpolate(patterns, (side, side), mode="bilinear", align_corners=False, antialias=True)
    if rng.random() < 0.5:
        angle = float(rng.uniform(-_TURN, _TURN))
        turn = torch.tensor([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0]]).float()
        grid = F.affine_grid(turn[None].expand(BATCH, -1, -1), list(shown.shape), align_corners=False)
        shown = F.grid_sample(shown, grid, padding_mode="border", align_corners=False)
    laid = pictures.clone()
    for row, (top, left) in enumerate(rng.integers(0, size - side + 1, (BATCH, 2))):
        laid[row, :, top : top + side, left : left + side] = shown[row]
    return laid


def _loss(logits: Tensor, targets: Tensor, *, likely: bool) -> Tensor:
    if likely:
        return F.cross_entropy(logits, targets)
    rows = torch.arange(len(logits))
    others = logits.clone()
    others[rows, targets] = -torch.inf
    return F.relu(others.amax(1) - logits[rows, targets] + _LEAD).mean()


def _answer(net: Net, pictures: Tensor) -> Tensor:
    """The largest average over a window, as the detector takes it, of pictures (B, 3, H, W) in [0, 1]: (B,)."""
    seen = F.interpolate(pictures, (SEEN, SEEN), mode="bilinear", align_corners=False, antialias=True)
    return F.avg_pool2d(net(seen * 2 - 1), WINDOW, stride=1).flatten(1).amax(1)


def _variation(patterns: Tensor) -> Tensor:
    rows, columns = patterns.diff(dim=2), patterns.diff(dim=3)
    return rows.abs().mean() + columns.abs().mean()


def _resized(pictures: RGB, side: int) -> RGB:
    shrink = pictures.shape[1] > side
    interpolation = cv2.INTER_AREA if shrink else cv2.INTER_LINEAR
    return np.stack([cv2.resize(each, (side, side), interpolation=interpolation) for each in pictures])


def _planes(pictures: RGB) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(pictures)).permute(0, 3, 1, 2).float() / 255


def rounds(count: int) -> Iterator[Kind]:
    """Yield the kinds in turn, `count` in all."""
    for index in range(count):
        yield KINDS[index % len(KINDS)]
