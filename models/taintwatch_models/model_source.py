"""A user's classifier as it is: its graph with all its weights, and what is declared of it in the TOML beside it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path

import onnx
from onnx.external_data_helper import ExternalDataInfo, uses_external_data

from taintwatch_models.errors import ModelError
from taintwatch_models.preprocessing import ModelDescription, read_description, read_labels

__all__ = ["ModelSource", "describe", "external_files", "file_hash", "read_source"]


@dataclass(frozen=True, slots=True, eq=False)
class ModelSource:
    """A user's classifier as it is, before preparation."""

    name: str
    proto: onnx.ModelProto
    """With all its weights, those of external files included."""
    sha256: str
    """Of everything that was loaded: what a calibration is bound to."""
    where: str
    """How it was named, for messages."""


def read_source(path: Path) -> ModelSource:
    """Read an ONNX classifier with all its weights. Raises `ModelError` in one sentence."""
    digest = file_hash(path)
    try:
        proto = onnx.load(str(path))
    except Exception as error:  # protobuf and I/O each raise their own kinds
        raise ModelError(f"{path}: not a valid ONNX model ({_first_line(error)})") from None
    return ModelSource(path.name.removesuffix(".onnx"), proto, digest, str(path))


def file_hash(path: Path) -> str:
    """Return the SHA-256 (hex) of a model file and of every file that its tensors lie in. Raises `ModelError`."""
    if not path.is_file():
        raise ModelError(f"{path}: no such model file")
    with path.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256")
    if path.suffix != ".onnx":
        return digest.hexdigest()
    for name in external_files(path):
        part = path.parent / name
        if not part.is_file():
            raise ModelError(f"{path}: its weights are in {name}, which is missing; put it beside the model")
        with part.open("rb") as stream:
            digest.update(hashlib.file_digest(stream, "sha256").digest())
    return digest.hexdigest()


def external_files(path: Path) -> list[str]:
    """Return the names of the files that an ONNX model keeps tensors in, sorted. Raises `ModelError`."""
    try:
        proto = onnx.load(str(path), load_external_data=False)
    except Exception as error:
        raise ModelError(f"{path}: not a valid ONNX model ({_first_line(error)})") from None
    tensors = [t for t in proto.graph.initializer if uses_external_data(t)]
    return sorted({str(ExternalDataInfo(tensor).location) for tensor in tensors})


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


def describe(path: Path, preprocessing: str | None, labels: str | None) -> ModelDescription | None:
    """Read the TOML that was named, or the one beside the model; None where there is neither. Raises `ModelError`."""
    beside = path.with_suffix(".toml")
    description = None
    if preprocessing is not None or beside.is_file():
        description = read_description(Path(preprocessing) if preprocessing is not None else beside)
    if labels is not None:
        description = replace(description or ModelDescription(None), labels=read_labels(Path(labels)))
    return description
