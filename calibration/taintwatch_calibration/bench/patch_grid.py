"""Digital patches over batch sizes, sizes and places, as in TaintRadar's Table II: cells, patches, records."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from taintwatch.alarm_rates import wilson_interval
from taintwatch_calibration.bench.attacks import AttackMaker, Report, pixels_of, show_on, whole
from taintwatch_calibration.bench.cache import Cache
from taintwatch_calibration.bench.detectors import BenchDetectors
from taintwatch_calibration.bench.patch_files import encode_patch, read_patch
from taintwatch_calibration.bench.plans import AttackPlan
from taintwatch_calibration.bench.records import rates_of
from taintwatch_calibration.bench.subjects import Subject
from taintwatch_calibration.craft.engine import Schedule
from taintwatch_calibration.craft.materials import Labelled, classify
from taintwatch_calibration.craft.physical import Pattern
from taintwatch_calibration.craft.placement import Placement
from taintwatch_calibration.torch_tuning import denormals_flushed
from taintwatch_models.preprocessing import Preprocessing
from taintwatch_models.storage import write_atomically

__all__ = ["BOTTOM_RIGHT", "Cell", "Grid", "GridOptions", "all_cells", "plan_of", "with_patch"]

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


def all_cells() -> tuple[Cell, ...]:
    """Return the 36 cells, in the table's order."""
    return tuple(
        Cell(batch, sizes, size, position)
        for position, sizes, batch, size in itertools.product(
            ("bottom-right", "random"), ("single", "multiple"), BATCH_SIZES, PATCH_SIZES
        )
    )


def plan_of(cell: Cell, target: int, iterations: int, seed: int) -> AttackPlan:
    """Return what to craft for a cell; cells of `multiple` that differ in the size shown share their patch."""
    single = cell.sizes == "single"
    sizes = (cell.patch_size,) if single else MULTIPLE
    name = f"{cell.position} {cell.sizes} {cell.batch_size}{f' {cell.patch_size:g}' if single else ''}"
    placement = Placement(cell.placement.positions, sizes, rotation_degrees=ROTATION_DEGREES)
    pattern, schedule = Pattern(target, placement, batch=cell.batch_size), Schedule(iterations=iterations, seed=seed)
    return AttackPlan(name, "patch", max(sizes), pattern, schedule, resolution=RESOLUTION)


@dataclass(frozen=True, slots=True)
class GridOptions:
    """What varies from one grid to another."""

    target: int
    iterations: int = 300
    placements: int = 1
    """How often each test image is attacked."""
    seed: int = 0
    device: str = "cpu"


class Grid:
    """One model, one split of pictures, one folder of results."""

    def __init__(
        self, subject: Subject, detectors: BenchDetectors, options: GridOptions, target_fpr: Sequence[float], work: Path
    ) -> None:
        self._subject, self._detectors, self._options, self._target_fpr = subject, detectors, options, target_fpr
        self._cache = Cache(work)
        self._maker = AttackMaker(subject, self._cache, seed=options.seed, device=options.device)
        self._identity = (options, subject.fingerprint, subject.benign_fingerprint, detectors.identity, target_fpr)

    def cell(self, cell: Cell, report: Report | None = None) -> dict[str, Any]:
        """Return one cell's record: from the folder where it is there, else worked out and kept."""
        name = f"cell_{cell.position}_{cell.sizes}_{cell.batch_size}_{cell.patch_size:g}"
        make = lambda: {**asdict(cell), **self.attack(self.patch(cell, report), cell)}  # noqa: E731
        return self._record(name, make)

    def ready_made(self, path: Path, cell: Cell) -> dict[str, Any]:
        """Return the record of a patch from a file, shown as the cell says."""
        where = {"patch": path.name, "patch_size": cell.patch_size, "position": cell.position}
        name = f"{path.stem}_{cell.position}_{cell.patch_size:g}"
        return self._record(name, lambda: {**where, **self.attack(read_patch(path), cell)})

    def _record(self, name: str, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        record: dict[str, Any] = self._cache.document(f"cells/{name}", self._identity, make)
        return record

    def patch(self, cell: Cell, report: Report | None = None) -> NDArray[np.uint8]:
        """Return the cell's patch, (s, s, 3) RGB, crafted where it is not there yet; a PNG of it lies in `patches`."""
        options = self._options
        plan = plan_of(cell, options.target, options.iterations, options.seed)
        with denormals_flushed():
            patch = whole(self._maker.values(plan, report)[0].permute(1, 2, 0))
        folder = self._cache.folder / "patches"
        folder.mkdir(parents=True, exist_ok=True)
        write_atomically(folder / f"{plan.name.replace(' ', '_')}.png", encode_patch(patch))
        return patch

    def attack(self, patch: NDArray[np.uint8], cell: Cell) -> dict[str, Any]:
        """Show the patch on the test images; count what succeeds, and what of that the detectors find."""
        subject, options, detectors = self._subject, self._options, self._detectors
        turns = [
            with_patch(
                subject.test_images, patch, cell.placement, subject.preprocessing, 1000 + 17 * turn + options.seed
            )
            for turn in range(options.placements)
        ]
        pixels = np.concatenate(turns)
        success = classify(subject.plain, pixels) == options.target
        scores = detectors.detect(pixels[success]).scores
        return {
            "attempts": len(success),
            "successes": int(success.sum()),
            "success_rate": float(success.mean()),
            "success_interval": wilson_interval(int(success.sum()), len(success)),
            "detectors": rates_of((detectors.calibrate, detectors.held_out), scores, self._target_fpr),
        }


def with_patch(
    pictures: Labelled, patch: NDArray[np.uint8], placement: Placement, preprocessing: Preprocessing, seed: int
) -> NDArray[np.uint8]:
    """Return the pictures' pixels with a patch (s, s, 3), RGB, at one place each, (N, height, width, 3)."""
    values = torch.from_numpy(patch.astype(np.float32) / 255).permute(2, 0, 1)[None]
    mask = torch.ones(1, 1, *patch.shape[:2])
    return pixels_of(show_on(pictures, values, mask, Pattern(None, placement), preprocessing, seed)[0], preprocessing)
