"""The transposed Jacobian of each op that a head may hold. To support another op, add one function to `RULES`."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx

from taintwatch_models.errors import ModelError
from taintwatch_models.graph.builder import attributes
from taintwatch_models.graph.head_context import Cotangent, HeadContext

__all__ = ["RULES", "Rule"]

Rule = Callable[[HeadContext, onnx.NodeProto, Cotangent], dict[str, Cotangent]]


def _times(c: HeadContext, g: Cotangent, factor: str, *, uniform: bool) -> Cotangent:
    g = c.dense(g)
    return Cotangent(c.b.add("Mul", g.name, factor), uniform=g.uniform and uniform)


def _flag(c: HeadContext, value: str) -> str:
    """A truth value as 0 or 1, beside K."""
    return c.beside(c.b.cast(value))


def _identity(c: HeadContext, node: onnx.NodeProto, g: Cotangent) -> dict[str, Cotangent]:
    return {node.input[0]: g}


def _add(c: HeadContext, node: onnx.NodeProto, g: Cotangent) -> dict[str, Cotangent]:
    if len(computed := c.computed(node)) == 1:
        _same_shape(c, node, computed[0])
        if node.op_type == "Sub" and computed[0] == node.input[1]:
            return {computed[0]: _times(c, g, c.b.constant(-1.0), uniform=True)}
        return {computed[0]: g}
    g = c.dense(g)
    for name in computed:
        _same_shape(c, node, name)
    second = _times(c, g, c.b.constant(-1.0), uniform=True) if node.op_type == "Sub" else g
    if computed[0] == computed[1]:
        return {computed[0]: Cotangent(c.b.add("Add", g.name, second.name), uniform=g.uniform)}
    return {node.input[0]: g, node.input[1]: second}


def _same_shape(c: HeadContext, node: onnx.NodeProto, name: str) -> None:
    if c.dims(name) != c.dims(node.output[0]):
        raise ModelError(
            f"the head's op {node.op_type} ('{node.output[0]}') broadcasts a computed value; it has no transpose here"
        )


def _multiply(c: HeadContext, node: onnx.NodeProto, g: Cotangent) -> dict[str, Cotangent]:
    computed = c.computed(node)
    for name in computed:
        _same_shape(c, node, name)
    if len(computed) == 2:  # y = a * b of two computed values (SiLU): each takes the other
        first, second = node.input[0], node.input[1]
        if first == second:
            doubled = c.b.add("Mul", c.beside(first), c.b.constant(2.0))
            return {first: _times(c, g, doubled, uniform=False)}
        return {
            first: _times(c, g, c.beside(second), uniform=False),
            second: _times(c, g, c.beside(first), uniform=False),
        }
    other = node.input[1] if computed[0] == node.input[0] else node.input[0]
    value = c.model.constants[other]
    factor = c.b.constant(np.asarray(value, np.float32))
    uniform = value.ndim < 2 or value.shape[-2:] == (1, 1)
    return {computed[0]: _times(c, g, factor, uniform=uniform)}


def _divide(c: HeadContext, node: onnx.NodeProto, g: Cotangent) -> dict[str, Cotangent]:
    divisor = c.weights(node, 1)
    _same_shape(c, node, node.input[0])
    uniform = divisor.ndim < 2 or divisor.shape[-2:] == (1, 1)
    return {node.input[0]: _times(c, g, c.b.constant(1.0 / divisor.astype(np.float32)), uniform=uniform)}


def _relu(c: HeadContext, node: onnx.NodeProto, g: Cotangent) -> dict[str, Cotangent]:
    passes = _flag(c, c.b.add("Greater", node.input[0], c.b.constant(0.0)))
    return {node.input[0]: _times(c, g, passes, uniform=False)}


def _clip(c: HeadContext, node: onnx.NodeProto, g: Cotangent) -> dict[str, Cotangent]:
    flags = []
    for index, op in ((1, "Greater"), (2, "Less")):
        if len(node.input) > index and node.input[index]:
            flags.append(c.b.add(op, node.input[0], c.b.constant(c.weights(node, index).astype(np.float32))))
    if not flags:
        return {node.input[0]: g}
    both = flags[0] if len(flags) == 1 else c.b.add("And", *flags)
    return {node.input[0]: _times(c, g, _flag(c, both), uniform=False)}


def _leaky(c: HeadContext, node: onnx.NodeProto, g: Cotangent) -> dict[str, Cotangent]:
    if node.op_type == "PRelu":
        slope = c.b.constant(c.weights(node, 1).astype(np.float32))
    else:
        slope = c.b.constant(float(attributes(node).get("alpha", 0.01)))
    positive = c.b.add("Greater", node.input[0], c.b.constant(0.0))
    factor = c.b.add("Where", positive, c.b.constant(1.0), slope)
    return {node.input[0]: _times(c, g, c.beside(factor), uniform=False)}


def _sigmoid(c: HeadContext, node: onnx.NodeProto, g: Cotangent) -> dict[str, Cotangent]:
    y = node.output[0]
    factor = c.b.add("Mul", y, c.b.add("Sub", c.b.constant(1.0), y))
    return {node.input[0]: _times(c, g, c.beside(factor), uniform=False)}


def _hard_sigmoid(c: HeadContext, node: onnx.NodeProto, g: Cotangent) -> dict[str, Cotangent]:
    y = node.output[0]
    rising = c.b.add("And", c.b.add("Greater", y, c.b.constant(0.0)), c.b.add("Less", y, c.b.constant(1.0)))
    factor = c.b.add("Mul", _flag(c, rising), c.b.constant(float(attributes(node).get("alpha", 0.2))))
    return {node.input[0]: _times(c, g, factor, uniform=False)}


def _tanh(c: HeadContext, node: onnx.NodeProto, g: Cotangent) -> dict[str, Cotangent]:
    y = node.output[0]
    factor = c.b.add("Sub", c.b.constant(1.0), c.b.add("Mul", y, y))
    return {node.input[0]: _times(c, g, c.beside(factor), uniform=False)}


def _hard_swish(c: HeadContext, node: onnx.NodeProto, g: Cotangent) -> dict[str, Cotangent]:
    x = node.input[0]  # x * clip(x / 6 + 1/2, 0, 1): slope 0 below -3, 1 above 3, x / 3 + 1/2 between
    slope = c.b.add("Add", c.b.add("Mul", x, c.b.constant(1 / 3)), c.b.constant(0.5))
    below = c.b.add("LessOrEqual", x, c.b.constant(-3.0))
    above = c.b.add("GreaterOrEqual", x, c.b.constant(3.0))
    slope = c.b.add("Where", above, c.b.constant(1.0), c.b.add("Where", below, c.b.constant(0.0), slope))
    return {x: _times(c, g, c.beside(slope), uniform=False)}


def _batch_norm(c: HeadContext, node: onnx.NodeProto, g: Cotangent) -> dict[str, Cotangent]:
    scale, variance = c.weights(node, 1), c.weights(node, 4)
    factor = scale / np.sqrt(variance + float(attributes(node).get("epsilon", 1e-5)))
    cells = len(c.dims(node.input[0])) - 1
    return {node.input[0]: _times(c, g, c.b.constant(factor.reshape(-1, *[1] * cells)), uniform=True)}


def _reshape(c: HeadContext, node: onnx.NodeProto, g: Cotangent) -> dict[str, Cotangent]:
    before, after = c.dims(node.input[0]), c.dims(node.output[0])
    if before == after:
        return {node.input[0]: g}
    g = c.dense(g)
    if len(after) == 3:
        g = c.expand(g, (after[1], after[2]))
    return {node.input[0]: Cotangent(c.b.reshape(g.name, [0, 0, *before]))}


def _global_average(c: HeadContext, node: onnx.NodeProto, g: Cotangent) -> dict[str, Cotangent]:
    if node.op_type == "ReduceMean":
        axes = attributes(node).get("axes")
        axes = c.weights(node, 1).tolist() if axes is None else axes
        rank = len(c.dims(node.input[0])) + 1
        if rank != 4 or sorted(a % rank for a in axes) != [2, 3]:
            raise ModelError(f"the head's ReduceMean ('{node.output[0]}') is not over the cells")
    channels, height, width = c.dims(node.input[0])
    g = c.dense(g)
    name = g.name if len(c.dims(node.output[0])) == 3 else c.b.reshape(g.name, [0, 0, channels, 1, 1])
    share = c.b.constant(1.0 / (height * width))
    return {node.input[0]: Cotangent(c.b.add("Mul", name, share), uniform=True)}


def _average(c: HeadContext, node: onnx.NodeProto, g: Cotangent) -> dict[str, Cotangent]:
    a = attributes(node)
    channels, height, width = c.dims(node.input[0])
    kernel, padded = list(a["kernel_shape"]), any(a.get("pads", [0]))
    if kernel == [1, 1] and not padded:
        return {node.input[0]: g}
    if kernel == [height, width] and not padded:
        return _global_average(c, node, g)
    if (padded and not a.get("count_include_pad", 0)) or a.get("ceil_mode", 0):
        raise ModelError(f"the head's AveragePool ('{node.output[0]}') counts a padded edge")
    weights = np.full((channels, 1, *kernel), 1.0 / (kernel[0] * kernel[1]), np.float32)
    return {node.input[0]: _transposed_convolution(c, node, g, weights, channels)}


def _max(c: HeadContext, node: onnx.NodeProto, g: Cotangent) -> dict[str, Cotangent]:
    """Scatter each cell's cotangent to the cell that won: exact for overlapping windows and ties, as autograd is."""
    channels, height, width = c.dims(node.input[0])
    _, out_height, out_width = c.dims(node.output[0])
    a = attributes(node)
    if node.op_type == "GlobalMaxPool":
        a = {"kernel_shape": [height, width]}
    a.pop("storage_order", None)
    indices = c.b.add_many("MaxPool", node.input[0], outputs=2, **a)[1]
    cells = c.b.add("Mod", indices, c.b.constant(height * width))  # ONNX counts through (N, C, H, W)
    flat = c.b.reshape(cells, [0, 1, channels, out_height * out_width])
    g = c.expand(c.dense(g), (out_height, out_width))
    values = c.b.reshape(g.name, [0, 0, channels, out_height * out_width])
    where = c.b.add("Expand", flat, c.b.add("Shape", values))
    target = c.b.add("Concat", c.b.add("Shape", values, start=0, end=3), c.b.constant([height * width]), axis=0)
    zeros = c.b.add("Expand", c.b.constant(0.0), target)
    scattered = c.b.add("ScatterElements", zeros, where, values, axis=3, reduction="add")
    return {node.input[0]: Cotangent(c.b.reshape(scattered, [0, 0, channels, height, width]))}


