"""An ONNX object detector as a Torch module: for crafting attacks on it. Differentiable, weights frozen."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import numpy_helper
from torch import Tensor, nn

from taintwatch_models.graph.builder import attributes
from taintwatch_models.graph.simplification import opset_of
from taintwatch_models.torch_nodes import evaluate, require_known, run_node, size_names

__all__ = ["TorchDetector"]

_SAME = 1e-3  # of the largest value: what a batch may differ by from its pictures one by one


class TorchDetector(nn.Module):
    """Runs a detector's ONNX nodes with Torch ops, on any device.

    A graph that was exported for one picture takes batches here: all of it at once where that gives the same, else one
    picture after the other. A fully convolutional one takes inputs of other sizes (multiples of its largest stride).
    """

    def __init__(self, proto: onnx.ModelProto) -> None:
        """Raises `ModelError` naming an op that it does not know."""
        super().__init__()
        self._opset = opset_of(proto)
        constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in proto.graph.initializer}
        self._nodes = _folded(proto, constants, self._opset)
        self._sizes = size_names(self._nodes, constants)
        require_known(self._nodes, self._sizes)
        self._input = proto.graph.input[0].name
        self._outputs = [value.name for value in proto.graph.output]
        self._arrays = constants
        self._names: dict[str, str] = {}
        self._together: bool | None = None
        for name in {name for node in self._nodes for name in node.input} & constants.keys():
            value = constants[name]
            if value.dtype.kind == "f" and value.size:
                self._names[name] = f"c{len(self._names)}"
                self.register_buffer(self._names[name], torch.from_numpy(np.array(value)))

    def forward(self, inputs: Tensor) -> dict[str, Tensor]:
        """Return the outputs by name for (B, 3, H, W) inputs."""
        if len(inputs) > 1 and not self._takes_batches(inputs):
            alone = [self._run(each[None]) for each in inputs]
            return {name: torch.cat([each[name] for each in alone]) for name in self._outputs}
        return self._run(inputs)

    def _takes_batches(self, inputs: Tensor) -> bool:
        """Say whether two pictures at once give what they give one by one; tried with the first batch."""
        if self._together is None:
            with torch.no_grad():
                first, second = (self._run(inputs[row : row + 1]) for row in (0, 1))
                try:
                    both = self._run(inputs[:2])
                    self._together = all(_same(both[name], first[name], second[name]) for name in self._outputs)
                except (RuntimeError, ValueError, IndexError):  # sizes that hold for one picture alone
                    self._together = False
        return self._together

    def _run(self, inputs: Tensor) -> dict[str, Tensor]:
        values: dict[str, Any] = {self._input: inputs}
        for node in self._nodes:
            arguments = [self._value(name, values, node.output[0] in self._sizes) if name else None
                         for name in node.input]  # fmt: skip
            if node.op_type == "Reshape" and isinstance(arguments[0], Tensor):
                arguments = _for_a_batch(arguments[0], arguments[1], len(inputs))
            if node.op_type == "Concat" and any(isinstance(each, Tensor) for each in arguments):
                arguments = _repeated(arguments, attributes(node)["axis"], len(inputs))
            values.update(zip(node.output, run_node(node, arguments, self._opset), strict=False))
        return {name: values[name] for name in self._outputs}

    def _value(self, name: str, values: dict[str, Any], is_size: bool) -> Any:
        if name in values:
            return values[name]
        return self.get_buffer(self._names[name]) if name in self._names and not is_size else self._arrays[name]


def _folded(proto: onnx.ModelProto, constants: dict[str, NDArray[Any]], opset: int) -> list[onnx.NodeProto]:
    """Work out what hangs on constants alone, into these; return the other nodes."""
    nodes = []
    for node in proto.graph.node:
        if node.op_type == "Constant" or all(name in constants for name in node.input if name):
            found = evaluate(node, [constants[name] if name else None for name in node.input], opset)
            constants.update(zip(node.output, found, strict=False))
        else:
            nodes.append(node)
    return nodes


def _for_a_batch(values: Tensor, shape: Any, count: int) -> list[Any]:
    """Let a Reshape that was exported for one picture take a batch."""
    alone = count > 1 and len(values) == count and int(shape[0]) == 1
    return [values, np.array([count, *shape[1:]]) if alone else shape]


def _repeated(values: list[Any], axis: int, count: int) -> list[Any]:
    """Repeat for each picture of a batch what a graph for one picture holds as a constant."""
    if axis == 0 or not any(isinstance(each, Tensor) and len(each) == count for each in values):
        return values
    return [each.expand(count, *each.shape[1:]) if isinstance(each, Tensor) and len(each) == 1 else each
            for each in values]  # fmt: skip


def _same(both: Tensor, first: Tensor, second: Tensor) -> bool:
    """Say whether the outputs of two pictures are those of each."""
    alone = torch.cat([first, second])
    return both.shape == alone.shape and float((both - alone).abs().max()) <= _SAME * float(alone.abs().max())
