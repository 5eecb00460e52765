"""The transposed Jacobian of linear layers: Gemm, MatMul (of weights, or of two computed values), convolution."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from taintwatch_models.errors import ModelError
from taintwatch_models.graph.builder import attributes
from taintwatch_models.graph.cotangent import Cotangent, HeadContext
from taintwatch_models.graph.elementwise_rules import Rule

__all__ = ["LINEAR", "transposed_convolution"]


def _gemm(c: HeadContext, node: onnx.NodeProto, g: Cotangent) -> dict[str, Cotangent]:
    a = attributes(node)
    alpha, weights = float(a.get("alpha", 1.0)), c.constant(node.input[1])
    if a.get("transA", 0) or node.input[0] not in c.active or weights is None:
        raise ModelError(f"the head's Gemm ('{node.output[0]}') transposes its input or computes its weights")
    rows = np.asarray(weights, np.float32) if a.get("transB", 0) else np.asarray(weights, np.float32).T  # (out, in)
    stored = node.input[1] if a.get("transB", 0) and alpha == 1 else None
    return {node.input[0]: _through(c, g, rows if alpha == 1 else alpha * rows, stored)}


def _through(c: HeadContext, g: Cotangent, rows: NDArray[Any], stored: str | None = None) -> Cotangent:
    """Cross a linear layer whose transposed weights are `rows` (out, in), perhaps `stored` in the graph already."""
    name = stored or c.b.constant(np.ascontiguousarray(rows))
    if g.one_hot:  # a unit vector times a matrix is one of its rows
        return Cotangent(c.b.add("Gather", name, g.name, axis=0))
    return Cotangent(c.b.add("MatMul", g.name, name), g.spread)


def _matmul(c: HeadContext, node: onnx.NodeProto, g: Cotangent) -> dict[str, Cotangent]:
    first, second, y = node.input[0], node.input[1], node.output[0]
    weights, rank = c.constant(second), c.rank(y)
    if weights is not None and weights.ndim == 2 and rank - 1 not in g.spread:
        return {first: _through(c, g, weights.astype(np.float32).T)}
    if min(c.rank(first), c.rank(second)) < 2:
        raise ModelError(f"the head's MatMul ('{y}') multiplies by a vector; it has no rule")
    value, found = c.full(g, y), {}
    if first in c.active:
        found[first] = _summed(c, c.b.add("MatMul", value, _turned(c, second)), first, second)
    if second in c.active:
        own = _summed(c, c.b.add("MatMul", _turned(c, first), value), second, first)
        found[second] = c.add(found[second], own) if second in found else own
    return found


def _turned(c: HeadContext, name: str) -> str:
    rank = c.rank(name)
    return c.b.add("Transpose", name, perm=[*range(rank - 2), rank - 1, rank - 2])


def _summed(c: HeadContext, value: str, name: str, other: str) -> Cotangent:
    """Sum over leading axes that the input was broadcast along."""
    before, theirs = c.shape(name)[:-2], c.shape(other)[:-2]
    extra = max(0, len(theirs) - len(before))
    wide = [axis + 1 for axis in range(extra)]
    for axis in range(1, min(len(before), len(theirs)) + 1):
        if before[-axis] == 1 and theirs[-axis] != 1:
            wide.append(1 + extra + len(before) - axis)
    if wide:
        value = c.b.reduce("ReduceSum", value, wide, keepdims=True)
    if extra:
        value = c.b.squeeze(value, *range(1, extra + 1))
    return Cotangent(value)


def _convolution(c: HeadContext, node: onnx.NodeProto, g: Cotangent) -> dict[str, Cotangent]:
    weights = c.weights(node, 1).astype(np.float32)
    a = attributes(node)
    x, y = node.input[0], node.output[0]
    if weights.ndim != 4:
        raise ModelError(f"the head's Conv ('{y}') is not over cells; it has no rule")
    group, plain = int(a.get("group", 1)), not any(a.get("pads", [0])) and a.get("auto_pad", b"NOTSET") == b"NOTSET"
    channels, height, width = (c.size(x, axis) for axis in (1, 2, 3))
    outputs = [c.size(y, axis) for axis in (1, 2, 3)]
    g = c.dense(g)
    if plain and weights.shape[2:] == (height, width) and outputs[1:] == [1, 1]:
        if group == channels == outputs[0]:  # depthwise over the whole map: each channel spreads its own weights
            return {x: Cotangent(c.b.add("Mul", g.name, c.b.constant(weights[:, 0])))}
        if group == 1:
            flat = c.b.reshape(g.name, [0, 0, outputs[0]])
            product = c.b.add("MatMul", flat, c.b.constant(weights.reshape(outputs[0], -1)))
            return {x: Cotangent(c.b.reshape(product, [0, 0, channels, height, width]))}
    if plain and group == 1 and weights.shape[2:] == (1, 1) and set(a.get("strides", [1])) == {1}:
        even = g.spread >= {2, 3}
        value = g.name if even else c.full(g, y)
        product = c.b.add(
            "MatMul",
            c.b.constant(np.ascontiguousarray(weights[:, :, 0, 0].T)),
            c.b.reshape(value, [0, 0, outputs[0], -1]),
        )
        cells = [1, 1] if even else [height, width]
        return {
            x: Cotangent(c.b.reshape(product, [0, 0, channels, *cells]), frozenset({2, 3}) if even else frozenset())
        }
    return {x: transposed_convolution(c, node, g, weights, group)}


def transposed_convolution(
    c: HeadContext, node: onnx.NodeProto, g: Cotangent, weights: NDArray[Any], group: int
) -> Cotangent:
    """Cross a convolution, or an average pool as one, with the runtime's own transposed convolution."""
    a = attributes(node)
    if a.get("auto_pad", b"NOTSET") not in (b"NOTSET", b"VALID"):
        raise ModelError(f"the head's {node.op_type} ('{node.output[0]}') uses auto_pad; export it with explicit pads")
    before = [c.size(node.input[0], axis) for axis in (1, 2, 3)]
    after = [c.size(node.output[0], axis) for axis in (1, 2, 3)]
    pads, strides = list(a.get("pads", [0] * 4)), list(a.get("strides", [1, 1]))
    dilations = list(a.get("dilations", [1, 1]))
    rest = [
        before[1 + i]
        - ((after[1 + i] - 1) * strides[i] - pads[i] - pads[2 + i] + dilations[i] * (weights.shape[2 + i] - 1) + 1)
        for i in range(2)
    ]
    value = c.full(g, node.output[0])
    spread = c.b.add(
        "ConvTranspose", c.fold(value, after), c.b.constant(weights), group=group, pads=pads, strides=strides,
        dilations=dilations, output_padding=rest,
    )  # fmt: skip
    return Cotangent(c.unfold(spread, value, before))


LINEAR: dict[str, Rule] = {"Conv": _convolution, "Gemm": _gemm, "MatMul": _matmul}