def _convolution(c: HeadContext, node: onnx.NodeProto, g: Cotangent) -> dict[str, Cotangent]:
    weights = c.weights(node, 1).astype(np.float32)
    a = attributes(node)
    group, plain = int(a.get("group", 1)), not any(a.get("pads", [0])) and a.get("auto_pad", b"NOTSET") == b"NOTSET"
    channels, height, width = c.dims(node.input[0])
    outputs = c.dims(node.output[0])
    g = c.dense(g)
    if plain and weights.shape[2:] == (height, width) and outputs[1:] == (1, 1):
        if group == channels == outputs[0]:  # depthwise over the whole map: each channel spreads its own weights
            spread = c.b.constant(weights[:, 0])
            return {node.input[0]: Cotangent(c.b.add("Mul", g.name, spread), uniform=height * width == 1)}
        if group == 1:
            flat = c.b.reshape(g.name, [0, 0, outputs[0]])
            product = c.b.add("MatMul", flat, c.b.constant(weights.reshape(outputs[0], -1)))
            return {node.input[0]: Cotangent(c.b.reshape(product, [0, 0, channels, height, width]))}
    if plain and group == 1 and weights.shape[2:] == (1, 1) and set(a.get("strides", [1])) == {1}:
        flat = c.b.reshape(g.name, [0, 0, outputs[0], -1])
        product = c.b.add("MatMul", c.b.constant(np.ascontiguousarray(weights[:, :, 0, 0].T)), flat)
        cells = [1, 1] if g.uniform else [height, width]
        return {node.input[0]: Cotangent(c.b.reshape(product, [0, 0, channels, *cells]), uniform=g.uniform)}
    return {node.input[0]: _transposed_convolution(c, node, g, weights, group)}


