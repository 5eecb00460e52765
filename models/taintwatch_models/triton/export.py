"""Exporting a run's graphs to a Triton model repository, and checking them against the run itself."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from taintwatch_models.classifier import Rejected
from taintwatch_models.errors import ModelError
from taintwatch_models.loading import LoadedModel, load_radar_file, open_model
from taintwatch_models.model_files import ModelSettings
from taintwatch_models.records import Frame, read_only
from taintwatch_models.triton.repository import ExportedModel, write_repository

__all__ = ["Export", "export_repository"]

FRAMES = 8
TOLERANCE = 1e-4  # of a score, relative: baked constants let the runtime fold what it computes otherwise


@dataclass(frozen=True, slots=True)
class Export:
    """What was written. JSON-ready."""

    models: tuple[ExportedModel, ...]
    frames: int
    """Frames on which the exported graphs were compared with the local run."""
    difference: float
    """Largest difference of a detector's score, relative to the largest score."""


def export_repository(settings: ModelSettings, folder: Path) -> Export:
    """Write what a run with these settings opens, and compare it with that run on the CPU by ONNX Runtime.

    Raises what loading raises, `UsageError` where `folder` cannot be written, and `ModelError` where a label or a score
    differs: then what was written must not be used.
    """
    graphs: list[bytes] = []
    session = replace(settings.session, device="cpu", providers=(), server=None)
    file = load_radar_file(settings)
    local = open_model(file, replace(settings, session=session))
    exported = open_model(file, replace(settings, session=replace(session, collect=graphs.append)))
    models = write_repository(graphs, folder)
    difference = _difference(local, exported)
    if difference > TOLERANCE:
        raise ModelError(
            f"the exported graphs judge otherwise than the local run (by {difference:.1e}); do not use them"
        )
    return Export(tuple(models), FRAMES, difference)


def _difference(local: LoadedModel, exported: LoadedModel) -> float:
    rng = np.random.default_rng(0)
    height, width = local.preprocessing.size
    scores = []
    for index in range(FRAMES):
        image = read_only(rng.integers(0, 256, (height, width, 3), dtype=np.uint8))
        frame = Frame("check", index, image, index * 10**9, index * 10**9)
        pair = []
        for model in (local, exported):
            (found,) = model.classifier([frame])
            if isinstance(found, Rejected):
                raise ModelError(f"the model gives no usable answer for a plain picture: {found.reason}")
            pair.append([float(found.label), *(detector(found).score for detector in model.detectors)])
        if pair[0][0] != pair[1][0]:
            raise ModelError("the exported graphs give another label than the local run; do not use them")
        scores.append(pair)
    table = np.array(scores)[:, :, 1:]
    largest = max(1.0, float(np.abs(table).max()))
    return float(np.abs(table[:, 0] - table[:, 1]).max() / largest)
