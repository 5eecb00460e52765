"""Measuring a finished attack: judged by the product itself, on pictures that it was not crafted on."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from taintwatch.alarm_rates import wilson_interval
from taintwatch_calibration.cmag.similarity import StructuralSimilarity, global_similarity
from taintwatch_calibration.craft.materials import Labelled
from taintwatch_models.classifier import Classifier
from taintwatch_models.loading import LoadedModel
from taintwatch_models.records import Frame, Prediction

__all__ = ["Faintness", "Measured", "faintness", "held_apart", "measure"]

_BATCH = 16
_LEAST_APART = 10


@dataclass(frozen=True, slots=True)
class Measured:
    """Counts over pictures with the attack on them."""

    attempts: int
    successes: int
    success_rate: float
    success_interval: tuple[float, float]
    held_out: bool
    """False: the attack was crafted on these very pictures."""
    detected: dict[str, float]
    """For each detector, the share of successful attacks that it calls suspicious."""
    evasion_rate: dict[str, float]
    """For each detector, the share of all attempts that succeed and that it does not see."""
    calibrated: bool
    """False: the detectors' thresholds are rough defaults, so that `detected` and `evasion_rate` say nothing."""


def held_apart(pictures: Labelled, seed: int) -> tuple[Labelled, Labelled, bool]:
    """Split into pictures to craft on and three in ten to measure on; all to both where there are fewer than ten."""
    if len(pictures) < _LEAST_APART:
        return pictures, pictures, False
    order = np.random.default_rng(seed).permutation(len(pictures))
    apart = max(1, round(0.3 * len(order)))
    return pictures.subset(order[apart:]), pictures.subset(order[:apart]), True


def measure(
    model: LoadedModel, attacked: Tensor, own: Sequence[int], target: int | None, *, held_out: bool
) -> Measured:
    """Classify and judge attacked pictures (N, 3, H, W), RGB in [0, 1]; `own` are their labels without the attack."""
    pixels = (attacked * 255).round().byte().permute(0, 2, 3, 1).numpy()[..., ::-1]
    predictions = _predict(model.classifier, np.ascontiguousarray(pixels))
    wins = [
        p
        for p, label in zip(predictions, own, strict=True)
        if (p.label == target if target is not None else p.label != label)
    ]
    seen = {d.name: sum(d(p).suspicious for p in wins) for d in model.detectors}
    count = len(predictions)
    return Measured(
        attempts=count,
        successes=len(wins),
        success_rate=round(len(wins) / count, 4),
        success_interval=wilson_interval(len(wins), count),
        held_out=held_out,
        detected={name: round(hits / len(wins), 4) for name, hits in seen.items()} if wins else {},
        evasion_rate={name: round((len(wins) - hits) / count, 4) for name, hits in seen.items()},
        calibrated=model.calibration.calibrated,
    )


def _predict(classifier: Classifier, images: NDArray[np.uint8]) -> list[Prediction]:
    found: list[Any] = []
    for start in range(0, len(images), _BATCH):
        frames = [Frame("craft", start + i, image, 0, 0) for i, image in enumerate(images[start : start + _BATCH])]
        found += classifier(frames)
    return [one for one in found if isinstance(one, Prediction)]


@dataclasses.dataclass(frozen=True, slots=True)
class Faintness:
    """How little pictures were changed, means over them."""

    l2: float
    """Euclidean length of the change, pixels in [0, 1]."""
    linf: float
    """Largest change of a value, of 1."""
    ssim: float
    """Structural similarity with the original; 1 is equal."""
    changed: float
    """Share of pixels that are not the same."""
    l0: float
    """Values (three for each pixel) that are not the same."""
    l1: float
    """Sum of absolute changes, pixels in [0, 1]."""
    psnr: float
    """Peak signal-to-noise ratio, dB, with 1 as the peak of pixels in [0, 1]."""
    psnr_255: float
    """The same with 255 as the peak of changes in [0, 1], 48.13 dB more: as the region papers print it."""
    ssim_global: float
    """Structural similarity over the whole picture, without windows: it forgives noise."""


def faintness(before: Tensor, after: Tensor) -> Faintness:
    """Compare pictures (N, 3, H, W) in [0, 1]. Raises `UsageError` where they are below 11 pixels."""
    change = after - before
    similarity = StructuralSimilarity(*before.shape[2:]).to(before)
    alike = [similarity(before[i : i + 16], after[i : i + 16]) for i in range(0, len(before), 16)]
    return Faintness(
        l2=float(change.flatten(1).norm(dim=1).mean()),
        linf=float(change.abs().flatten(1).amax(1).mean()),
        ssim=float(torch.cat(alike).mean()),
        changed=float((change.abs().amax(1) > 0.5 / 255).float().mean()),
        l0=float((change.abs() > 0.5 / 255).flatten(1).sum(1).float().mean()),
        l1=float(change.abs().flatten(1).sum(1).mean()),
        psnr=float(_noise_ratio(change).mean()),
        psnr_255=float(_noise_ratio(change).mean()) + 20 * math.log10(255),
        ssim_global=float(global_similarity(before, after).mean()),
    )


def _noise_ratio(change: Tensor) -> Tensor:
    """Return -10 log10 of each picture's mean squared change, dB; at most that of half a 255th of one value."""
    values = change[0].numel()
    least = (0.5 / 255) ** 2 / values
    return -10 * change.flatten(1).square().mean(1).clamp_min(least).log10()
