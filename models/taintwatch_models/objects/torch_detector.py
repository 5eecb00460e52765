"""An ONNX object detector as a Torch module: for crafting attacks on it. Differentiable, weights frozen."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from torch import Tensor, nn

from taintwatch_models.errors import ModelError
from taintwatch_models.graph.builder import attributes
from taintwatch_models.torch_ops import TORCH_OPS

__all__ = ["TorchDetector"]


class TorchDetector(nn.Module):
    """Runs a detector's ONNX nodes with Torch ops, on any device.

    A graph that was exported for one picture takes batches here, and a fully convolutional one takes inputs of other
    sizes (multiples of its largest stride).
    """

    def __init__(self, proto: onnx.ModelProto) -> None:
        """Raises `ModelError` naming an op that it does not know."""
        super().__init__()
        self._nodes = [node for node in proto.graph.node if node.op_type != "Constant"]
        for node in self._nodes:
            if node.op_type not in TORCH_OPS:
                raise ModelError(f"the op {node.op_type} ('{node.output[0]}') cannot be run with Torch here")
        self._input = proto.graph.input[0].name
        self._outputs = [value.name for value in proto.graph.output]
        self._names: dict[str, str] = {}
        self._whole: dict[str, Any] = {}
        for name, value in _constants(proto).items():
            if value.dtype.kind == "f" and value.size:
                self._names[name] = f"c{len(self._names)}"
                self.register_buffer(self._names[name], torch.from_numpy(np.array(value)))
            else:
                self._whole[name] = value

    def forward(self, inputs: Tensor) -> dict[str, Tensor]:
        """Return the outputs by name for (B, 3, H, W) inputs."""
        values: dict[str, Any] = {self._input: inputs}
        for node in self._nodes:
            arguments = [self._value(name, values) if name else None for name in node.input]
            if node.op_type == "Reshape":
                arguments = _for_a_batch(*arguments)
            if node.op_type == "Concat":
                arguments = [_repeated(value, len(inputs)) for value in arguments]
            given = attributes(node) | {"outputs": len(node.output)}
            values[node.output[0]] = TORCH_OPS[node.op_type](arguments, given)
        return {name: values[name] for name in self._outputs}

    def _value(self, name: str, values: dict[str, Any]) -> Any:
        if name in values:
            return values[name]
        return self.get_buffer(self._names[name]) if name in self._names else self._whole[name]


def _for_a_batch(values: Any, shape: Any) -> list[Any]:
    """Let a Reshape that was exported for one picture take a batch."""
    return [values, np.array([len(values), *shape[1:]]) if int(shape[0]) == 1 else shape]


def _repeated(value: Any, count: int) -> Any:
    """Repeat for each picture of a batch what a graph for one picture holds as a constant."""
    return value if len(value) == count else value.expand(count, *value.shape[1:])


def _constants(proto: onnx.ModelProto) -> dict[str, Any]:
    found = {tensor.name: numpy_helper.to_array(tensor) for tensor in proto.graph.initializer}
    for node in proto.graph.node:
        if node.op_type == "Constant":
            found[node.output[0]] = numpy_helper.to_array(attributes(node)["value"])
    return found
