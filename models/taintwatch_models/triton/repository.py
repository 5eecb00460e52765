"""A Triton model repository of what a run opens: each graph a model, named by its content.

`NAME/1/model.onnx` and `NAME/config.pbtxt` (Triton's model_configuration.md); whoever asks for a graph asks for exactly
this one, and an export that is out of date is not found instead of used.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx
from onnx import TensorProto

from taintwatch_models.errors import ModelError, UsageError
from taintwatch_models.storage import write_atomically

__all__ = ["ExportedModel", "Tensor", "config_text", "model_name", "tensors_of", "write_repository"]

TYPES = {
    TensorProto.FLOAT: "FP32",
    TensorProto.FLOAT16: "FP16",
    TensorProto.DOUBLE: "FP64",
    TensorProto.INT64: "INT64",
    TensorProto.INT32: "INT32",
    TensorProto.UINT8: "UINT8",
    TensorProto.BOOL: "BOOL",
}
MAX_BATCH = 32
QUEUE_US = 2000  # how long the server lets a request wait for others to share a batch with


@dataclass(frozen=True, slots=True)
class Tensor:
    """One input or output, without its batch dimension."""

    name: str
    type: str
    """As Triton writes it on the wire: FP32, INT64, BOOL, ..."""
    dims: tuple[int, ...]
    """-1: whatever the graph gives."""


@dataclass(frozen=True, slots=True)
class ExportedModel:
    """One model of the repository. JSON-ready."""

    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    bytes: int


def model_name(graph: bytes) -> str:
    """Return the name of a graph: by what is in it."""
    return f"taintwatch_{hashlib.sha256(graph).hexdigest()[:16]}"


def tensors_of(proto: onnx.ModelProto) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
    """Return a graph's inputs and outputs. Raises `ModelError` where one has no batch, or a type Triton lacks."""
    stored = {tensor.name for tensor in proto.graph.initializer}
    inputs = [value for value in proto.graph.input if value.name not in stored]
    return tuple(map(_tensor, inputs)), tuple(map(_tensor, proto.graph.output))


def config_text(name: str, inputs: Sequence[Tensor], outputs: Sequence[Tensor], max_batch: int = MAX_BATCH) -> str:
    """Return a model's config.pbtxt, with dynamic batching. One value for each row is written as `[1]`, reshaped."""
    lines = [f'name: "{name}"', 'backend: "onnxruntime"', f"max_batch_size: {max_batch}"]
    for kind, tensors in (("input", inputs), ("output", outputs)):
        for tensor in tensors:
            dims = ", ".join(map(str, tensor.dims or (1,)))
            shape = "" if tensor.dims else " reshape { shape: [ ] }"
            lines.append(f'{kind} {{ name: "{tensor.name}" data_type: TYPE_{tensor.type} dims: [ {dims} ]{shape} }}')
    lines.append(f"dynamic_batching {{ max_queue_delay_microseconds: {QUEUE_US} }}")
    return "\n".join(lines) + "\n"


def write_repository(graphs: Sequence[bytes], folder: Path) -> list[ExportedModel]:
    """Write each different graph as a model; what is there of the same content stays. Raises `UsageError`."""
    made: dict[str, ExportedModel] = {}
    for graph in graphs:
        name = model_name(graph)
        if name in made:
            continue
        inputs, outputs = tensors_of(onnx.load_from_string(graph))
        try:
            version = folder / name / "1"
            version.mkdir(parents=True, exist_ok=True)
            write_atomically(version / "model.onnx", graph)
            write_atomically(folder / name / "config.pbtxt", config_text(name, inputs, outputs).encode())
        except OSError as error:
            raise UsageError(f"{folder} cannot be written: {error.strerror or error}; name another folder") from error
        made[name] = ExportedModel(
            name, tuple(each.name for each in inputs), tuple(each.name for each in outputs), len(graph)
        )
    return list(made.values())


def _tensor(value: Any) -> Tensor:
    kind = TYPES.get(value.type.tensor_type.elem_type)
    dims = value.type.tensor_type.shape.dim
    if kind is None or not dims or not re.fullmatch(r"[\w./:-]+", value.name):
        raise ModelError(f"'{value.name}' of the graph cannot be an input or output of a Triton model")
    return Tensor(value.name, kind, tuple(each.dim_value if each.dim_value > 0 else -1 for each in dims[1:]))
