"""Weights of a large model in a file while it is prepared: its graph is then small, and is copied at no cost.

ONNX Runtime maps the file into memory and so do we: what would lie in memory once for each copy lies there once.
"""

from __future__ import annotations

import math
import shutil
import tempfile
import weakref
from collections.abc import Iterator, Set
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from onnx.external_data_helper import (
    ExternalDataInfo,
    load_external_data_for_model,
    load_external_data_for_tensor,
    uses_external_data,
)

__all__ = ["WeightFile", "move_weights"]

_LARGE_MODEL = 16 << 20  # bytes of weights
_LARGE = 1 << 16  # bytes of one tensor
_NAME = "taintwatch-moved-weights.bin"
_GRAPH, _INITIALIZER, _RAW_DATA = 7, 5, 9  # numbers of the fields of ModelProto, GraphProto, TensorProto (onnx.proto)


class WeightFile:
    """A folder of one's own that goes when nobody needs it any more, with the weights of one model."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="taintwatch-weights-"))
        weakref.finalize(self, shutil.rmtree, self.folder, ignore_errors=True)
        self._written = 0

    def move(self, model: onnx.ModelProto, beside: Path | None = None) -> None:
        """Write the large weights to the file, and leave in the graph where they lie.

        `beside`: the folder of a model whose weights lie in files of its own; they are read one by one.
        """
        with (self.folder / _NAME).open("ab") as stream:
            stream.seek(0, 2)
            for tensor in model.graph.initializer:
                if _bytes(tensor) < _LARGE or (beside is None and uses_external_data(tensor)):
                    continue
                values = _raw(tensor, beside)
                if len(values) != _stored_bytes(tensor):
                    continue  # damaged, or packed in fours of bits: it is looked at where it is
                stream.write(b"\0" * (-stream.tell() % 4096))  # ONNX Runtime maps whole pages
                _refer(tensor, stream.tell(), len(values))
                stream.write(values)

    def array(self, tensor: TensorProto) -> NDArray[np.generic]:
        """Return a tensor's values, mapped where they lie in a file."""
        if not uses_external_data(tensor):
            value: NDArray[np.generic] = numpy_helper.to_array(tensor)
            return value
        info = ExternalDataInfo(tensor)
        kind = helper.tensor_dtype_to_np_dtype(tensor.data_type)
        return np.memmap(
            self.folder / str(info.location), kind, "r", int(info.offset or 0), shape=tuple(tensor.dims)
        )  # fmt: skip

    def saved(self, model: onnx.ModelProto) -> str:
        """Write a graph beside its weights for ONNX Runtime to open; return its path."""
        self._written += 1
        path = self.folder / f"graph_{self._written}.onnx"
        path.write_bytes(model.SerializeToString())
        return str(path)

    def put_back(self, model: onnx.ModelProto) -> None:
        """Store all weights in the graph again."""
        for tensor in model.graph.initializer:
            if uses_external_data(tensor):
                values = self.array(tensor).tobytes()
                tensor.ClearField("external_data")
                tensor.ClearField("data_location")
                tensor.raw_data = values

    def whole(self, model: onnx.ModelProto) -> Iterator[bytes | memoryview]:
        """Yield the pieces of an ONNX file with the graph and all its weights; none of these comes into memory."""
        large = [tensor for tensor in model.graph.initializer if uses_external_data(tensor)]
        rest = _without(model, {tensor.name for tensor in large})
        graph = rest.graph.SerializeToString()
        rest.ClearField("graph")
        heads = []
        for tensor in large:
            known = TensorProto(name=tensor.name, dims=tensor.dims, data_type=tensor.data_type).SerializeToString()
            length = self.array(tensor).nbytes
            known += _prefix(_RAW_DATA, length)
            heads.append((_prefix(_INITIALIZER, len(known) + length) + known, length))
        yield rest.SerializeToString()
        yield _prefix(_GRAPH, len(graph) + sum(len(head) + length for head, length in heads)) + graph
        for tensor, (head, _) in zip(large, heads, strict=True):
            yield head
            yield self.array(tensor).reshape(-1).view(np.uint8).data


def move_weights(model: onnx.ModelProto, beside: Path | None = None) -> tuple[onnx.ModelProto, WeightFile | None]:
    """Move the weights of a large model to a file; return its graph and the file.

    A model that is not large is returned as it is, with None. The graph of a large one is a new message: the old one
    keeps the memory of what was in it. `beside`: the folder of a model that was read without its files of weights.
    """
    if sum(_bytes(tensor) for tensor in model.graph.initializer) < _LARGE_MODEL:
        if beside is not None:
            load_external_data_for_model(model, str(beside))
        return model, None
    weights = WeightFile()
    weights.move(model, beside)
    moved = [tensor for tensor in model.graph.initializer if _is_moved(tensor)]
    rest = _without(model, {tensor.name for tensor in moved})
    if beside is not None:
        load_external_data_for_model(rest, str(beside))
    rest.graph.initializer.extend(moved)
    return rest, weights


def _raw(tensor: TensorProto, beside: Path | None) -> bytes:
    """Return a tensor's values as they are stored."""
    if uses_external_data(tensor):
        whole = TensorProto()
        whole.CopyFrom(tensor)
        load_external_data_for_tensor(whole, str(beside))
        return bytes(whole.raw_data)
    if not tensor.HasField("raw_data"):
        tensor = numpy_helper.from_array(numpy_helper.to_array(tensor))
    return bytes(tensor.raw_data)


def _refer(tensor: TensorProto, start: int, length: int) -> None:
    """Leave of a tensor its name, kind and shape, and where in the file its values lie."""
    kept = TensorProto(name=tensor.name, dims=tensor.dims, data_type=tensor.data_type)
    kept.data_location = TensorProto.EXTERNAL
    for key, value in (("location", _NAME), ("offset", str(start)), ("length", str(length))):
        kept.external_data.add(key=key, value=value)
    tensor.CopyFrom(kept)


def _is_moved(tensor: TensorProto) -> bool:
    return uses_external_data(tensor) and any(entry.value == _NAME for entry in tensor.external_data)


def _without(model: onnx.ModelProto, names: Set[str]) -> onnx.ModelProto:
    """Return a copy without these initialisers."""
    rest = onnx.ModelProto()
    for message, copy in ((model, rest), (model.graph, rest.graph)):
        for field, value in message.ListFields():
            if field.name in ("graph", "initializer"):
                continue
            if field.is_repeated:
                getattr(copy, field.name).extend(value)
            elif field.message_type is not None:
                getattr(copy, field.name).CopyFrom(value)
            else:
                setattr(copy, field.name, value)
    rest.graph.initializer.extend(tensor for tensor in model.graph.initializer if tensor.name not in names)
    return rest


def _prefix(field: int, length: int) -> bytes:
    """Return what stands before a field of so many bytes (protobuf's wire type 2)."""
    return _varint(field << 3 | 2) + _varint(length)


def _varint(number: int) -> bytes:
    parts = bytearray()
    while number > 127:
        parts.append(number & 127 | 128)
        number >>= 7
    return bytes([*parts, number])


def _bytes(tensor: TensorProto) -> int:
    return int(math.prod(tensor.dims) * 4)


def _stored_bytes(tensor: TensorProto) -> int:
    return int(math.prod(tensor.dims) * helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize)
