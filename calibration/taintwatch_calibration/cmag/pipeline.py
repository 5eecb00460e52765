"""From a classifier and benign frames to reconstructors that can be shipped: one call."""

from __future__ import annotations

import random
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from taintwatch_calibration.benign import BenignFrames
from taintwatch_calibration.cmag.contact_sheet import contact_sheet
from taintwatch_calibration.cmag.export import export_graph
from taintwatch_calibration.cmag.frames import Count, benign_data, structured
from taintwatch_calibration.cmag.networks import Shape
from taintwatch_calibration.cmag.statistics import fit_graph
from taintwatch_calibration.cmag.training import Progress, TrainingSettings, train_reconstructors
from taintwatch_models.cmag.file import CmagFile
from taintwatch_models.cmag.runner import PICTURES, CmagRunner
from taintwatch_models.errors import UsageError
from taintwatch_models.radar_file import RadarFile

__all__ = ["Trained", "split_for_stopping", "train_cmag"]

FEWEST = 100
"""Benign frames that a training needs at the very least; thousands are better."""
_SHOWN = 12


@dataclass(frozen=True, slots=True, eq=False)
class Trained:
    """Reconstructors, and pictures of what they make of held-out frames."""

    file: CmagFile
    sheet: NDArray[np.uint8]
    frames: int
    flat: int
    """Frames left out because they show a single colour."""


def split_for_stopping(frames: BenignFrames, seed: int = 0) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return the indices to train on and the tenth that decides when to stop: of footage its last part."""
    count = len(frames.pixels)
    order = list(range(count))
    if not frames.footage:
        random.Random(seed).shuffle(order)  # noqa: S311 (a reproducible split, not a secret)
    kept = max(1, count // 10)
    return np.array(sorted(order[:-kept]), np.intp), np.array(sorted(order[-kept:]), np.intp)


def train_cmag(
    radar: RadarFile,
    frames: BenignFrames,
    *,
    size: int = 32,
    width: int = 16,
    bottleneck: int | None = 8,
    temperature: float = 0.5,
    light: bool = True,
    settings: TrainingSettings | None = None,
    checkpoint: Path | None = None,
    threads: int = 0,
    device: str = "cpu",
    count: Count = lambda done: None,
    progress: Progress = lambda stage, epoch, loss, held: None,
) -> Trained:
    """Train, measure the benign scales, and export. Raises `UsageError` for too few or empty frames."""
    settings = settings or TrainingSettings()
    if len(frames.pixels) < FEWEST:
        raise UsageError(
            f"{frames.description}: {len(frames.pixels)} benign frames are too few to train reconstructors on; give at "
            f"least {FEWEST} (thousands are better)"
        )
    usable = structured(frames)
    info = radar.info
    shape = Shape(info.channels, info.cells, info.classes, size, 3, width, bottleneck, temperature, light)
    data = benign_data(radar, usable, size, threads=threads, count=count)
    training, validation = (data.subset(rows) for rows in split_for_stopping(usable, settings.seed))
    model = train_reconstructors(
        training, validation, shape, settings, checkpoint=checkpoint, device=device, progress=progress
    )
    graph = fit_graph(model, training, validation)
    file = export_graph(graph, info, benign=usable.description, benign_frames=len(usable.pixels))
    rows = np.linspace(0, len(validation) - 1, min(_SHOWN, len(validation))).astype(np.intp)
    shown = validation.subset(rows)
    sheet = contact_sheet(shown.pictures, CmagRunner(file, PICTURES)(shown.features, shown.logits, shown.pictures))
    return Trained(file, sheet, len(usable.pixels), len(frames.pixels) - len(usable.pixels))
