"""Patches shown on a network's test pictures: which of them succeed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.detection.networks import Network
from benchmarks.makers.library import Patch
from benchmarks.makers.placement import Placement, apply_at, random_placement

__all__ = ["SIZES", "AttackedPictures", "shown_patches", "transferred_patches"]

SIZES = (0.25, 0.35, 0.5)
"""Sides of the patches as shares of the picture's shorter side."""

Pictures = NDArray[np.uint8]


@dataclass(frozen=True, slots=True, eq=False)
class AttackedPictures:
    """One patch at one size on all test pictures."""

    maker: str
    patch: str
    """Its name."""
    size: float
    attempts: int
    successes: Pictures
    """(n, H, W, 3): the pictures that it fools the network on."""


def shown_patches(network: Network, patches: Mapping[str, Patch], seed: int = 0) -> Iterator[AttackedPictures]:
    """Show each patch at each size, at a random place and angle of each test picture.

    A targeted patch succeeds where the network says the target; it is not shown on pictures of it.
    """
    for index, (name, patch) in enumerate(sorted(patches.items())):
        for size in SIZES:
            rng = np.random.default_rng([seed, index, round(100 * size)])
            places = [random_placement(network.test, size, rng) for _ in network.test]
            pictures = apply_at(network.test, patch.pixels, places)
            success = network.labels_of(pictures) == patch.target
            yield AttackedPictures(patch.maker, name, size, len(success), pictures[success])


def transferred_patches(network: Network, patches: Sequence[Patch], seed: int = 0) -> Iterator[AttackedPictures]:
    """Show patches that were made for other networks of the same classes.

    Such a patch succeeds where the label is wrong, and right with a grey square in the same place: what merely hides
    the object is no attack.
    """
    for index, patch in enumerate(patches):
        for size in SIZES:
            rng = np.random.default_rng([seed, 99, index, round(100 * size)])
            places = [random_placement(network.test, size, rng) for _ in network.test]
            pictures = apply_at(network.test, patch.pixels, places)
            success = (network.labels_of(pictures) != network.truth) & _seen_beside_grey(network, places)
            yield AttackedPictures(
                "transferred", f"{patch.maker} of {patch.network}", size, len(success), pictures[success]
            )


def _seen_beside_grey(network: Network, places: Sequence[Placement]) -> NDArray[np.bool_]:
    grey = np.full((8, 8, 3), 128, np.uint8)
    return np.asarray(network.labels_of(apply_at(network.test, grey, places)) == network.truth)
