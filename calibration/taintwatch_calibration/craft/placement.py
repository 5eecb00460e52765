"""How patterns lie in pictures, and by how much that varies: expectation over transformation (Athalye et al., 2018)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from taintwatch_models.errors import UsageError

__all__ = ["Placement", "PlacementBatch", "apply_patch", "apply_patterns", "bent"]


@dataclass(frozen=True, slots=True)
class Placement:
    """Where patterns lie in each picture. The defaults are those of a universal patch (Brown et al., 2017)."""

    positions: tuple[tuple[float, float] | None, ...] = (None,)
    """For each pattern its centre as shares of width and height; None: anywhere that it fits."""
    sizes: tuple[float, ...] = (0.3,)
    """Sides as shares of the picture's shorter side: one, or several drawn with equal chance."""
    rotation_degrees: float = 20.0
    """Largest turn to either side."""
    shift: float = 0.0
    """Largest error of a position, as a share of the picture."""
    scale: float = 0.0
    """Largest relative error of a size."""
    light: float = 0.0
    """Largest relative change of the pattern's brightness."""
    bend: float = 0.0
    """How far the pattern may be bent around an upright cylinder seen from above or below, 0 to 1 (AdvHat)."""
    overlay: bool = False
    """The pattern is as large as the picture, and its mask says where it shows: stickers on an object, glasses."""

    def __post_init__(self) -> None:
        """Raises `UsageError` for sizes and positions that no picture has."""
        if not self.sizes or not all(0 < size <= 1 for size in self.sizes):
            raise UsageError(f"sizes are shares of the picture's side, above 0 and at most 1, not {self.sizes}")
        for position in self.positions:
            if position is not None and not all(0 <= share <= 1 for share in position):
                raise UsageError(f"a position is X,Y as shares of the picture from 0 to 1, not {position}")
        if not 0 <= self.bend <= 1:
            raise UsageError(f"bend goes from 0 (flat) to 1, not {self.bend:g}")


@dataclass(frozen=True, slots=True, eq=False)
class PlacementBatch:
    """Where a pattern lies in each image of a batch: all (B,), float32."""

    x: Tensor
    y: Tensor
    """Centre, in [-1, 1] of the image."""
    size: Tensor
    """Side, as a share of the image's shorter side."""
    angle: Tensor
    """Radians."""

    def rows(self, index: Tensor) -> PlacementBatch:
        """Return those of some images."""
        return PlacementBatch(self.x[index], self.y[index], self.size[index], self.angle[index])


def apply_patch(
    images: Tensor,
    patch: Tensor,
    mask: Tensor,
    places: PlacementBatch,
    *,
    gain: Tensor | None = None,
    stretch: bool = False,
) -> tuple[Tensor, Tensor]:
    """Put `patch` (3, s, s) on `images` (B, 3, H, W), both in the same units, where `mask` (1, s, s) is 1.

    Each image may have its own, (B, 3, s, s) and (B, 1, s, s). `gain` (B,) multiplies the patch's values. `stretch`:
    sizes are shares of height and width, so that size 1 covers any image. Returns the images and the coverage
    (B, 1, H, W) in [0, 1].
    """
    count, _, height, width = images.shape
    side = min(height, width)
    sx, sy = (places.size, places.size) if stretch else (places.size * side / width, places.size * side / height)
    cos, sin = torch.cos(places.angle), torch.sin(places.angle)
    # From output to patch coordinates: move to the patch's centre, turn back, scale up.
    theta = torch.stack(
        [
            torch.stack([cos / sx, sin / sx, -(places.x * cos + places.y * sin) / sx], 1),
            torch.stack([-sin / sy, cos / sy, (places.x * sin - places.y * cos) / sy], 1),
        ],
        1,
    ).to(images.device)
    grid = F.affine_grid(theta, [count, 4, height, width], align_corners=False)
    inside = mask.to(patch)
    # Times the mask, so that no colour from outside of it is mixed into its edge.
    both = torch.cat([patch * inside, inside], dim=-3).expand(count, -1, -1, -1)
    laid = F.grid_sample(both, grid, padding_mode="zeros", align_corners=False)
    coverage = laid[:, 3:]
    colour = laid[:, :3] / coverage.clamp_min(1e-3)  # undo the darkening of half-covered edges
    if gain is not None:
        colour = colour * gain.view(-1, 1, 1, 1).to(colour)
    return images * (1 - coverage) + colour * coverage, coverage


