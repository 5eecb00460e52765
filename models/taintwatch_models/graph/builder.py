"""A thin layer over `onnx.helper`: nodes with fresh names, constants stored once, ops whose form changed with opset."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

__all__ = ["GraphBuilder", "attributes"]


def attributes(node: onnx.NodeProto) -> dict[str, Any]:
    """Return a node's attributes as Python values."""
    return {a.name: helper.get_attribute_value(a) for a in node.attribute}


class GraphBuilder:
    """Collects nodes and initialisers. A method that adds a node returns the name of its (first) output."""

    def __init__(self, opset: int, prefix: str = "tw") -> None:
        self.opset = opset
        self.prefix = prefix
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: dict[str, onnx.TensorProto] = {}
        self._count = 0

    def name(self, hint: str) -> str:
        """Return a name that no other value of this graph has."""
        self._count += 1
        return f"{self.prefix}/{hint}_{self._count}"

    def add(self, op: str, *inputs: str, outputs: int = 1, **attrs: Any) -> str:
        """Add a node and return its first output's name."""
        return self.add_many(op, *inputs, outputs=outputs, **attrs)[0]

    def add_many(self, op: str, *inputs: str, outputs: int = 1, **attrs: Any) -> list[str]:
        """Add a node and return all its outputs' names."""
        names = [self.name(op) for _ in range(outputs)]
        self.nodes.append(helper.make_node(op, list(inputs), names, name=names[0], **attrs))
        return names

    def constant(self, value: NDArray[Any] | Sequence[float] | float | int, dtype: Any = None, hint: str = "c") -> str:
        """Store a constant and return its name; Python floats become float32, integers int64."""
        array = np.asarray(value)
        if dtype is None:
            dtype = np.int64 if array.dtype.kind in "iu" else np.float32 if array.dtype.kind == "f" else array.dtype
        array = np.array(array, dtype=dtype, order="C")  # ascontiguousarray would turn a scalar into a vector
        digest = hashlib.sha256(str((array.dtype, array.shape)).encode() + array.tobytes()).hexdigest()[:16]
        name = f"{self.prefix}/{hint}_{digest}"
        if name not in self.initializers:
            self.initializers[name] = numpy_helper.from_array(array, name)
        return name

    def named(self, name: str, value: NDArray[Any]) -> str:
        """Store an initialiser under a name of its own (a default that a caller may override)."""
        self.initializers[name] = numpy_helper.from_array(np.array(value, order="C"), name)
        return name

    def reduce(self, op: str, value: str, axes: Iterable[int], *, keepdims: bool) -> str:
        """Add ReduceMax/Min/Mean/Sum: the axes are an attribute up to opset 17 (Sum: 12), an input from then on."""
        axes = list(axes)
        since = 13 if op == "ReduceSum" else 18
        if self.opset >= since:
            return self.add(op, value, self.constant(axes), keepdims=int(keepdims))
        return self.add(op, value, axes=axes, keepdims=int(keepdims))

    def reshape(self, value: str, shape: Sequence[int]) -> str:
        """Reshape; 0 keeps a dimension, -1 is worked out."""
        return self.add("Reshape", value, self.constant(list(shape)))

    def unsqueeze(self, value: str, *axes: int) -> str:
        return self.add("Unsqueeze", value, self.constant(list(axes)))

    def squeeze(self, value: str, *axes: int) -> str:
        return self.add("Squeeze", value, self.constant(list(axes)))

    def cast(self, value: str, to: int = TensorProto.FLOAT) -> str:
        return self.add("Cast", value, to=to)
