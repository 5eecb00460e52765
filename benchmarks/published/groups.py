"""Patches as Table II has them: one for each disjoint group of pictures, all groups of a round crafted together."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from taintwatch_calibration.craft.engine import Checkpoint, Outcome, Schedule, Step, optimise
from taintwatch_calibration.craft.physical import Model, Pictures, normaliser
from taintwatch_calibration.craft.placement import Placement, apply_patterns
from taintwatch_calibration.craft.shapes import shape_mask
from taintwatch_models.preprocessing import Preprocessing

__all__ = [
    "BOTTOM_RIGHT",
    "GROUP_SIZES",
    "MULTIPLE",
    "PATCH_SIZES",
    "PLACES",
    "Cell",
    "all_cells",
    "craft_groups",
    "show_groups",
]

GROUP_SIZES = (1, 4, 16)
"""The table's *batch size*: how many pictures a patch is generated from."""
PLACES = ("right bottom", "random")
PATCH_SIZES = (0.2, 0.3, 0.4)
MULTIPLE = (0.2, 0.25, 0.3, 0.35, 0.4)
BOTTOM_RIGHT = (1.0, 1.0)
ROTATION_DEGREES = 20.0
MASK = shape_mask("square", 64)[None]


@dataclass(frozen=True, slots=True)
class Cell:
    """One cell of Table II."""

    place: str
    """`right bottom` or `random`."""
    size: float
    """Share of the picture's side at which the patch is shown."""
    sizes: str
    """`single`: crafted at that size; `multiple`: one patch for all sizes."""
    group: int
    """Pictures that each patch is crafted on and shown on."""

    @property
    def shown(self) -> Placement:
        """Where and how large it is shown."""
        return self._placement((self.size,))

    @property
    def crafted(self) -> Placement:
        """The same of its crafting."""
        return self._placement((self.size,) if self.sizes == "single" else MULTIPLE)

    def _placement(self, sizes: tuple[float, ...]) -> Placement:
        position = BOTTOM_RIGHT if self.place == "right bottom" else None
        return Placement((position,), sizes, rotation_degrees=ROTATION_DEGREES)


def all_cells(places: tuple[str, ...] = PLACES) -> tuple[Cell, ...]:
    """Return the 36 cells, or those of some places, in the table's order."""
    return tuple(
        Cell(place, size, sizes, group)
        for place in PLACES
        if place in places
        for size in PATCH_SIZES
        for sizes in ("single", "multiple")
        for group in GROUP_SIZES
    )


def craft_groups(
    model: Model,
    pictures: Pictures,
    preprocessing: Preprocessing,
    cell: Cell,
    target: int,
    schedule: Schedule,
    *,
    report: Callable[[Step], None] | None = None,
    checkpoint: Path | None = None,
) -> Tensor:
    """Craft one patch for each group of `cell.group` pictures, (groups, 3, 64, 64) in [0, 1].

    Every step shows each picture once with its own group's patch, so that a patch sees as many pictures a step as it is
    generated from.
    """
    if len(pictures) % cell.group:
        raise ValueError(f"{len(pictures)} pictures are no whole number of groups of {cell.group}")
    normalise = normaliser(preprocessing, pictures.pixels.device)
    groups = len(pictures) // cell.group

    def objective(values: Tensor, generator: torch.Generator, progress: float) -> Outcome:
        shown = _show_part(pictures.pixels, values, cell.group, cell.crafted, generator)
        logits = model.head(model.maps(normalise(shown)))
        wanted = torch.full((len(shown),), target, device=logits.device)
        success = float((logits.argmax(1) == target).float().mean())
        return Outcome(F.cross_entropy(logits, wanted), success, shown.detach())

    point = None if checkpoint is None else Checkpoint(checkpoint, f"{cell} {target} {groups}")
    start: Callable[[torch.Generator], Tensor] = lambda generator: torch.rand(groups, 3, 64, 64, generator=generator)  # noqa: E731
    return optimise(objective, start, schedule, report=report, checkpoint=point)


def show_groups(
    pixels: Tensor, patches: Tensor, cell: Cell, order: str, seed: int, *, times: int = 1
) -> NDArray[np.uint8]:
    """Return pictures (N, 3, H, W) with their group's patch on them, (times * N, H, W, 3) uint8.

    Each time at another place and turn. `order` is the model's channel order.
    """
    generator = torch.Generator().manual_seed(seed)
    group = len(pixels) // len(patches)
    shown = torch.cat([_show_part(pixels, patches, group, cell.shown, generator) for _ in range(times)])
    shown = shown.flip(1) if order == "bgr" else shown
    return np.asarray((shown * 255).round().byte().permute(0, 2, 3, 1).numpy(), np.uint8)


def _show_part(pixels: Tensor, patches: Tensor, group: int, placement: Placement, generator: torch.Generator) -> Tensor:
    parts = torch.split(pixels, group)
    return torch.cat(
        [apply_patterns(part, patch[None], MASK, placement, generator)[0]
         for part, patch in zip(parts, patches, strict=True)]
    )  # fmt: skip
