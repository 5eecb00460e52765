"""The transposed Jacobian of what gathers many values: pools, reductions, normalisations, softmax."""

from __future__ import annotations

import numpy as np
import onnx

from taintwatch_models.errors import ModelError
from taintwatch_models.graph.builder import attributes
from taintwatch_models.graph.cotangent import Cotangent, HeadContext
from taintwatch_models.graph.elementwise_rules import Rule
from taintwatch_models.graph.linear_rules import transposed_convolution

__all__ = ["POOLING"]


def _axes(c: HeadContext, node: onnx.NodeProto) -> list[int]:
    """Which axes a reduction or global pool goes over."""
    rank = c.rank(node.input[0])
    if node.op_type.startswith("Global"):
        return list(range(2, rank))
    axes = attributes(node).get("axes")
    if axes is None and len(node.input) > 1 and node.input[1]:
        axes = c.weights(node, 1).tolist()
    return sorted(axis % rank for axis in (range(rank) if axes is None else axes))


def _keepdims(c: HeadContext, node: onnx.NodeProto, value: str, axes: list[int], *, cotangent: bool) -> str:
    """Give a reduction's output, or its cotangent, size 1 along the reduced axes."""
    if node.op_type.startswith("Global") or attributes(node).get("keepdims", 1):
        return value
    return c.b.unsqueeze(value, *(axis + cotangent for axis in axes))


def _total(c: HeadContext, node: onnx.NodeProto, g: Cotangent) -> dict[str, Cotangent]:
    """ReduceSum, ReduceMean, GlobalAveragePool: the same to every value that was summed."""
    x, axes = node.input[0], _axes(c, node)
    g = c.dense(g)
    if g.spread:
        g = Cotangent(c.full(g, node.output[0]))
    name = _keepdims(c, node, g.name, axes, cotangent=True)
    if node.op_type != "ReduceSum":
        count = int(np.prod([c.size(x, axis) for axis in axes]))
        name = c.b.add("Mul", name, c.b.constant(1.0 / count))
    return {x: Cotangent(name, frozenset(axes))}


def _reduced(c: HeadContext, node: onnx.NodeProto, g: Cotangent) -> tuple[list[int], Cotangent, str]:
    axes = _axes(c, node)
    value = c.full(g, node.output[0])
    wide = Cotangent(_keepdims(c, node, value, axes, cotangent=True), frozenset(axes))
    return axes, wide, _keepdims(c, node, node.output[0], axes, cotangent=False)


def _largest(c: HeadContext, node: onnx.NodeProto, g: Cotangent) -> dict[str, Cotangent]:
    """ReduceMax, ReduceMin: to the value that won, in equal shares where several did (as torch.amax)."""
    x = node.input[0]
    axes, wide, y = _reduced(c, node, g)
    won = c.b.cast(c.b.add("Equal", x, y))
    share = c.b.add("Div", won, c.b.reduce("ReduceSum", won, axes, keepdims=True))
    return {x: c.times(wide, share, x)}


def _norm(c: HeadContext, node: onnx.NodeProto, g: Cotangent) -> dict[str, Cotangent]:
    """ReduceL2: x / y."""
    x = node.input[0]
    _, wide, y = _reduced(c, node, g)
    return {x: c.times(wide, c.b.add("Div", x, c.b.add("Max", y, c.b.constant(1e-12))), x)}


def _squares(c: HeadContext, node: onnx.NodeProto, g: Cotangent) -> dict[str, Cotangent]:
    x = node.input[0]
    _, wide, _ = _reduced(c, node, g)
    return {x: c.times(wide, c.b.add("Mul", x, c.b.constant(2.0)), x)}


def _unit_length(c: HeadContext, node: onnx.NodeProto, g: Cotangent) -> dict[str, Cotangent]:
    """LpNormalization, p = 2: (g - y * sum(g * y)) / |x|."""
    x, y, a = node.input[0], node.output[0], attributes(node)
    if a.get("p", 2) != 2:
        raise ModelError(f"the head's LpNormalization ('{y}') is not Euclidean; it has no rule")
    axis = c.axis(x, a.get("axis", -1))
    value = c.full(g, y)
    along = c.b.reduce("ReduceSum", c.b.add("Mul", value, y), [axis + 1], keepdims=True)
    length = c.b.reduce("ReduceL2", x, [axis], keepdims=True)
    return {x: Cotangent(c.b.add("Div", c.b.add("Sub", value, c.b.add("Mul", along, y)), length))}


def _average(c: HeadContext, node: onnx.NodeProto, g: Cotangent) -> dict[str, Cotangent]:
    a, x = attributes(node), node.input[0]
    if c.rank(x) != 4:
        raise ModelError(f"the head's AveragePool ('{node.output[0]}') is not over cells; it has no rule")
    channels, height, width = (c.size(x, axis) for axis in (1, 2, 3))
    kernel, padded = list(a["kernel_shape"]), any(a.get("pads", [0]))
    if kernel == [1, 1] and not padded:
        return {x: g}
    if kernel == [height, width] and not padded:
        g = c.dense(g)
        share = c.b.add("Mul", g.name, c.b.constant(1.0 / (height * width)))
        return {x: Cotangent(share, frozenset({2, 3}))}
    if (padded and not a.get("count_include_pad", 0)) or a.get("ceil_mode", 0):
        raise ModelError(f"the head's AveragePool ('{node.output[0]}') counts a padded edge; it has no rule")
    weights = np.full((channels, 1, *kernel), 1.0 / (kernel[0] * kernel[1]), np.float32)
    return {x: transposed_convolution(c, node, g, weights, channels)}


