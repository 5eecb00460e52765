"""Benign frames through a classifier: what the reconstructors are trained and calibrated on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from taintwatch_calibration.benign import BenignFrames
from taintwatch_calibration.cmag.benign_data import BenignData
from taintwatch_models.cmag.file import CmagFile
from taintwatch_models.cmag.runner import CmagRunner, reduce_pictures
from taintwatch_models.errors import UsageError
from taintwatch_models.onnx_radar import OnnxRadar
from taintwatch_models.onnx_session import SessionSettings
from taintwatch_models.radar_file import RadarFile

__all__ = ["CmagValues", "Count", "benign_data", "measure", "structured"]

Count = Callable[[int], None]
"""How many frames are done."""

_FLAT = 2.0  # standard deviation of grey levels, 0..255: below it a picture shows nothing


@dataclass(frozen=True, slots=True, eq=False)
class CmagValues:
    """Predicted labels (N,) and each statistic (N,) of some frames."""

    labels: NDArray[np.int64]
    statistics: Mapping[str, NDArray[np.float64]]

    def subset(self, rows: NDArray[np.intp]) -> CmagValues:
        """Return those rows."""
        return CmagValues(self.labels[rows], {name: values[rows] for name, values in self.statistics.items()})


def structured(frames: BenignFrames) -> BenignFrames:
    """Drop pictures of a single colour (a covered lens, a blank slide): there is nothing in them to rebuild.

    Raises `UsageError` where nothing else is left.
    """
    spread = frames.pixels.reshape(len(frames.pixels), -1).std(axis=1)
    kept = spread >= _FLAT
    if not kept.any():
        raise UsageError(
            f"{frames.description}: all {len(kept)} pictures are of a single colour, so that their similarity to a "
            "reconstruction means nothing; give benign pictures that show something"
        )
    if kept.all():
        return frames
    flat = int((~kept).sum())
    return BenignFrames(frames.pixels[kept], frames.footage, frames.bad + flat, frames.description)


def benign_data(
    radar: RadarFile, frames: BenignFrames, size: int, *, threads: int = 0, count: Count = lambda done: None
) -> BenignData:
    """Run the classifier on all frames; return maps, logits and reduced pictures."""
    run = OnnxRadar(radar, ("features",), session=SessionSettings(threads=threads))
    features, logits, pictures = [], [], []
    for start in range(0, len(frames.pixels), 32):
        pixels = frames.pixels[start : start + 32]
        outputs = run(radar.info.preprocessing.normalise(pixels))
        features.append(outputs["features"])
        logits.append(outputs["logits"])
        pictures.append(reduce_pictures(pixels, size))
        count(start + len(pixels))
    return BenignData(np.concatenate(features), np.concatenate(logits), np.concatenate(pictures))


def measure(
    radar: RadarFile, cmag: CmagFile, frames: BenignFrames, *, threads: int = 0, count: Count = lambda done: None
) -> CmagValues:
    """Return all of the reconstructors' statistics of all frames."""
    run = OnnxRadar(radar, ("features",), session=SessionSettings(threads=threads))
    rebuild = CmagRunner(cmag, cmag.info.statistics)
    labels: list[NDArray[np.int64]] = []
    parts: dict[str, list[NDArray[np.float64]]] = {name: [] for name in cmag.info.statistics}
    for start in range(0, len(frames.pixels), 32):
        pixels = frames.pixels[start : start + 32]
        outputs = run(radar.info.preprocessing.normalise(pixels))
        found = rebuild(outputs["features"], outputs["logits"], reduce_pictures(pixels, cmag.info.size))
        labels.append(outputs["label"])
        for name, values in parts.items():
            values.append(found[name].astype(np.float64))
        count(start + len(pixels))
    return CmagValues(np.concatenate(labels), {name: np.concatenate(values) for name, values in parts.items()})
