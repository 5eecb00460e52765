"""What the default detector knows of benign pictures: one file beside the model, bound to it by its hash."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from taintwatch_models.detection.anomaly import LayerCells
from taintwatch_models.detection.evidence import EvidenceFeatures
from taintwatch_models.detection.operating_points import OperatingPoint
from taintwatch_models.detection.tail import Tail
from taintwatch_models.errors import CalibrationError
from taintwatch_models.storage import write_atomically

__all__ = [
    "FREE",
    "LABEL",
    "SECOND",
    "Provenance",
    "Reference",
    "free_score",
    "read_reference",
    "total_score",
    "write_reference",
]

FREE = ("anomaly", "evidence", "concentration")
"""Statistics of the first forward."""
SECOND = ("necessity", "sufficiency")
"""Statistics that need further forwards."""
LABEL = "label_mahalanobis"
"""Free too, but only where the model's graph gives it: Mahalanobis distances for the predicted label, learnt from many
pictures of each label. A traffic sign is itself a local, necessary and sufficient thing; there it carries much."""
_LABEL_WEIGHT = 5.0
"""Where a model has the label's statistic it counts as much as the five others together."""
_FORMAT = "taintwatch-reference/1"
_MOST_BYTES = 256 * 2**20


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
    evidence: EvidenceFeatures
    hosts: NDArray[np.uint8]
    """(n, H, W, 3): benign pictures onto which windows are pasted, in the model's channel order."""
    tails: Mapping[str, Tail]
    """Of each statistic: `FREE`, `SECOND`, and perhaps `LABEL`."""
    gate: float
    """The free score above which a frame deserves the second look."""
    points: tuple[OperatingPoint, ...]
    """One for each target rate, the highest rate first."""
    about: Provenance


def combine(surprises: Mapping[str, NDArray[np.float64]]) -> NDArray[np.float64]:
    """Return the weighted sum of sqrt(2 * surprise) over the statistics: (frames,).

    Stouffer's method (Stouffer et al., The American Soldier, 1949) on one-sided scores: sqrt(-2 ln p) is the normal
    deviate of a small p, up to lower orders, and what is usual in one respect (p near 1) counts as nothing instead of
    against suspicion, so that a patch that fails one question on purpose is not excused for it. Fisher's sum of -ln p
    lets one extreme statistic raise the alarm by itself, as novelty does; an attack is unusual in all of them.
    """
    parts = [
        (_LABEL_WEIGHT if name == LABEL else 1.0) * np.sqrt(2.0 * np.maximum(values, 0.0))
        for name, values in surprises.items()
    ]
    return np.asarray(np.sum(parts, axis=0), np.float64)


def free_score(tails: Mapping[str, Tail], statistics: Mapping[str, NDArray[np.float64]]) -> NDArray[np.float64]:
    """Return the combined surprise of what the first forward gives, (frames,)."""
    return combine({name: tails[name].surprise(statistics[name]) for name in (*FREE, LABEL) if name in tails})


