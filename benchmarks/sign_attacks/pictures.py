"""The pictures of the bench in parts that share no sign, no photograph and no scene."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.signs.benign_scenes import (
    BACKGROUND,
    BenignPictures,
    card_scenes,
    empty_scenes,
    halves,
    joined,
    read_photographs,
)
from benchmarks.signs.dataset import LabelledImages, load_test, load_tracks, split_by_track
from taintwatch_calibration.bench.cache import Cache
from taintwatch_models.preprocessing import Preprocessing

__all__ = ["SignPictures", "cached_pictures", "load_pictures"]


@dataclass(frozen=True, slots=True, eq=False)
class SignPictures:
    """Signs and scenes in parts that share no sign, no photograph and no scene."""

    crafting: BenignPictures
    tuning: BenignPictures
    """Thresholds (and, before, settings) are chosen on these."""
    reporting: BenignPictures
    """False alarms and detections are reported on these."""
    further: BenignPictures
    """Scenes before the tuning part's photographs, from which only what is usual is learnt."""


def load_pictures(
    data: Path, scenes: Path, preprocessing: Preprocessing, *, seed: int = 0, simulated: int = 300
) -> SignPictures:
    """Read and simulate everything. Raises `UsageError` for missing files."""
    rng = np.random.default_rng([seed, 0xBE])
    training, _ = split_by_track(load_tracks(data), np.random.default_rng(0))
    photographs = read_photographs(scenes)
    tuning, reporting = halves(load_test(data), seed)
    craft = joined([_crops(training, rng), empty_scenes(photographs[::3], simulated // 3, rng, preprocessing)])
    choose, report = (
        joined([crops, *_simulated(photographs[third::3], simulated, rng, preprocessing)])
        for crops, third in ((tuning, 1), (reporting, 2))
    )
    more = _simulated(photographs[1::3], 2 * simulated, np.random.default_rng([seed, 0xBF]), preprocessing)
    return SignPictures(craft, choose, report, joined(list(more)))


def _simulated(
    photographs: list[NDArray[np.uint8]], scenes: int, rng: np.random.Generator, preprocessing: Preprocessing
) -> tuple[BenignPictures, BenignPictures]:
    cards = card_scenes(photographs, scenes, rng, preprocessing)
    return cards, empty_scenes(photographs, scenes // 2, rng, preprocessing)


def cached_pictures(cache: Cache, make: Callable[[], SignPictures]) -> SignPictures:
    """Return the pictures that lie in the cache, or make them."""
    names, kinds = ("crafting", "tuning", "reporting", "further"), ("pixels", "labels", "groups")

    def arrays() -> dict[str, NDArray[Any]]:
        made = make()
        return {f"{name}_{kind}": getattr(getattr(made, name), kind) for name in names for kind in kinds}

    found = cache.arrays("pictures", (), arrays)
    return SignPictures(*(BenignPictures(*(found[f"{name}_{kind}"] for kind in kinds)) for name in names))


def _crops(training: LabelledImages, rng: np.random.Generator, each: int = 40) -> BenignPictures:
    """At most `each` training pictures of every class."""
    chosen = np.concatenate(
        [rng.permutation(np.flatnonzero(training.labels == label))[:each] for label in range(BACKGROUND)]
    )
    return BenignPictures(training.images[chosen], training.labels[chosen], training.tracks[chosen])
