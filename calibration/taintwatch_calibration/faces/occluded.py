"""Copies of faces with a part covered: what the identity layer learns to see through.

A benign person must keep the name when a region of the face is filled, or the fill would say nothing of an attack.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from taintwatch_models.faces.bands import band_rows

__all__ = ["COVERS", "FILLS", "mean_face", "occlude"]

Picture = NDArray[np.uint8]
Hole = tuple[slice, slice]


def mean_face(faces: NDArray[np.uint8]) -> Picture:
    """Return the mean of aligned faces, (N, H, W, 3) to (H, W, 3)."""
    return np.asarray(faces.mean(axis=0, dtype=np.float64).round(), np.uint8)


def _band(size: int, rng: np.random.Generator) -> Hole:
    rows = band_rows(size)
    return rows[int(rng.integers(len(rows)))], slice(0, size)


def _eye_region(size: int, rng: np.random.Generator) -> Hole:
    """The eyes and what a pair of glasses covers beside them; the template has them at 0.46 of the height."""
    top, bottom = 0.46 - rng.uniform(0.08, 0.2), 0.46 + rng.uniform(0.08, 0.2)
    side = rng.uniform(0.0, 0.2)
    return slice(round(top * size), round(bottom * size)), slice(round(side * size), round((1 - side) * size))


def _rectangle(size: int, rng: np.random.Generator) -> Hole:
    height, width = (rng.uniform(0.15, 0.5, 2) * size).round().astype(int)
    top, left = int(rng.integers(size - height + 1)), int(rng.integers(size - width + 1))
    return slice(top, top + int(height)), slice(left, left + int(width))


COVERS: tuple[Callable[[int, np.random.Generator], Hole], ...] = (_band, _eye_region, _rectangle)

FILLS: dict[str, Callable[[Picture, Picture, np.random.Generator], Picture]] = {
    "mean face": lambda face, mean, rng: mean,
    "mean colour": lambda face, mean, rng: np.broadcast_to(
        np.asarray(mean.mean(axis=(0, 1)).round(), np.uint8), face.shape
    ),
    "average": lambda face, mean, rng: np.broadcast_to(
        np.asarray(face.mean(axis=(0, 1)).round(), np.uint8), face.shape
    ),
}


def occlude(faces: NDArray[np.uint8], mean: Picture, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Return a copy of each face with one cover and one fill drawn at random, (N, size, size, 3)."""
    fills = tuple(FILLS.values())
    covered = faces.copy()
    for face in covered:
        hole = COVERS[int(rng.integers(len(COVERS)))](len(face), rng)
        face[hole] = fills[int(rng.integers(len(fills)))](face, mean, rng)[hole]
    return covered