def total_score(
    tails: Mapping[str, Tail], statistics: Mapping[str, NDArray[np.float64]], looked: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Return the detector's score, (frames,): the free score, and that of the second look where it was taken.

    `looked` (frames,): which frames were looked at again; the others' second statistics are not read.
    """
    second = {name: tails[name].surprise(np.where(looked, statistics[name], 0.0)) * looked for name in SECOND}
    return free_score(tails, statistics) + combine(second)


def write_reference(reference: Reference, path: Path) -> None:
    """Write a reference whole or not at all. Raises `CalibrationError`."""
    arrays: dict[str, NDArray[Any]] = {"hosts": reference.hosts}
    layers = []
    for index, layer in enumerate(reference.layers):
        arrays |= {f"layer{index}_{name}": getattr(layer, name) for name in ("channels", "mean", "whitening")}
        layers.append({
            "value": layer.value, "cells": layer.cells, "tokens": layer.tokens, "stride": layer.stride,
            "centre": layer.centre, "spread": layer.spread,
        })  # fmt: skip
    arrays |= {f"evidence_{name}": getattr(reference.evidence, name) for name in ("projection", "mean", "whitening")}
    arrays |= {f"tail_{name}": tail.levels for name, tail in reference.tails.items()}
    head = {
        "format": _FORMAT,
        "model_hash": reference.model_hash,
        "layers": layers,
        "scales": {name: tail.scale for name, tail in reference.tails.items()},
        "gate": reference.gate,
        "points": [asdict(point) for point in reference.points],
        "about": asdict(reference.about),
    }
    arrays["head"] = np.frombuffer(json.dumps(head).encode(), np.uint8)
    buffer = io.BytesIO()
    np.savez_compressed(buffer, allow_pickle=False, **arrays)
    try:
        write_atomically(path, buffer.getvalue())
    except OSError as error:
        raise CalibrationError(f"{path}: cannot be written ({error.strerror or error})") from None


def read_reference(path: Path, model_hash: str | None = None) -> Reference:
    """Read a reference. Raises `CalibrationError`: unreadable, damaged, or of another model than `model_hash`."""
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise CalibrationError(f"{path}: larger than any reference is ({_MOST_BYTES >> 20} MB at most)")
        with path.open("rb") as file:
            if sum(part.file_size for part in zipfile.ZipFile(file).infolist()) > _MOST_BYTES:
                raise ValueError("it unpacks to more than any reference does")
            file.seek(0)
            with np.load(file, allow_pickle=False) as stored:
                reference = _build(stored)
    except FileNotFoundError:
        raise CalibrationError(f"{path}: no such reference; learn one with `taintwatch calibrate learn`") from None
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
        raise CalibrationError(f"{path}: not a readable reference ({type(error).__name__}: {error})") from None
    if model_hash is not None and reference.model_hash != model_hash:
        raise CalibrationError(
            f"{path}: belongs to another model (hash {reference.model_hash[:12]}; this one's is {model_hash[:12]}); "
            "learn this model with `taintwatch calibrate learn`"
        )
    return reference


def _build(stored: Any) -> Reference:
    head = json.loads(stored["head"].tobytes().decode())
    if head["format"] != _FORMAT:
        raise ValueError(f"its format is '{head['format']}', not '{_FORMAT}'")
    layers = tuple(
        LayerCells(
            str(row["value"]), (int(row["cells"][0]), int(row["cells"][1])), int(row["tokens"]), int(row["stride"]),
            _whole(stored[f"layer{index}_channels"]), _finite(stored[f"layer{index}_mean"]),
            _finite(stored[f"layer{index}_whitening"]), _number(row["centre"]), _number(row["spread"]),
        )
        for index, row in enumerate(head["layers"])
    )  # fmt: skip
    features = EvidenceFeatures(*(_finite(stored[f"evidence_{name}"]) for name in ("projection", "mean", "whitening")))
    tails = {
        name: Tail(_finite(stored[f"tail_{name}"]).astype(np.float64), _number(head["scales"][name]))
        for name in (*FREE, *SECOND, *([LABEL] if LABEL in head["scales"] else []))
    }
    hosts = stored["hosts"]
    if hosts.dtype != np.uint8 or hosts.ndim != 4 or not len(hosts):
        raise ValueError("its hosts are no pictures")
    if min([*(layer.spread for layer in layers), *(tail.scale for tail in tails.values())]) <= 0:
        raise ValueError("a scale is not above 0")
    points = tuple(_point(row) for row in head["points"])
    if not points:
        raise ValueError("it has no operating point")
    about = Provenance(**head["about"])
    return Reference(str(head["model_hash"]), layers, features, hosts, tails, _number(head["gate"]), points, about)


def _point(row: dict[str, Any]) -> OperatingPoint:
    target, threshold, low, high = (_number(row[name]) for name in ("target_fpr", "threshold", "low", "high"))
    names = ("alarms", "frames", "novel_alarms", "novel_frames")
    alarms, frames, novel_alarms, novel_frames = (int(_number(row[name])) for name in names)
    return OperatingPoint(target, threshold, low, high, alarms, frames, novel_alarms, novel_frames)


def _whole(values: NDArray[Any]) -> NDArray[np.int64]:
    if values.dtype.kind != "i":
        raise ValueError("channels are no whole numbers")
    return np.asarray(values, np.int64)


def _finite(values: NDArray[Any]) -> NDArray[np.float32]:
    if values.dtype.kind != "f" or not np.isfinite(values).all():
        raise ValueError("a number is not finite")
    return np.asarray(values, values.dtype)


def _number(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not np.isfinite(value):
        raise ValueError(f"{value!r} is no finite number")
    return float(value)
