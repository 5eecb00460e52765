"""Who plays which part: pictures to craft on, to calibrate with, to hold out, to attack."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from taintwatch_calibration.craft.materials import Labelled
from taintwatch_models.errors import UsageError

__all__ = ["PictureSplit", "split"]

_LEAST = 20  # pictures of each part


@dataclass(frozen=True, slots=True, eq=False)
class PictureSplit:
    """Four sets of pictures that share none."""

    craft: Labelled
    calibrate: Labelled
    held_out: Labelled
    test_images: Labelled

    @property
    def counts(self) -> dict[str, int]:
        """How many pictures each part has, by its name."""
        return {name: len(getattr(self, name)) for name in ("craft", "calibrate", "held_out", "test_images")}

    def attacked_digest(self, model_hash: str) -> str:
        """Tells a model and what it is attacked on from all others."""
        return _digest(model_hash, self.craft.pixels, self.test_images.pixels)

    def benign_digest(self, model_hash: str) -> str:
        """Tells a model and what detectors are calibrated and held to from all others."""
        return _digest(model_hash, self.calibrate.pixels, self.held_out.pixels)


def split(pictures: Labelled, target: int, seed: int = 0) -> PictureSplit:
    """Split at random: a quarter each. Pictures of the target are left out.

    Raises `UsageError` where a part would have fewer than 20.
    """
    rows = np.flatnonzero(pictures.labels != target)
    if len(rows) < 4 * _LEAST:
        raise UsageError(
            f"the bench needs at least {4 * _LEAST} pictures that the classifier gets right, of other classes than the "
            f"target; there are {len(rows)}"
        )
    order = np.random.default_rng(seed).permutation(rows)
    return PictureSplit(*(pictures.subset(part) for part in np.array_split(order, 4)))


def _digest(model_hash: str, *pixels: NDArray[np.uint8]) -> str:
    digest = hashlib.sha256(model_hash.encode())
    for part in pixels:
        digest.update(part.tobytes())
    return digest.hexdigest()
