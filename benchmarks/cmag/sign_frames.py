"""Benign pictures of traffic signs, real and drawn, for the bundled model's reconstructors."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.signs.batches import BatchMaker, Mixture
from benchmarks.signs.benign_scenes import halves
from benchmarks.signs.dataset import (
    LabelledImages,
    load_photographs,
    load_test,
    load_tracks,
    split_by_track,
)
from taintwatch_calibration.benign import BenignFrames
from taintwatch_models.signs import SIGN_NAMES

__all__ = ["SignFrames", "sign_frames"]


@dataclass(frozen=True, slots=True, eq=False)
class SignFrames:
    """What the reconstructors are trained on, and what their thresholds are chosen on: never the same pictures."""

    training: BenignFrames
    calibration: BenignFrames


def sign_frames(
    data: Path, backgrounds: tuple[Path, ...], *, count: int = 9_000, seed: int = 0, fresh: int = 3000
) -> SignFrames:
    """Mix real crops with drawn signs and empty scenes, augmented as the recogniser's training but never occluded.

    `count` pictures are mixed for training, and a third as many crops as they are. The calibrating frames: the half of
    the test crops that `tight` did not learn from (their combination is calibrated on them too), as they are, and
    `fresh` mixed pictures of held-out tracks.
    Raises `UsageError` where the data is missing.
    """
    rng = np.random.default_rng(seed)
    training, validation = split_by_track(load_tracks(data), rng)
    test = halves(load_test(data))[1]
    photographs = [load_photographs(folder, rng) for folder in backgrounds]
    scenes = np.concatenate(photographs) if photographs else np.zeros((0, 64, 64, 3), np.uint8)
    crops = training.images[_draw(rng, training, count // 3)]
    learn = np.concatenate([crops, _mixed(training, scenes, count, seed)])
    unseen = np.concatenate([test.pixels, _mixed(validation, scenes, fresh, seed + 1)])
    return SignFrames(
        _frames(learn, "augmented traffic signs, real and drawn"),
        _frames(unseen, "traffic signs, real and drawn, none of them trained on"),
    )


def _draw(rng: np.random.Generator, data: LabelledImages, count: int) -> NDArray[np.intp]:
    return rng.permutation(len(data))[:count]


def _frames(pixels: NDArray[np.uint8], description: str) -> BenignFrames:
    return BenignFrames(pixels, False, 0, description)


def _mixed(data: LabelledImages, scenes: NDArray[np.uint8], count: int, seed: int) -> NDArray[np.uint8]:
    """(count, 64, 64, 3): what a camera that looks for signs may see."""
    mixture = Mixture(batch=128, drawn_share=0.3, background_share=0.15, occlude=False)
    make = BatchMaker(data, scenes, tuple(range(len(SIGN_NAMES))), mixture, torch.Generator().manual_seed(seed))
    parts = []
    for _ in range(-(-count // mixture.batch)):  # rounded up
        images, _ = make()
        parts.append((images.clamp(0, 1) * 255 + 0.5).to(torch.uint8).permute(0, 2, 3, 1).numpy())
    return np.concatenate(parts)[:count] if parts else np.zeros((0, 64, 64, 3), np.uint8)
