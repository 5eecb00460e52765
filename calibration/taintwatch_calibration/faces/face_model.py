"""A face model's files (the ONNX model, what it takes and whom it knows, the mean face), and its thresholds.

Thresholds are chosen from benign faces alone.
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np
import onnx
from numpy.typing import NDArray

from taintwatch_calibration.faces.identity_fit import IdentityLayer
from taintwatch_calibration.rates import threshold_for
from taintwatch_models.errors import CalibrationError
from taintwatch_models.faces.bands import combined
from taintwatch_models.faces.embedding import Embedder, with_identity
from taintwatch_models.faces.face_file import Scale
from taintwatch_models.storage import write_atomically

__all__ = ["JUDGED", "REJECTED_KNOWN", "fill_path", "fit_scales", "scores", "stranger_threshold", "write_face_model"]


def write_face_model(
    folder: Path,
    embed: Embedder,
    layer: IdentityLayer,
    names: tuple[str, ...],
    mean: NDArray[np.uint8],
    stem: str = "faces",
) -> Path:
    """Write model, description and mean face, 0600 each: all of them tell something of the people."""
    buffer = io.BytesIO()
    onnx.save(with_identity(embed.model, layer.weights, layer.bias), buffer)
    model = folder / f"{stem}.onnx"
    write_atomically(fill_path(folder, stem), cv2.imencode(".png", mean)[1].tobytes(), mode=0o600)
    write_atomically(model.with_suffix(".toml"), _description(embed, names).encode(), mode=0o600)
    write_atomically(model, buffer.getvalue(), mode=0o600)
    return model


def fill_path(folder: Path, stem: str = "faces") -> Path:
    """Return where the mean face of a model lies."""
    return folder / f"{stem}.mean.png"


def _description(embed: Embedder, names: tuple[str, ...]) -> str:
    table = embed.preprocessing.as_dict()
    # JSON's strings, numbers and lists are TOML's too.
    lines = [f"labels = {json.dumps(names, ensure_ascii=False)}", "", "[preprocessing]"]
    lines += [f"{key} = {json.dumps(value)}" for key, value in table.items()]
    return "\n".join(lines) + "\n"


JUDGED = ("margin", "band_margin")
"""The statistics whose largest decides: what filling the critical region, and the worst band, does to the name."""
REJECTED_KNOWN = 0.02
"""Share of photographs of enrolled people that may be taken for a stranger's."""

Statistics = Mapping[str, NDArray[np.float64]]


def fit_scales(benign: Statistics, target_fpr: float, judged: Sequence[str] = JUDGED) -> tuple[Scale, ...]:
    """Return the scale of each judged statistic: its median, and how far above it the target share begins.

    Raises `CalibrationError` for fewer faces than one false alarm needs.
    """
    count = len(benign[judged[0]])
    if count * target_fpr < 1:
        raise CalibrationError(
            f"{count} benign faces are too few for a false-positive rate of {target_fpr:.1%}; give at least "
            f"{int(np.ceil(1 / target_fpr))}"
        )
    scales = []
    for name in judged:
        centre = float(np.median(benign[name]))
        scales.append(Scale(name, centre, max(threshold_for(benign[name], target_fpr) - centre, 1e-6)))
    return tuple(scales)


def scores(statistics: Statistics, scales: tuple[Scale, ...]) -> NDArray[np.float64]:
    """Return the combined score of each face, (N,)."""
    names = [scale.statistic for scale in scales]
    rows = zip(*(statistics[name] for name in names), strict=True)
    return np.array([combined(dict(zip(names, map(float, row), strict=True)), scales) for row in rows], np.float64)


def stranger_threshold(probabilities: NDArray[np.float32], rejected: float = REJECTED_KNOWN) -> float:
    """Return the probability below which a face is a stranger's: a share `rejected` of enrolled faces lies below."""
    return -threshold_for(-np.asarray(probabilities, np.float64), rejected)