def apply_patterns(
    images: Tensor,
    patterns: Tensor,
    masks: Tensor,
    placement: Placement,
    generator: torch.Generator,
    known: PlacementBatch | None = None,
) -> tuple[Tensor, Tensor]:
    """Put patterns (P, 3, h, w) with masks (P, 1, h, w) on images (B, 3, H, W), all RGB in [0, 1].

    `known`: where they lie in each image of a scene, in place of the placement's positions and sizes; its shift, scale,
    turn and light are the errors of that. Returns the images and what is covered, (B, 1, H, W) in [0, 1]. Later
    patterns cover earlier ones.
    """
    covered = torch.zeros_like(images[:, :1])
    for pattern, mask, position in zip(patterns, masks, placement.positions, strict=True):
        places = _draw(len(images), placement, position, known, generator)
        gain = 1 + _spread(len(images), placement.light, generator) if placement.light else None
        if placement.bend:
            curve, pitch = torch.rand(len(images), generator=generator), _spread(len(images), 1.0, generator)
            pattern, mask = bent(pattern, mask, curve * placement.bend, pitch * placement.bend)
        images, coverage = apply_patch(images, pattern, mask, places, gain=gain, stretch=placement.overlay)
        covered = torch.maximum(covered, coverage)
    return images.clamp(0, 1), covered


def bent(pattern: Tensor, mask: Tensor, curve: Tensor, pitch: Tensor) -> tuple[Tensor, Tensor]:
    """Bend a pattern (3, h, w) around an upright cylinder, for each image by `curve` (B,) in [0, 1].

    Off the plane, a straight line becomes a parabola, by `pitch` (B,) in [-1, 1]: seen from below or above (Komkov and
    Petiushko, AdvHat, 2019, section 3.1). Returns (B, 3, h, w) and the mask (B, 1, h, w).
    """
    height, width = pattern.shape[-2:]
    angle = (curve.to(pattern) * math.pi / 2 * 0.9).clamp_min(1e-3).view(-1, 1, 1)  # half of the arc that it covers
    x = torch.linspace(-1, 1, width, device=pattern.device).expand(len(curve), height, width)
    y = torch.linspace(-1, 1, height, device=pattern.device)[:, None].expand(len(curve), height, width)
    along = torch.asin((x * torch.sin(angle)).clamp(-0.9999, 0.9999)) / angle  # from what is seen to the paper
    down = y - 0.3 * pitch.to(pattern).view(-1, 1, 1) * x.square()
    grid = torch.stack([along, down], -1)
    inside = mask.to(pattern)
    both = torch.cat([pattern * inside, inside]).expand(len(curve), -1, -1, -1)
    seen = F.grid_sample(both, grid, padding_mode="zeros", align_corners=True)
    return seen[:, :3] / seen[:, 3:].clamp_min(1e-3), seen[:, 3:]


def _draw(
    count: int,
    placement: Placement,
    position: tuple[float, float] | None,
    known: PlacementBatch | None,
    generator: torch.Generator,
) -> PlacementBatch:
    sizes = torch.tensor(placement.sizes)[torch.randint(len(placement.sizes), (count,), generator=generator)]
    sizes = (sizes if known is None else known.size) * (1 + _spread(count, placement.scale, generator))
    room = (1.0 - sizes).clamp_min(0)
    if known is not None:
        x, y = known.x, known.y
    elif placement.overlay:
        x, y = torch.zeros(count), torch.zeros(count)
    elif position is None:
        x, y = _spread(count, 1.0, generator) * room, _spread(count, 1.0, generator) * room
    else:
        x, y = ((2 * share - 1) * torch.ones(count) for share in position)
        x, y = x.clamp(-room, room), y.clamp(-room, room)
    x, y = x + _spread(count, 2 * placement.shift, generator), y + _spread(count, 2 * placement.shift, generator)
    turn = _spread(count, math.radians(placement.rotation_degrees), generator)
    return PlacementBatch(x, y, sizes, turn if known is None else known.angle + turn)


def _spread(count: int, limit: float, generator: torch.Generator) -> Tensor:
    return (torch.rand(count, generator=generator) * 2 - 1) * limit
