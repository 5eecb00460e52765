"""A user's classifier as it is: its graph with all its weights."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import onnx
from onnx.external_data_helper import ExternalDataInfo, uses_external_data

from taintwatch_models.errors import ModelError, first_line
from taintwatch_models.graph.bounds import refuse_oversized
from taintwatch_models.graph.weight_file import WeightFile, move_weights

__all__ = ["ModelSource", "external_files", "file_hash", "read_light", "read_source", "source_of"]

_KERAS = "write one from it with Keras (model.export('model.onnx', format='onnx')) or tf2onnx"
_OTHER_FILES = {
    **dict.fromkeys((".h5", ".keras", ".hdf5"), _KERAS),
    **dict.fromkeys((".pb", ".tflite"), "write one from it with tf2onnx"),
    ".safetensors": "it holds weights without their network; write ONNX where it was trained",
    ".engine": "a TensorRT engine cannot be taken apart; give the ONNX file that it was built from",
}


@dataclass(frozen=True, slots=True, eq=False)
class ModelSource:
    """A user's classifier as it is, before preparation."""

    name: str
    proto: onnx.ModelProto
    """With all its weights, but for those of a large model."""
    sha256: str
    """Of everything that was loaded: what a calibration is bound to."""
    where: str
    """How it was named, for messages."""
    weights: WeightFile | None = None
    """Where the weights of a large model lie; None: in the graph."""


def read_source(path: Path) -> ModelSource:
    """Read an ONNX classifier with all its weights. Raises `ModelError` in one sentence."""
    return source_of(read_light(path), path)


def source_of(proto: onnx.ModelProto, path: Path) -> ModelSource:
    """Return the classifier that was read from `path` without its files of weights. Raises `ModelError`."""
    refuse_oversized(proto, str(path))  # before its weights are looked at
    digest = _hash(path, proto)
    try:
        proto, weights = move_weights(proto, path.parent)
    except Exception as error:  # I/O and onnx raise their own kinds
        raise ModelError(f"{path}: not a valid ONNX model ({first_line(error)})") from None
    return ModelSource(path.name.removesuffix(".onnx"), proto, digest, str(path), weights)


def read_light(path: Path) -> onnx.ModelProto:
    """Read an ONNX file without the weights that lie in files beside it. Raises `ModelError`."""
    if not path.is_file():
        raise ModelError(f"{path}: no such model file")
    if path.suffix.lower() in _OTHER_FILES:
        raise ModelError(f"{path}: not an ONNX file; {_OTHER_FILES[path.suffix.lower()]}")
    try:
        return onnx.load(str(path), load_external_data=False)
    except Exception as error:  # protobuf and I/O each raise their own kinds
        raise ModelError(f"{path}: not a valid ONNX model ({first_line(error)})") from None


def file_hash(path: Path) -> str:
    """Return the SHA-256 (hex) of a model file and of every file that its tensors lie in. Raises `ModelError`."""
    return _hash(path, read_light(path) if path.suffix == ".onnx" else None)


def external_files(path: Path) -> list[str]:
    """Return the names of the files that an ONNX model keeps tensors in, sorted. Raises `ModelError`."""
    return _external(read_light(path))


def _hash(path: Path, proto: onnx.ModelProto | None) -> str:
    if not path.is_file():
        raise ModelError(f"{path}: no such model file")
    with path.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256")
    for name in [] if proto is None else _external(proto):
        part = path.parent / name
        if not part.is_file():
            raise ModelError(f"{path}: its weights are in {name}, which is missing; put it beside the model")
        with part.open("rb") as stream:
            digest.update(hashlib.file_digest(stream, "sha256").digest())
    return digest.hexdigest()


def _external(proto: onnx.ModelProto) -> list[str]:
    tensors = [t for t in proto.graph.initializer if uses_external_data(t)]
    return sorted({str(ExternalDataInfo(tensor).location) for tensor in tensors})
