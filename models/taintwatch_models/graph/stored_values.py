"""A graph's constants by name, decoded when they are read: weights lie in memory once, not twice."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from taintwatch_models.graph.builder import attributes
from taintwatch_models.graph.weight_file import WeightFile

__all__ = ["StoredValues", "stored_values"]

_KEPT = 4096  # values: what is larger is decoded anew each time


class StoredValues(Mapping[str, NDArray[np.generic]]):
    """Initialisers and the values of Constant nodes; weights that are stored as integers among them as floats."""

    def __init__(
        self,
        tensors: Mapping[str, onnx.TensorProto],
        values: Mapping[str, NDArray[np.generic]] | None = None,
        weights: WeightFile | None = None,
    ) -> None:
        """`weights`: where those of a large model lie."""
        self._tensors, self._values, self._weights = dict(tensors), dict(values or {}), weights

    def __getitem__(self, name: str) -> NDArray[np.generic]:
        if name not in self._values:
            value = _array(self._tensors[name], self._weights)
            if value.size > _KEPT:
                return value
            self._values[name] = value
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter({**self._tensors, **self._values})

    def __len__(self) -> int:
        return len({**self._tensors, **self._values})

    def __contains__(self, name: object) -> bool:
        return name in self._values or name in self._tensors

    def kind(self, name: str) -> tuple[str, int]:
        """Return a value's kind (`f` of floats, as numpy's) and rank, without decoding it."""
        if name in self._values:
            return self._values[name].dtype.kind, self._values[name].ndim
        tensor = self._tensors[name]
        return onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type).kind, len(tensor.dims)

    def joined(self, values: Mapping[str, NDArray[np.generic]]) -> StoredValues:
        """Return these with others."""
        return StoredValues(self._tensors, {**self._values, **values}, self._weights)


def _array(tensor: onnx.TensorProto, weights: WeightFile | None) -> NDArray[np.generic]:
    value: NDArray[np.generic] = numpy_helper.to_array(tensor) if weights is None else weights.array(tensor)
    return value


def stored_values(model: onnx.ModelProto, weights: WeightFile | None = None) -> StoredValues:
    """Return all values that a graph holds; `weights`: where those of a large model lie."""
    tensors = {tensor.name: tensor for tensor in model.graph.initializer}
    values: dict[str, NDArray[np.generic]] = {}
    for node in model.graph.node:
        if node.op_type == "Constant":
            value = attributes(node).get("value")
            if isinstance(value, onnx.TensorProto):
                tensors[node.output[0]] = value
        given = [name for name in node.input if name]
        if not all(name in tensors or name in values for name in given):
            continue
        if node.op_type in ("QuantizeLinear", "DequantizeLinear"):
            known = [values[name] if name in values else _array(tensors[name], weights) for name in given]
            values[node.output[0]] = (_dequantised if node.op_type == "DequantizeLinear" else _quantised)(node, known)
        elif node.op_type == "Identity" and given[0] in values:  # a weight that two layers share
            values[node.output[0]] = values[given[0]]
        elif node.op_type == "Identity":
            tensors[node.output[0]] = tensors[given[0]]
    return StoredValues(tensors, values, weights)


def _dequantised(node: onnx.NodeProto, values: list[NDArray[np.generic]]) -> NDArray[np.generic]:
    stored, scale, offset = _along(node, values)
    return np.asarray((stored.astype(np.float32) - offset.astype(np.float32)) * scale, np.float32)


def _quantised(node: onnx.NodeProto, values: list[NDArray[np.generic]]) -> NDArray[np.generic]:
    stored, scale, offset = _along(node, values)
    limits = np.iinfo(str(offset.dtype))
    steps = np.round(stored.astype(np.float32) / scale) + offset.astype(np.float32)
    return np.asarray(np.clip(steps, limits.min, limits.max), offset.dtype)


def _along(
    node: onnx.NodeProto, values: list[NDArray[np.generic]]
) -> tuple[NDArray[np.generic], NDArray[np.float32], NDArray[np.generic]]:
    """Return a value, its steps' size and the whole number that is zero, shaped to broadcast along the node's axis."""
    stored, scale, *zero = values
    shape = [1] * stored.ndim
    if scale.ndim == 1 and stored.ndim > 0:
        shape[attributes(node).get("axis", 1) % stored.ndim] = -1
    offset = zero[0] if zero else np.zeros_like(scale, np.uint8)
    return stored, scale.astype(np.float32).reshape(shape), offset.reshape(shape)
