"""What stands beside a face model: who the faces are fitted for, when somebody is a stranger, what is suspicious."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from taintwatch_models.errors import CalibrationError, ModelError
from taintwatch_models.storage import STORED, read_json, validated, write_atomically

__all__ = ["FaceFile", "Scale", "read_face_file", "settings_path", "write_face_file"]

_FORMAT = "taintwatch-faces/1"
_LARGEST = 1_000_000  # bytes


@dataclass(frozen=True, slots=True)
class Scale:
    """Where a statistic lies on benign faces: `(value - centre) / spread` makes statistics comparable."""

    __pydantic_config__ = STORED

    statistic: str
    centre: float
    """Median of benign values."""
    spread: float
    """From there to the benign value that the target share lies above; above 0."""


@dataclass(frozen=True, slots=True)
class FaceFile:
    """Settings of a face model, all chosen from benign photographs alone."""

    __pydantic_config__ = STORED

    model_sha256: str
    stranger_below: float
    """A face whose name has less probability is a stranger's."""
    fill: str
    """File name, beside the model, of the mean face that regions are filled with."""
    saliency_threshold: float
    scales: tuple[Scale, ...]
    threshold: float
    """Of the largest statistic on its scale."""
    target_fpr: float
    benign: int
    """Photographs that it was chosen on."""
    held_out_fpr: float | None = None
    """Measured on photographs that the threshold was not chosen on."""


def settings_path(model: Path) -> Path:
    """Return where the settings of a face model are: NAME.faces.json beside NAME.onnx."""
    return model.with_suffix(".faces.json")


def write_face_file(settings: FaceFile, path: Path) -> None:
    """Write the settings whole or not at all, 0600. Raises `ModelError`."""
    text = json.dumps({"format": _FORMAT, **asdict(settings)}, indent=2) + "\n"
    try:
        write_atomically(path, text.encode(), mode=0o600)
    except OSError as error:
        raise ModelError(f"{path}: cannot be written ({error.strerror or error})") from None


def read_face_file(path: Path, *, model_sha256: str) -> FaceFile:
    """Read the settings. Raises `ModelError`: missing, damaged; `CalibrationError`: of another model."""
    try:
        document: Any = read_json(path, _LARGEST)
    except FileNotFoundError:
        raise ModelError(f"{path}: missing; a face model is made by `taintwatch face train`") from None
    except (OSError, ValueError) as error:
        raise ModelError(f"{path}: not readable ({error}); run `taintwatch face train` again") from None
    try:
        if document.pop("format") != _FORMAT:
            raise ModelError(f"{path}: written by another version; run `taintwatch face train` again")
        settings = validated(FaceFile, document)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ModelError(f"{path}: damaged ({error}); run `taintwatch face train` again") from None
    if Path(settings.fill).name != settings.fill:
        raise ModelError(f"{path}: its mean face must lie beside it, not at {settings.fill[:200]!r}")
    if not settings.scales or any(not scale.spread > 0 for scale in settings.scales):
        raise ModelError(f"{path}: damaged (scales); run `taintwatch face train` again")
    if settings.model_sha256 != model_sha256:
        raise CalibrationError(f"{path}: belongs to another face model; run `taintwatch face train` again")
    return settings
