"""A regularised ONNX classifier as a Torch module: for autograd (the transposed head's oracle) and for crafting."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnx
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from taintwatch_models.errors import ModelError
from taintwatch_models.graph.builder import attributes
from taintwatch_models.graph.plain_model import PlainModel
from taintwatch_models.graph.split import Split

__all__ = ["TorchGraph"]


class TorchGraph(nn.Module):
    """Runs a classifier's ONNX nodes with Torch ops; differentiable, on any device, weights frozen."""

    def __init__(self, model: PlainModel, split: Split) -> None:
        """Raises `ModelError` naming an op that it does not know."""
        super().__init__()
        for node in (*split.body, *split.head):
            if node.op_type not in _OPS:
                raise ModelError(f"the op {node.op_type} ('{node.output[0]}') cannot be run with Torch here")
        self._model, self._split = model, split
        self._names: dict[str, str] = {}
        self._scalars: dict[str, float] = {}
        for name, value in model.constants.items():
            if np.asarray(value).dtype.kind == "f" and np.asarray(value).ndim == 0:
                self._scalars[name] = float(np.asarray(value))
            elif np.asarray(value).dtype.kind == "f":
                self._names[name] = f"c{len(self._names)}"
                self.register_buffer(self._names[name], torch.from_numpy(np.array(value)))

    def maps(self, inputs: Tensor) -> Tensor:
        """(B, 3, H, W) to the last maps, (B, channels, h, w)."""
        return self._run(self._split.body, {self._model.input: inputs}, self._split.maps)

    def head(self, maps: Tensor) -> Tensor:
        """The last maps to the logits, (B, classes)."""
        return self._run(self._split.head, {self._split.maps: maps}, self._model.logits)

    def forward(self, inputs: Tensor) -> Tensor:
        """(B, 3, H, W) to the logits, (B, classes)."""
        return self.head(self.maps(inputs))

    def between(self, inputs: Tensor, names: Sequence[str]) -> list[Tensor]:
        """(B, 3, H, W) to maps on the way, by their names in the graph; `features` are the last ones.

        Raises `ModelError` for a name that the graph does not have.
        """
        values = {self._model.input: inputs}
        values["features"] = self._run(self._split.body, values, self._split.maps)
        missing = [name for name in names if name not in values]
        if missing:
            raise ModelError(f"the classifier's graph has no value '{missing[0]}'")
        return [values[name] for name in names]

    def _run(self, nodes: tuple[onnx.NodeProto, ...], values: dict[str, Tensor], wanted: str) -> Tensor:
        for node in nodes:
            arguments = [self._value(name, values) if name else None for name in node.input]
            values[node.output[0]] = _OPS[node.op_type](arguments, attributes(node))
        return values[wanted]

    def _value(self, name: str, values: dict[str, Tensor]) -> Any:
        if name in values:
            return values[name]
        if name in self._names:
            return self.get_buffer(self._names[name])
        if name in self._scalars:
            return self._scalars[name]
        return np.asarray(self._model.constants[name])  # integers: shapes, axes, pads


_Op = Callable[[list[Any], dict[str, Any]], Tensor]


def _pads(attrs: dict[str, Any], x: Tensor, value: float = 0.0) -> Tensor:
    if attrs.get("auto_pad", b"NOTSET") not in (b"NOTSET", b"VALID"):
        raise ModelError("auto_pad cannot be run with Torch here; export the model with explicit pads")
    top, left, bottom, right = attrs.get("pads", [0, 0, 0, 0])
    return F.pad(x, (left, right, top, bottom), value=value) if any((top, left, bottom, right)) else x


def _conv(v: list[Any], a: dict[str, Any]) -> Tensor:
    bias = v[2] if len(v) > 2 else None
    strides, dilations = a.get("strides", [1, 1]), a.get("dilations", [1, 1])
    return F.conv2d(_pads(a, v[0]), v[1], bias, strides, 0, dilations, a.get("group", 1))


def _max_pool(v: list[Any], a: dict[str, Any]) -> Tensor:
    padded = _pads(a, v[0], float("-inf"))
    return F.max_pool2d(padded, a["kernel_shape"], a.get("strides", [1, 1]), ceil_mode=bool(a.get("ceil_mode", 0)))


