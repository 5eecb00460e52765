"""The cells of the grid, and which patches they need."""

from __future__ import annotations

import hashlib
import itertools
import json
from dataclasses import asdict, dataclass

from taintwatch_calibration.craft.engine import Schedule
from taintwatch_calibration.craft.physical import Pattern
from taintwatch_calibration.craft.placement import Placement

__all__ = ["BOTTOM_RIGHT", "Cell", "PatchPlan", "all_cells", "plan_of"]

BATCH_SIZES = (1, 4, 16)
PATCH_SIZES = (0.2, 0.3, 0.4)
MULTIPLE = (0.2, 0.25, 0.3, 0.35, 0.4)
"""Sizes that a patch of the column `multiple` is crafted at."""
BOTTOM_RIGHT = (1.0, 1.0)
"""The corner: a patch is moved in until it fits."""
ROTATION_DEGREES = 20.0
RESOLUTION = 64


@dataclass(frozen=True, slots=True, order=True)
class Cell:
    """One cell of Table II: how its patch is crafted, and at which size and place it is shown."""

    batch_size: int
    sizes: str
    """`single`: crafted at the size that it is shown at. `multiple`: one patch for all sizes."""
    patch_size: float
    """Share of the picture's side at which it is shown."""
    position: str
    """`bottom-right` or `random`: where it is crafted and shown."""

    @property
    def placement(self) -> Placement:
        """Where it is shown."""
        return Placement(self._positions, (self.patch_size,), rotation_degrees=ROTATION_DEGREES)

    @property
    def _positions(self) -> tuple[tuple[float, float] | None, ...]:
        return (BOTTOM_RIGHT,) if self.position == "bottom-right" else (None,)


@dataclass(frozen=True, slots=True)
class PatchPlan:
    """One patch to craft."""

    pattern: Pattern
    schedule: Schedule
    resolution: int = RESOLUTION

    def key(self, model_hash: str, pictures: str) -> str:
        """Return a name that no other patch has; `pictures` tells what it is crafted on."""
        document = json.dumps([asdict(self), model_hash, pictures], sort_keys=True)
        return hashlib.sha256(document.encode()).hexdigest()[:16]


def all_cells() -> tuple[Cell, ...]:
    """Return the 36 cells, in the table's order."""
    return tuple(
        Cell(batch, sizes, size, position)
        for position, sizes, batch, size in itertools.product(
            ("bottom-right", "random"), ("single", "multiple"), BATCH_SIZES, PATCH_SIZES
        )
    )


def plan_of(cell: Cell, target: int, iterations: int, seed: int) -> PatchPlan:
    """Return what to craft for a cell; cells of `multiple` that differ in the size shown share their patch."""
    sizes = (cell.patch_size,) if cell.sizes == "single" else MULTIPLE
    placement = Placement(cell.placement.positions, sizes, rotation_degrees=ROTATION_DEGREES)
    return PatchPlan(Pattern(target, placement, batch=cell.batch_size), Schedule(iterations=iterations, seed=seed))