def _max_pool(c: HeadContext, node: onnx.NodeProto, g: Cotangent) -> dict[str, Cotangent]:
    """Scatter each cell's cotangent to the cell that won: exact for overlapping windows and ties, as autograd is."""
    x, y = node.input[0], node.output[0]
    channels, height, width = (c.size(x, axis) for axis in (1, 2, 3))
    out = c.size(y, 2) * c.size(y, 3)
    a = attributes(node)
    if node.op_type == "GlobalMaxPool":
        a = {"kernel_shape": [height, width]}
    a.pop("storage_order", None)
    indices = c.b.add_many("MaxPool", x, outputs=2, **a)[1]
    cells = c.b.add("Mod", indices, c.b.constant(height * width))  # ONNX counts through (N, C, H, W)
    flat = c.b.reshape(cells, [0, channels, out])
    values = c.b.reshape(c.full(g, y), [0, 0, channels, out])  # (K, B, channels, out)
    where = c.b.add("Expand", flat, c.b.add("Shape", values))
    target = c.b.add("Concat", c.b.add("Shape", values, start=0, end=3), c.b.constant([height * width]), axis=0)
    zeros = c.b.add("Expand", c.b.constant(0.0), target)
    scattered = c.b.add("ScatterElements", zeros, where, values, axis=3, reduction="add")
    return {x: Cotangent(c.b.reshape(scattered, [0, 0, channels, height, width]))}


def _softmax(c: HeadContext, node: onnx.NodeProto, g: Cotangent) -> dict[str, Cotangent]:
    """y * (g - sum(g * y)); of the logarithm: g - exp(y) * sum(g)."""
    y = node.output[0]
    axis = c.axis(y, attributes(node).get("axis", -1)) + 1
    value = c.full(g, y)
    if node.op_type == "LogSoftmax":
        total = c.b.reduce("ReduceSum", value, [axis], keepdims=True)
        return {node.input[0]: Cotangent(c.b.add("Sub", value, c.b.add("Mul", c.b.add("Exp", y), total)))}
    along = c.b.reduce("ReduceSum", c.b.add("Mul", value, y), [axis], keepdims=True)
    return {node.input[0]: Cotangent(c.b.add("Mul", c.b.add("Sub", value, along), y))}


def _normalised(c: HeadContext, x: str, value: str, axes: list[int], epsilon: float, *, centred: bool = True) -> str:
    """Cross z = (x - mean) / deviation over `axes`: (g - mean(g) - z * mean(g * z)) / deviation."""
    b, over = c.b, [axis + 1 for axis in axes]
    rest = b.add("Sub", x, b.reduce("ReduceMean", x, axes, keepdims=True)) if centred else x
    variance = b.reduce("ReduceMean", b.add("Mul", rest, rest), axes, keepdims=True)
    deviation = b.add("Sqrt", b.add("Add", variance, b.constant(epsilon)))
    z = b.add("Div", rest, deviation)
    along = b.reduce("ReduceMean", b.add("Mul", value, z), over, keepdims=True)
    inner = b.add("Sub", value, b.add("Mul", z, along))
    if centred:
        inner = b.add("Sub", inner, b.reduce("ReduceMean", value, over, keepdims=True))
    return b.add("Div", inner, deviation)


def _layer_norm(c: HeadContext, node: onnx.NodeProto, g: Cotangent) -> dict[str, Cotangent]:
    a, x = attributes(node), node.input[0]
    rank = c.rank(x)
    scale = c.weights(node, 1).astype(np.float32)
    value = c.b.add("Mul", c.full(g, node.output[0]), c.b.constant(scale))
    axes = list(range(a.get("axis", -1) % rank, rank))
    centred = node.op_type != "RMSNormalization"
    return {x: Cotangent(_normalised(c, x, value, axes, float(a.get("epsilon", 1e-5)), centred=centred))}


def _group_norm(c: HeadContext, node: onnx.NodeProto, g: Cotangent) -> dict[str, Cotangent]:
    """GroupNormalization, InstanceNormalization: normalise each group of channels over all its cells."""
    a, x = attributes(node), node.input[0]
    rank, channels = c.rank(x), c.size(x, 1)
    groups = int(a.get("num_groups", channels))
    scale = c.weights(node, 1).astype(np.float32)
    if len(scale) != channels:  # up to opset 20 one scale a group
        scale = np.repeat(scale, channels // groups)
    value = c.b.add("Mul", c.full(g, node.output[0]), c.b.constant(scale.reshape(-1, *[1] * (rank - 2))))
    flat = _normalised(
        c, c.b.reshape(x, [0, groups, -1]), c.b.reshape(value, [0, 0, groups, -1]), [2], float(a.get("epsilon", 1e-5))
    )
    return {x: Cotangent(c.reshaped(flat, x))}


POOLING: dict[str, Rule] = {
    "AveragePool": _average,
    "GlobalAveragePool": _total,
    "GlobalMaxPool": _max_pool,
    "GroupNormalization": _group_norm,
    "InstanceNormalization": _group_norm,
    "LayerNormalization": _layer_norm,
    "LogSoftmax": _softmax,
    "LpNormalization": _unit_length,
    "MaxPool": _max_pool,
    "RMSNormalization": _layer_norm,
    "ReduceL2": _norm,
    "ReduceMax": _largest,
    "ReduceMean": _total,
    "ReduceMin": _largest,
    "ReduceSum": _total,
    "ReduceSumSquare": _squares,
    "Softmax": _softmax,
}
