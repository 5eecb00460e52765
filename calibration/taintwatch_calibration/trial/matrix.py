"""The matrix of a trial: distances, angles and lights."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from taintwatch.sources.camera_model import CAMERA_MODELS
from taintwatch_models.errors import UsageError

__all__ = ["Cell", "Matrix", "lights", "nearest_cell", "numbers"]


@dataclass(frozen=True, slots=True, order=True)
class Cell:
    """One place of the camera in one light."""

    light: str
    distance_m: float
    angle_deg: float
    """Positive: the camera is to the right of who looks at the object."""

    @property
    def words(self) -> str:
        """For people."""
        return f"{self.distance_m:g} m, {self.angle_deg:g} degrees, {self.light}"

    @property
    def slug(self) -> str:
        """For file names."""
        return f"{self.light}-{100 * self.distance_m:.0f}cm-{self.angle_deg:g}deg"


@dataclass(frozen=True, slots=True)
class Matrix:
    """Every distance with every angle in every light."""

    distances_m: tuple[float, ...]
    angles_deg: tuple[float, ...]
    lights: tuple[str, ...] = ("office",)

    def __post_init__(self) -> None:
        """Raises `UsageError` for a camera that would stand nowhere."""
        if not self.distances_m or not self.angles_deg or not self.lights:
            raise UsageError("a matrix needs at least one distance, one angle and one light")
        if min(self.distances_m) <= 0.02 or max(self.distances_m) > 100:
            raise UsageError("distances go from 0.02 to 100 m")
        if max(abs(angle) for angle in self.angles_deg) > 80:
            raise UsageError("angles go from -80 to 80 degrees: beyond that a sheet is seen from its edge")

    @property
    def cells(self) -> tuple[Cell, ...]:
        """Light by light, near to far, then by angle: the way in which one would walk."""
        return tuple(
            Cell(light, distance, angle)
            for light in self.lights
            for distance in self.distances_m
            for angle in self.angles_deg
        )


def numbers(words: str, option: str) -> tuple[float, ...]:
    """Read `0.3,0.5,1`, each once, in order of size. Raises `UsageError`."""
    try:
        found = sorted({float(part) for part in words.split(",") if part.strip()})
    except ValueError:
        found = []
    if not found or not all(math.isfinite(value) for value in found):
        raise UsageError(f"{option} has value {words!r}; give numbers with commas between, like 0.3,0.5,1")
    return tuple(found)


def lights(words: str) -> tuple[str, ...]:
    """Read `office,dim`: names of lights. Raises `UsageError`."""
    found = tuple(dict.fromkeys(part.strip() for part in words.split(",") if part.strip()))
    for name in found:
        if name not in CAMERA_MODELS:
            raise UsageError(f"there is no light {name!r}; choose of {', '.join(CAMERA_MODELS)}")
    return found


def nearest_cell(cells: Iterable[Cell], light: str, distance_m: float, angle_deg: float) -> Cell | None:
    """Return the cell of this light that a pose belongs to; None where it is far from all.

    Far is more than a quarter of the distance, or more than 10 degrees.
    """
    near = [
        cell
        for cell in cells
        if cell.light == light
        and abs(cell.distance_m - distance_m) <= 0.25 * cell.distance_m
        and abs(cell.angle_deg - angle_deg) <= 10.0
    ]
    if not near:
        return None
    return min(
        near,
        key=lambda c: (abs(math.log(distance_m / c.distance_m)) / 0.25) + abs(c.angle_deg - angle_deg) / 10.0,
    )