def _transposed_convolution(
    c: HeadContext, node: onnx.NodeProto, g: Cotangent, weights: np.ndarray, group: int
) -> Cotangent:
    a = attributes(node)
    if a.get("auto_pad", b"NOTSET") not in (b"NOTSET", b"VALID"):
        raise ModelError(f"the head's {node.op_type} ('{node.output[0]}') uses auto_pad; export it with explicit pads")
    before, after = c.dims(node.input[0]), c.dims(node.output[0])
    pads, strides = list(a.get("pads", [0] * 4)), list(a.get("strides", [1, 1]))
    dilations = list(a.get("dilations", [1, 1]))
    rest = [
        before[1 + i]
        - ((after[1 + i] - 1) * strides[i] - pads[i] - pads[2 + i] + dilations[i] * (weights.shape[2 + i] - 1) + 1)
        for i in range(2)
    ]
    g = c.expand(c.dense(g), (after[1], after[2]))
    folded = c.fold(g.name, after)
    spread = c.b.add(
        "ConvTranspose",
        folded,
        c.b.constant(weights),
        group=group,
        pads=pads,
        strides=strides,
        dilations=dilations,
        output_padding=rest,
    )
    return Cotangent(c.unfold(spread, g.name, before))


def _linear(c: HeadContext, node: onnx.NodeProto, g: Cotangent) -> dict[str, Cotangent]:
    if node.input[0] in c.model.constants:
        raise ModelError(f"the head's {node.op_type} ('{node.output[0]}') has its weights first")
    weights = c.weights(node, 1).astype(np.float32)  # (in, out)
    if node.op_type == "Gemm":
        a = attributes(node)
        if a.get("transA", 0):
            raise ModelError(f"the head's Gemm ('{node.output[0]}') transposes its input")
        weights = float(a.get("alpha", 1.0)) * (weights.T if a.get("transB", 0) else weights)
    stored_so = node.op_type == "Gemm" and attributes(node).get("transB", 0) and attributes(node).get("alpha", 1.0) == 1
    rows = node.input[1] if stored_so else c.b.constant(np.ascontiguousarray(weights.T))  # (out, in)
    if g.one_hot:  # a unit vector times a matrix is one of its rows
        return {node.input[0]: Cotangent(c.b.add("Gather", rows, g.name, axis=0))}
    return {node.input[0]: Cotangent(c.b.add("MatMul", g.name, rows))}


RULES: dict[str, Rule] = {
    "Add": _add,
    "AveragePool": _average,
    "BatchNormalization": _batch_norm,
    "Clip": _clip,
    "Conv": _convolution,
    "Div": _divide,
    "Dropout": _identity,
    "Flatten": _reshape,
    "Gemm": _linear,
    "GlobalAveragePool": _global_average,
    "GlobalMaxPool": _max,
    "HardSigmoid": _hard_sigmoid,
    "HardSwish": _hard_swish,
    "Identity": _identity,
    "LeakyRelu": _leaky,
    "MatMul": _linear,
    "MaxPool": _max,
    "Mul": _multiply,
    "PRelu": _leaky,
    "ReduceMean": _global_average,
    "Relu": _relu,
    "Reshape": _reshape,
    "Sigmoid": _sigmoid,
    "Squeeze": _reshape,
    "Sub": _add,
    "Tanh": _tanh,
    "Unsqueeze": _reshape,
}
