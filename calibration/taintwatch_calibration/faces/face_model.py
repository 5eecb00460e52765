"""A face model's files: the ONNX model, what it wants and whom it knows, and the mean face."""

from __future__ import annotations

import io
import json
from pathlib import Path

import cv2
import numpy as np
import onnx
from numpy.typing import NDArray

from taintwatch_calibration.faces.identity_fit import IdentityLayer
from taintwatch_models.faces.embedder import Embedder
from taintwatch_models.faces.identity import with_identity
from taintwatch_models.storage import write_atomically

__all__ = ["fill_path", "write_face_model"]


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
