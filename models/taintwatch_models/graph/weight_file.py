"""Weights of a large model in a file while it is prepared: its graph is then small, and is copied at no cost.

ONNX Runtime maps the file into memory and so do we: what would lie in memory once for each copy lies there once.
"""

from __future__ import annotations

import shutil
import tempfile
import weakref
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper
from onnx.external_data_helper import ExternalDataInfo, set_external_data, uses_external_data

__all__ = ["WeightFile", "move_weights"]

_LARGE_MODEL = 128 << 20  # bytes of weights
_LARGE = 1 << 16  # bytes of one tensor
_NAME = "weights.bin"


class WeightFile:
    """A folder of one's own that goes when nobody needs it any more, with the weights of one model."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="taintwatch-weights-"))
        weakref.finalize(self, shutil.rmtree, self.folder, ignore_errors=True)
        self._written = 0

    def move(self, model: onnx.ModelProto) -> None:
        """Write the large weights to the file, and leave in the graph where they lie."""
        with (self.folder / _NAME).open("ab") as stream:
            stream.seek(0, 2)
            for tensor in model.graph.initializer:
                if uses_external_data(tensor) or _bytes(tensor) < _LARGE:
                    continue
                if not tensor.HasField("raw_data"):
                    tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor), tensor.name))
                stream.write(b"\0" * (-stream.tell() % 4096))  # ONNX Runtime maps whole pages
                start = stream.tell()
                stream.write(tensor.raw_data)
                set_external_data(tensor, _NAME, start, stream.tell() - start)
                tensor.ClearField("raw_data")

    def array(self, tensor: onnx.TensorProto) -> NDArray[np.generic]:
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
                tensor.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(self.array(tensor)), tensor.name))


def move_weights(model: onnx.ModelProto) -> WeightFile | None:
    """Move the weights of a large model to a file; return it, None for a model that is not large."""
    if sum(_bytes(tensor) for tensor in model.graph.initializer) < _LARGE_MODEL:
        return None
    weights = WeightFile()
    weights.move(model)
    return weights


def _bytes(tensor: onnx.TensorProto) -> int:
    return int(np.prod(tensor.dims, initial=1)) * 4
