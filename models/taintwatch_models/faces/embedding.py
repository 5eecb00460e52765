"""Face embeddings: read, run by ONNX Runtime, and joined with an identity layer into one ONNX classifier.

The joined classifier is prepared, run and calibrated like any other.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from taintwatch_models.errors import ModelError
from taintwatch_models.model_description import describe
from taintwatch_models.model_source import file_hash
from taintwatch_models.onnx_session import SessionSettings, open_session, run_session
from taintwatch_models.preprocessing import Preprocessing

__all__ = ["Embedder", "EmbeddingModel", "read_embedding", "with_identity"]


@dataclass(frozen=True, slots=True, eq=False)
class EmbeddingModel:
    """A face embedding: aligned faces in, vectors out."""

    proto: onnx.ModelProto
    input: str
    output: str
    size: tuple[int, int]
    """(height, width) of its input."""
    dimensions: int


def read_embedding(path: Path) -> EmbeddingModel:
    """Read an embedding: one input (batch, 3, height, width), one output (batch, dimensions). Raises `ModelError`."""
    if not path.is_file():
        raise ModelError(f"{path}: no such embedding file; give an ONNX face embedding with --embedding")
    try:
        proto = onnx.load(str(path))
        onnx.checker.check_model(proto)
    except Exception as error:
        raise ModelError(f"{path}: not a valid ONNX model ({type(error).__name__})") from None
    graph = proto.graph
    weights = {tensor.name for tensor in graph.initializer}
    inputs = [value for value in graph.input if value.name not in weights]
    if len(inputs) != 1 or len(graph.output) != 1:
        raise ModelError(f"{path}: a face embedding has one input and one output")
    shape, out = _shape(inputs[0]), _shape(graph.output[0])
    if len(shape) != 4 or shape[1] != 3 or min(shape[2:]) < 1:
        raise ModelError(f"{path}: takes {shape}, but a face embedding takes (batch, 3, height, width)")
    if len(out) != 2 or out[1] < 1:
        raise ModelError(f"{path}: gives {out}, but a face embedding gives (batch, dimensions)")
    return EmbeddingModel(proto, inputs[0].name, graph.output[0].name, (shape[2], shape[3]), out[1])


def with_identity(
    embedding: EmbeddingModel, weights: NDArray[np.float32], bias: NDArray[np.float32]
) -> onnx.ModelProto:
    """Return the embedding followed by `logits = embedding @ weights + bias`.

    `weights` (dimensions, people), `bias` (people,). Raises `ValueError` where they do not fit.
    """
    dimensions, people = weights.shape
    if dimensions != embedding.dimensions or bias.shape != (people,):
        raise ValueError(
            f"weights {weights.shape} and bias {bias.shape} do not fit an embedding of {embedding.dimensions}"
        )
    proto = onnx.ModelProto()
    proto.CopyFrom(embedding.proto)
    graph = proto.graph
    names = ("identity/weights", "identity/bias")
    # transB: stored as one row for each person, so that the transposed head gathers rows instead of copying.
    graph.initializer.extend(
        [
            numpy_helper.from_array(np.ascontiguousarray(weights.T, np.float32), names[0]),
            numpy_helper.from_array(np.asarray(bias, np.float32), names[1]),
        ]
    )
    graph.node.append(helper.make_node("Gemm", [embedding.output, *names], ["logits"], "identity", transB=1))
    batch = graph.output[0].type.tensor_type.shape.dim[0]
    del graph.output[:]
    graph.output.append(
        helper.make_tensor_value_info("logits", TensorProto.FLOAT, [batch.dim_param or batch.dim_value, people])
    )
    return proto


def _shape(value: onnx.ValueInfoProto) -> tuple[int, ...]:
    """Dimensions, -1 where one is not fixed."""
    return tuple(d.dim_value if d.HasField("dim_value") else -1 for d in value.type.tensor_type.shape.dim)


_BATCH = 32


class Embedder:
    """A face embedding that runs. Its preprocessing is declared as any model's: in a TOML beside it."""

    def __init__(self, path: Path, preprocessing: str | None = None, *, threads: int = 0) -> None:
        """Raises `ModelError`: see `read_embedding`; also where nothing declares what the embedding wants."""
        self.path, self.declaration = path, preprocessing
        self.model: EmbeddingModel = read_embedding(path)
        self.sha256 = file_hash(path)
        description = describe(path, preprocessing)
        if description.preprocessing is None:
            raise ModelError(
                f"{path}: nothing says how it wants its faces; put {path.stem}.toml beside it, or name one with "
                "--preprocessing (docs/faces.md has an example)"
            )
        self.preprocessing: Preprocessing = description.preprocessing
        if self.preprocessing.size != self.model.size or self.model.size[0] != self.model.size[1]:
            raise ModelError(
                f"{path}: takes faces of {self.model.size[0]} x {self.model.size[1]}, its preprocessing declares size "
                f"= {list(self.preprocessing.size)}; both must be the same square"
            )
        self._session, self._provider = open_session(
            self.model.proto.SerializeToString(), SessionSettings(device="cpu", threads=threads)
        )

    @property
    def size(self) -> int:
        """Side of an aligned face, pixels."""
        return self.model.size[0]

    def __call__(self, faces: NDArray[np.uint8]) -> NDArray[np.float32]:
        """(N, size, size, 3) uint8 blue-green-red to (N, dimensions). Raises `InferenceError`."""
        parts = [np.empty((0, self.model.dimensions), np.float32)]
        for start in range(0, len(faces), _BATCH):
            inputs = self.preprocessing(list(faces[start : start + _BATCH]))
            feeds = {self.model.input: inputs}
            parts += run_session(self._session, [self.model.output], feeds, self._provider)
        return np.concatenate(parts)
