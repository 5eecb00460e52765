"""What the default detector knows of benign pictures: one file beside the model, bound to it by its hash."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from taintwatch_models.bundled import bundled_path
from taintwatch_models.detection.anomaly import LayerCells
from taintwatch_models.detection.appearance import APPEARANCE, APPEARANCE_FILE
from taintwatch_models.detection.archive import (
    Archive,
    finite,
    layers_in,
    layers_out,
    number,
    read_archive,
    write_archive,
)
from taintwatch_models.detection.closeup import CLOSEUP, CLOSEUP_FILE
from taintwatch_models.detection.operating_points import OperatingPoint
from taintwatch_models.detection.tail import Tail, surprises
from taintwatch_models.detection.window_features import WindowFeatures
from taintwatch_models.errors import CalibrationError

__all__ = [
    "FREE",
    "LABEL",
    "LOOKS",
    "LOOKS_WEIGHT",
    "SECOND",
    "WEIGHTS",
    "Provenance",
    "Reference",
    "combine",
    "read_reference",
    "surprises_of",
    "version",
    "write_reference",
]

FREE = ("anomaly", "early_anomaly", "feature_anomaly", APPEARANCE)
"""Statistics of the first forward."""
SECOND = ("necessity", "sufficiency", CLOSEUP)
"""Statistics of the second look: they need further forwards."""
LABEL = "label_mahalanobis"
"""Free too, but only where the model's graph gives it: Mahalanobis distances for the predicted label, learnt from many
pictures of each label. A traffic sign is itself a local, necessary and sufficient thing; there it carries much."""
LOOKS = (APPEARANCE, CLOSEUP)
"""Statistics that know nothing of the guarded model: one question, asked twice."""
WEIGHTS = {LABEL: 2.0}
"""Of a surprise's square; 1 for the others."""
LOOKS_WEIGHT = 3.0
"""Of the square of the looks' mean surprise."""
_VERSION = 6
Scores = NDArray[np.float64]
"""(frames,)."""


@dataclass(frozen=True, slots=True)
class Provenance:
    """What a reference was learnt from, for people."""

    site: str
    site_frames: int
    footage: bool
    general: str
    general_frames: int
    created: str
    """UTC, ISO 8601."""


@dataclass(frozen=True, slots=True, eq=False)
class Reference:
    """Benign pictures as the detector knows them: layers, features, hosts, and the scale of each statistic."""

    model_hash: str
    """SHA-256 (hex) of the model file that it was learnt on."""
    layers: tuple[LayerCells, ...]
    windows: WindowFeatures
    hosts: NDArray[np.uint8]
    """(n, H, W, 3): benign pictures onto which windows are pasted, in the model's channel order."""
    tails: Mapping[str, Tail]
    """Of each statistic: `FREE`, `SECOND`, and perhaps `LABEL`."""
    gate: float
    """The free score above which a frame deserves the second look."""
    points: tuple[OperatingPoint, ...]
    """One for each target rate, the highest rate first."""
    about: Provenance


def combine(surprises: Mapping[str, Scores]) -> Scores:
    """Return the score of the statistics' surprises, (frames,): how odd a place looks, plus how odd the model acts.

    Looks are `appearance` and, once it was taken, `closeup`: they know the pixels alone and ask the same, so the mean
    of their -ln p counts (the geometric mean of p). All others are the guarded model's. Within the model's the weighted
    Euclidean norm counts: it lies between Fisher's sum of -ln p (1925) and Tippett's largest (1931), so what
    says nothing of a network (the anomaly of a vision transformer's tokens) hides less of what does. The two kinds are
    added, as Fisher does with tests that know nothing of each other: a busy print looks odd and leaves the model
    alone, an attack does both. What is usual adds nothing instead of taking away, so a patch that fails one question
    on purpose is not excused for it. The statistics are not independent, so the score's own threshold is chosen on
    benign frames as well.
    """
    names = tuple(surprises)
    values = np.maximum(np.array([surprises[name] for name in names]), 0.0)
    looks = np.array([name in LOOKS for name in names])
    odd = np.sqrt(LOOKS_WEIGHT) * values[looks].mean(axis=0) if looks.any() else 0.0
    acts = np.sqrt((_weights(names) * values**2)[~looks].sum(axis=0))
    return np.asarray(odd + acts, np.float64)


