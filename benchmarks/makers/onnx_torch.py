"""Run an ONNX graph node by node with torch operators, so that gradients reach its input.

The converter shares no code with any other in this project: it is the oracle's own. Parity to ONNX
Runtime is within 1e-4 of the logits; a graph with an unknown operator is refused by its name.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from torch import Tensor

from benchmarks.makers.onnx_operators import (
    ABSENT,
    OPERATORS,
    OPSET,
    OUTPUTS,
    Attributes,
    Operator,
    UnsupportedOperatorError,
)

__all__ = ["OnnxModule", "UnsupportedOperatorError", "load_onnx"]

_Step = tuple[Operator, list[str], list[str], Attributes]  # and the names of inputs and outputs


def _tensor(proto: onnx.TensorProto) -> Tensor:
    return torch.from_numpy(np.array(numpy_helper.to_array(proto)))


def _attributes(node: onnx.NodeProto, opset: int) -> dict[str, Any]:
    found: dict[str, Any] = {OPSET: opset, OUTPUTS: len(node.output)}
    for attribute in node.attribute:
        value = onnx.helper.get_attribute_value(attribute)
        if isinstance(value, onnx.TensorProto):
            value = _tensor(value)
        found[attribute.name] = value.decode() if isinstance(value, bytes) else value
    return found


def _constant(a: Attributes) -> Tensor:
    name, value = next((k, v) for k, v in a.items() if k.startswith("value"))
    if isinstance(value, Tensor):
        return value
    return torch.tensor(value, dtype=torch.int64 if "int" in name else torch.float32)


class OnnxModule(torch.nn.Module):
    """An ONNX graph of one image input as a differentiable torch function, weights frozen."""

    def __init__(self, proto: onnx.ModelProto) -> None:
        """Fold the constant part of the graph; raises UnsupportedOperatorError."""
        super().__init__()
        graph = proto.graph
        opset = max(o.version for o in proto.opset_import if o.domain in ("", "ai.onnx"))
        self._constants: dict[str, Tensor] = {t.name: _tensor(t) for t in graph.initializer}
        self._input = next(v.name for v in graph.input if v.name not in self._constants)
        self._outputs = [v.name for v in graph.output]
        self._steps: list[_Step] = []
        for node in graph.node:
            attributes = _attributes(node, opset)
            if node.op_type == "Constant":
                self._constants[node.output[0]] = _constant(attributes)
                continue
            if node.op_type not in OPERATORS:
                raise UnsupportedOperatorError(f"operator {node.op_type} ({node.name}) is unknown")
            step = (OPERATORS[node.op_type], list(node.input), list(node.output), attributes)
            if all(name in self._constants or not name for name in node.input):
                self._run(step, self._constants)
            else:
                self._steps.append(step)

    def on(self, device: str) -> OnnxModule:
        """Move the weights; whole numbers (shapes, axes) stay where they are read."""
        self._constants = {
            name: value.to(device) if value.is_floating_point() else value for name, value in self._constants.items()
        }
        return self

    @staticmethod
    def _run(step: _Step, values: dict[str, Tensor]) -> None:
        operator, inputs, outputs, attributes = step
        result = operator([values[name] if name else ABSENT for name in inputs], attributes)
        several = result if isinstance(result, list) else [result]
        values.update(zip(outputs, several, strict=False))  # an unused second output is left out

    def forward(self, x: Tensor) -> Tensor:
        """The graph's first output for an input of the graph's own shape, (N, 3, H, W)."""
        values = {**self._constants, self._input: x}
        for step in self._steps:
            self._run(step, values)
        return values[self._outputs[0]]


def load_onnx(path: Path | str) -> OnnxModule:
    """Read an ONNX file; raises UnsupportedOperatorError for a graph beyond the table."""
    return OnnxModule(onnx.load(str(path)))