def _average_pool(v: list[Any], a: dict[str, Any]) -> Tensor:
    if any(a.get("pads", [0])) and not a.get("count_include_pad", 0):
        raise ModelError("an AveragePool that does not count its padding cannot be run with Torch here")
    ceil = bool(a.get("ceil_mode", 0))
    return F.avg_pool2d(_pads(a, v[0]), a["kernel_shape"], a.get("strides", [1, 1]), ceil_mode=ceil)


def _gemm(v: list[Any], a: dict[str, Any]) -> Tensor:
    weights = v[1].T if a.get("transB", 0) else v[1]
    product = a.get("alpha", 1.0) * (v[0] @ weights)
    result: Tensor = product if len(v) < 3 else product + a.get("beta", 1.0) * v[2]
    return result


def _clip(v: list[Any], a: dict[str, Any]) -> Tensor:
    low = v[1] if len(v) > 1 else None
    high = v[2] if len(v) > 2 else None
    if isinstance(low, float) and isinstance(high, float):  # ReLU6: torch's own is several times faster backwards
        return F.hardtanh(v[0], low, high)
    return torch.clamp(v[0], low, high)


def _axes(v: list[Any], a: dict[str, Any]) -> list[int]:
    return [int(axis) for axis in (a["axes"] if "axes" in a else v[1])]


def _reshape(v: list[Any], a: dict[str, Any]) -> Tensor:
    shape = [v[0].shape[i] if d == 0 else int(d) for i, d in enumerate(v[1])]
    result: Tensor = v[0].reshape(shape)
    return result


def _squeeze(v: list[Any], a: dict[str, Any]) -> Tensor:
    result: Tensor = v[0].squeeze(tuple(_axes(v, a)))
    return result


def _unsqueeze(v: list[Any], a: dict[str, Any]) -> Tensor:
    for axis in sorted(_axes(v, a)):
        v[0] = v[0].unsqueeze(axis)
    return v[0]  # type: ignore[no-any-return]


def _batch_norm(v: list[Any], a: dict[str, Any]) -> Tensor:
    return F.batch_norm(v[0], v[3], v[4], v[1], v[2], eps=a.get("epsilon", 1e-5))


def _pad(v: list[Any], a: dict[str, Any]) -> Tensor:
    n = [int(p) for p in v[1]]
    return F.pad(v[0], (n[3], n[7], n[2], n[6]))


def _concat(v: list[Any], a: dict[str, Any]) -> Tensor:
    return torch.cat(v, a["axis"])


_OPS: dict[str, _Op] = {
    "Add": lambda v, a: v[0] + v[1],
    "AveragePool": _average_pool,
    "BatchNormalization": _batch_norm,
    "Clip": _clip,
    "Concat": _concat,
    "Conv": _conv,
    "Div": lambda v, a: v[0] / v[1],
    "Dropout": lambda v, a: v[0],
    "Flatten": lambda v, a: v[0].flatten(a.get("axis", 1)),
    "Gemm": _gemm,
    "GlobalAveragePool": lambda v, a: v[0].mean((2, 3), keepdim=True),
    "GlobalMaxPool": lambda v, a: v[0].amax((2, 3), keepdim=True),
    "HardSigmoid": lambda v, a: torch.clamp(a.get("alpha", 0.2) * v[0] + a.get("beta", 0.5), 0, 1),
    "HardSwish": lambda v, a: F.hardswish(v[0]),
    "Identity": lambda v, a: v[0],
    "LeakyRelu": lambda v, a: F.leaky_relu(v[0], a.get("alpha", 0.01)),
    "MatMul": lambda v, a: v[0] @ v[1],
    "MaxPool": _max_pool,
    "Mul": lambda v, a: v[0] * v[1],
    "PRelu": lambda v, a: torch.where(v[0] > 0, v[0], v[0] * v[1]),
    "Pad": _pad,
    "ReduceMean": lambda v, a: v[0].mean(_axes(v, a), keepdim=bool(a.get("keepdims", 1))),
    "Relu": lambda v, a: F.relu(v[0]),
    "Reshape": _reshape,
    "Sigmoid": lambda v, a: torch.sigmoid(v[0]),
    "Squeeze": _squeeze,
    "Sub": lambda v, a: v[0] - v[1],
    "Tanh": lambda v, a: torch.tanh(v[0]),
    "Unsqueeze": _unsqueeze,
}