@lru_cache(maxsize=64)
def _weights(names: tuple[str, ...]) -> Scores:
    return np.array([[WEIGHTS.get(name, 1.0)] for name in names])


@lru_cache
def version(number: int = _VERSION, files: tuple[str, ...] = (APPEARANCE_FILE, CLOSEUP_FILE)) -> str:
    """Return the version of a reference's format, and of what its statistics mean: the bundled networks are in it.

    `number`: of the format itself; an object guard's reference has its own, and uses the `files` of its networks alone.
    """
    content = b"".join(bundled_path(file).read_bytes() for file in files)
    return f"{number}-{hashlib.sha256(content).hexdigest()[:8]}"


def _format() -> str:
    return f"taintwatch-reference/{version()}"


def surprises_of(tails: Mapping[str, Tail], statistics: Mapping[str, Scores]) -> dict[str, Scores]:
    """Return the surprise of each statistic that has a tail, (frames,) each."""
    names = [name for name in statistics if name in tails]
    if not names:
        return {}
    rows = surprises(tuple(tails[name] for name in names), np.array([statistics[name] for name in names]))
    return dict(zip(names, rows, strict=True))


def write_reference(reference: Reference, path: Path) -> None:
    """Write a reference whole or not at all. Raises `CalibrationError`."""
    layers, arrays = layers_out(reference.layers)
    arrays |= {f"windows_{name}": getattr(reference.windows, name) for name in ("projection", "mean", "whitening")}
    arrays |= {f"tail_{name}": tail.levels for name, tail in reference.tails.items()}
    head = {
        "format": _format(),
        "model_hash": reference.model_hash,
        "layers": layers,
        "scales": {name: tail.scale for name, tail in reference.tails.items()},
        "gate": reference.gate,
        "points": [asdict(point) for point in reference.points],
        "about": asdict(reference.about),
    }
    write_archive(path, head, {"hosts": reference.hosts, **arrays})


def read_reference(path: Path, model_hash: str | None = None) -> Reference:
    """Read a reference. Raises `CalibrationError`: unreadable, damaged, or of another model than `model_hash`."""
    reference = read_archive(path, _format(), "taintwatch calibrate learn", _build)
    if model_hash is not None and reference.model_hash != model_hash:
        raise CalibrationError(
            f"{path}: belongs to another model (hash {reference.model_hash[:12]}; this one's is {model_hash[:12]}); "
            "learn this model with `taintwatch calibrate learn`"
        )
    return reference


def _build(head: dict[str, Any], stored: Archive) -> Reference:
    layers = layers_in(head["layers"], stored)
    features = WindowFeatures(*(finite(stored[f"windows_{name}"]) for name in ("projection", "mean", "whitening")))
    tails = {
        name: Tail(finite(stored[f"tail_{name}"]).astype(np.float64), number(head["scales"][name]))
        for name in (*FREE, *SECOND, *([LABEL] if LABEL in head["scales"] else []))
    }
    hosts = stored["hosts"]
    if hosts.dtype != np.uint8 or hosts.ndim != 4 or not len(hosts):
        raise ValueError("its hosts are no pictures")
    if min(tail.scale for tail in tails.values()) <= 0:
        raise ValueError("a scale is not above 0")
    points = tuple(_point(row) for row in head["points"])
    if not points:
        raise ValueError("it has no operating point")
    about = Provenance(**head["about"])
    return Reference(str(head["model_hash"]), layers, features, hosts, tails, number(head["gate"]), points, about)


def _point(row: dict[str, Any]) -> OperatingPoint:
    target, threshold, low, high = (number(row[name]) for name in ("target_fpr", "threshold", "low", "high"))
    names = ("alarms", "frames", "novel_alarms", "novel_frames")
    alarms, frames, novel_alarms, novel_frames = (int(number(row[name])) for name in names)
    return OperatingPoint(target, threshold, low, high, alarms, frames, novel_alarms, novel_frames)
