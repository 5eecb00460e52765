"""All the pictures of one training run, loaded and split."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.signs.dataset import (
    LabelledImages,
    load_photographs,
    load_test,
    load_tracks,
    split_by_track,
)
from benchmarks.signs.network import INPUT_SIZE

__all__ = ["Material", "load_material"]


def _no_pictures() -> NDArray[np.uint8]:
    return np.zeros((0, INPUT_SIZE, INPUT_SIZE, 3), np.uint8)


@dataclass(frozen=True, slots=True, eq=False)
class Material:
    """What is trained on and measured with; nothing is in two parts."""

    training: LabelledImages
    validation: LabelledImages
    """Tracks held out from `training`."""
    test: LabelledImages
    photographs: NDArray[np.uint8] = field(default_factory=_no_pictures)
    """(N, 64, 64, 3): backgrounds to train with; may be empty."""
    empty_scenes: NDArray[np.uint8] = field(default_factory=_no_pictures)
    """(M, 64, 64, 3): pictures without a sign to measure with; may be empty."""


def load_material(data: Path, backgrounds: Sequence[Path], empty_scenes: Sequence[Path], seed: int) -> Material:
    """Read everything from disk; the split and the crops follow from `seed`. Raises `UsageError` for missing files."""
    rng = np.random.default_rng(seed)
    training, validation = split_by_track(load_tracks(data), rng)
    test = load_test(data)
    photographs = [load_photographs(folder, rng) for folder in backgrounds]
    empty = [load_photographs(folder, rng, crops=1) for folder in empty_scenes]
    return Material(training, validation, test, _joined(photographs), _joined(empty))


def _joined(stacks: Sequence[NDArray[np.uint8]]) -> NDArray[np.uint8]:
    return np.concatenate([_no_pictures(), *stacks])
