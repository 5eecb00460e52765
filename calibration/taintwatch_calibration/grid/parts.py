"""Who plays which part: pictures to craft on, to calibrate with, to hold out, to attack."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np

from taintwatch_calibration.craft.materials import Labelled
from taintwatch_models.errors import UsageError

__all__ = ["Parts", "split"]

_LEAST = 20  # pictures of each part


@dataclass(frozen=True, slots=True, eq=False)
class Parts:
    """Four sets of pictures that share none."""

    craft: Labelled
    calibrate: Labelled
    held_out: Labelled
    test_images: Labelled

    @property
    def fingerprint(self) -> str:
        """Tells what patches were crafted on."""
        return hashlib.sha256(self.craft.pixels.tobytes()).hexdigest()


def split(pictures: Labelled, target: int, seed: int = 0) -> Parts:
    """Split at random: a quarter each. Pictures of the target are left out.

    Raises `UsageError` where a part would have fewer than 20.
    """
    rows = np.flatnonzero(pictures.labels != target)
    order = np.random.default_rng(seed).permutation(rows)
    if len(order) < 4 * _LEAST:
        raise UsageError(
            f"the grid needs at least {4 * _LEAST} pictures that the classifier gets right, of other classes than the "
            f"target; there are {len(order)}"
        )
    craft, calibrate, held_out, test_images = (pictures.subset(part) for part in np.array_split(order, 4))
    return Parts(craft, calibrate, held_out, test_images)
