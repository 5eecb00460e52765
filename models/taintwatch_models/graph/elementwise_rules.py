"""The transposed Jacobian of ops that work value by value: the cotangent times a slope, summed where one broadcast."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import onnx

from taintwatch_models.errors import ModelError
from taintwatch_models.graph.builder import attributes
from taintwatch_models.graph.cotangent import Cotangent, HeadContext

__all__ = ["ELEMENTWISE", "Rule"]

Rule = Callable[[HeadContext, onnx.NodeProto, Cotangent], dict[str, Cotangent]]
Slope = Callable[[HeadContext, onnx.NodeProto], str]


def _identity(c: HeadContext, node: onnx.NodeProto, g: Cotangent) -> dict[str, Cotangent]:
    """Cast, dropout; also QuantizeLinear and DequantizeLinear, straight through (Bengio et al., 2013)."""
    return {node.input[0]: g}


def _sloped(slope: Slope) -> Rule:
    def rule(c: HeadContext, node: onnx.NodeProto, g: Cotangent) -> dict[str, Cotangent]:
        return {node.input[0]: c.times(g, slope(c, node), node.input[0])}

    return rule


def _flag(c: HeadContext, value: str) -> str:
    return c.b.cast(value)


def _step(c: HeadContext, name: str) -> str:
    return c.b.add("Greater", name, c.b.constant(0.0))


def _relu(c: HeadContext, node: onnx.NodeProto) -> str:
    return _flag(c, _step(c, node.input[0]))


def _leaky(c: HeadContext, node: onnx.NodeProto) -> str:
    if node.op_type == "PRelu":
        below = c.b.constant(c.weights(node, 1).astype(np.float32))
    else:
        below = c.b.constant(float(attributes(node).get("alpha", 0.01)))
    return c.b.add("Where", _step(c, node.input[0]), c.b.constant(1.0), below)


def _elu(c: HeadContext, node: onnx.NodeProto) -> str:
    """ELU, SELU, CELU: scale above 0, scale * alpha * exp(x / width) below."""
    a, op = attributes(node), node.op_type
    selu = op == "Selu"
    alpha = float(a.get("alpha", 1.6732632423543772 if selu else 1.0))
    scale = float(a.get("gamma", 1.0507009873554805)) if selu else 1.0
    width, factor = (alpha, 1.0) if op == "Celu" else (1.0, alpha)
    x = c.b.add("Min", node.input[0], c.b.constant(0.0))
    below = c.b.add("Mul", c.b.add("Exp", c.b.add("Div", x, c.b.constant(width))), c.b.constant(scale * factor))
    return c.b.add("Where", _step(c, node.input[0]), c.b.constant(scale), below)


def _one_minus(c: HeadContext, value: str) -> str:
    return c.b.add("Sub", c.b.constant(1.0), value)


def _sigmoid(c: HeadContext, node: onnx.NodeProto) -> str:
    return c.b.add("Mul", node.output[0], _one_minus(c, node.output[0]))


def _tanh(c: HeadContext, node: onnx.NodeProto) -> str:
    return _one_minus(c, c.b.add("Mul", node.output[0], node.output[0]))


def _softplus(c: HeadContext, node: onnx.NodeProto) -> str:
    return c.b.add("Sigmoid", node.input[0])


def _swish(c: HeadContext, node: onnx.NodeProto) -> str:
    """x * s(ax): s + ax * s * (1 - s)."""
    scaled = c.b.add("Mul", node.input[0], c.b.constant(float(attributes(node).get("alpha", 1.0))))
    s = c.b.add("Sigmoid", scaled)
    return c.b.add("Add", s, c.b.add("Mul", scaled, c.b.add("Mul", s, _one_minus(c, s))))


def _mish(c: HeadContext, node: onnx.NodeProto) -> str:
    """x * t, t = tanh(softplus(x)): t + x * (1 - t^2) * sigmoid(x)."""
    x = node.input[0]
    t = c.b.add("Tanh", c.b.add("Softplus", x))
    inner = c.b.add("Mul", _one_minus(c, c.b.add("Mul", t, t)), c.b.add("Sigmoid", x))
    return c.b.add("Add", t, c.b.add("Mul", x, inner))


def _erf(c: HeadContext, node: onnx.NodeProto) -> str:
    x = node.input[0]
    bell = c.b.add("Exp", c.b.add("Neg", c.b.add("Mul", x, x)))
    return c.b.add("Mul", bell, c.b.constant(2 / math.sqrt(math.pi)))


def _gelu(c: HeadContext, node: onnx.NodeProto) -> str:
    """x * Phi(x): Phi(x) + x * phi(x); or its approximation by tanh."""
    x = node.input[0]
    if attributes(node).get("approximate", b"none") == b"tanh":
        root = math.sqrt(2 / math.pi)
        square = c.b.add("Mul", x, x)
        inner = c.b.add(
            "Mul", x, c.b.add("Add", c.b.constant(root), c.b.add("Mul", square, c.b.constant(0.044715 * root)))
        )
        t = c.b.add("Tanh", inner)
        slope = c.b.add("Add", c.b.constant(root), c.b.add("Mul", square, c.b.constant(3 * 0.044715 * root)))
        bend = c.b.add("Mul", _one_minus(c, c.b.add("Mul", t, t)), c.b.add("Mul", x, slope))
        whole = c.b.add("Add", c.b.add("Add", t, c.b.constant(1.0)), bend)
        return c.b.add("Mul", whole, c.b.constant(0.5))
    share = c.b.add("Erf", c.b.add("Mul", x, c.b.constant(math.sqrt(0.5))))
    share = c.b.add("Mul", c.b.add("Add", share, c.b.constant(1.0)), c.b.constant(0.5))
    bell = c.b.add("Exp", c.b.add("Mul", c.b.add("Mul", x, x), c.b.constant(-0.5)))
    bell = c.b.add("Mul", bell, c.b.constant(1 / math.sqrt(2 * math.pi)))
    return c.b.add("Add", share, c.b.add("Mul", x, bell))


def _hard_sigmoid(c: HeadContext, node: onnx.NodeProto) -> str:
    y = node.output[0]
    rising = c.b.add("And", _step(c, y), c.b.add("Less", y, c.b.constant(1.0)))
    return c.b.add("Mul", _flag(c, rising), c.b.constant(float(attributes(node).get("alpha", 0.2))))


def _hard_swish(c: HeadContext, node: onnx.NodeProto) -> str:
    """x * clip(x / 6 + 1/2, 0, 1): slope 0 below -3, 1 above 3, x / 3 + 1/2 between."""
    x = node.input[0]
    slope = c.b.add("Add", c.b.add("Mul", x, c.b.constant(1 / 3)), c.b.constant(0.5))
    below = c.b.add("LessOrEqual", x, c.b.constant(-3.0))
    above = c.b.add("GreaterOrEqual", x, c.b.constant(3.0))
    return c.b.add("Where", above, c.b.constant(1.0), c.b.add("Where", below, c.b.constant(0.0), slope))


def _clip(c: HeadContext, node: onnx.NodeProto, g: Cotangent) -> dict[str, Cotangent]:
    flags = [
        c.b.add(op, node.input[0], c.b.constant(c.weights(node, index).astype(np.float32)))
        for index, op in ((1, "Greater"), (2, "Less"))
        if len(node.input) > index and node.input[index]
    ]
    if not flags:
        return {node.input[0]: g}
    both = flags[0] if len(flags) == 1 else c.b.add("And", *flags)
    return {node.input[0]: c.times(g, _flag(c, both), node.input[0])}


def _exp(c: HeadContext, node: onnx.NodeProto) -> str:
    return str(node.output[0])


def _log(c: HeadContext, node: onnx.NodeProto) -> str:
    return c.b.add("Reciprocal", node.input[0])


def _sqrt(c: HeadContext, node: onnx.NodeProto) -> str:
    return c.b.add("Div", c.b.constant(0.5), node.output[0])


def _reciprocal(c: HeadContext, node: onnx.NodeProto) -> str:
    return c.b.add("Neg", c.b.add("Mul", node.output[0], node.output[0]))


def _absolute(c: HeadContext, node: onnx.NodeProto) -> str:
    return c.b.add("Sign", node.input[0])


def _negative(c: HeadContext, node: onnx.NodeProto, g: Cotangent) -> dict[str, Cotangent]:
    return {node.input[0]: c.by_constant(g, -1.0, c.rank(node.input[0]))}


def _power(c: HeadContext, node: onnx.NodeProto, g: Cotangent) -> dict[str, Cotangent]:
    exponent = c.weights(node, 1).astype(np.float32)
    raised = c.b.add("Pow", node.input[0], c.b.constant(exponent - 1))
    scaled = c.times(g, c.b.add("Mul", raised, c.b.constant(exponent)), node.output[0])
    return {node.input[0]: c.summed_to(scaled, node.output[0], node.input[0])}


def _gathered(c: HeadContext, node: onnx.NodeProto, parts: list[tuple[str, Cotangent]]) -> dict[str, Cotangent]:
    """Sum each part to its input's shape; an input that stands twice takes both."""
    found: dict[str, Cotangent] = {}
    for name, part in parts:
        own = c.summed_to(part, node.output[0], name)
        found[name] = c.add(found[name], own) if name in found else own
    return found


def _sum(c: HeadContext, node: onnx.NodeProto, g: Cotangent) -> dict[str, Cotangent]:
    """Add, Sub, Sum."""
    active = [(index, name) for index, name in enumerate(node.input) if name in c.active]
    if g.one_hot and len(active) == 1 and node.op_type == "Add" and c.shape(active[0][1]) == c.shape(node.output[0]):
        return {active[0][1]: g}
    rank = c.rank(node.output[0])
    parts = [(n, c.by_constant(g, -1.0, rank) if node.op_type == "Sub" and i == 1 else g) for i, n in active]
    return _gathered(c, node, parts)


def _product(c: HeadContext, node: onnx.NodeProto, g: Cotangent) -> dict[str, Cotangent]:
    parts = []
    for index, name in enumerate(node.input):
        if name in c.active:
            parts.append((name, _by(c, g, node.input[1 - index], c.rank(node.output[0]))))
    return _gathered(c, node, parts)


def _by(c: HeadContext, g: Cotangent, other: str, rank: int) -> Cotangent:
    value = c.constant(other)
    return c.by_constant(g, value, rank) if value is not None else c.scale(g, other, c.shape(other), rank)


def _quotient(c: HeadContext, node: onnx.NodeProto, g: Cotangent) -> dict[str, Cotangent]:
    """a / b: 1 / b to a, -y / b to b."""
    above, below = node.input[0], node.input[1]
    rank, value = c.rank(node.output[0]), c.constant(below)
    if value is not None:
        part = c.by_constant(g, 1.0 / value.astype(np.float64), rank)
        return {above: c.summed_to(part, node.output[0], above)}
    share = c.scale(g, c.b.add("Reciprocal", below), c.shape(below), rank)
    parts = [(above, share)] if above in c.active else []
    if below in c.active:
        parts.append((below, c.times(share, c.b.add("Neg", node.output[0]), node.output[0])))
    return _gathered(c, node, parts)


def _extreme(c: HeadContext, node: onnx.NodeProto, g: Cotangent) -> dict[str, Cotangent]:
    """Max, Min of several values: to the one that won."""
    parts = [
        (name, c.times(g, _flag(c, c.b.add("Equal", name, node.output[0])), node.output[0]))
        for name in node.input
        if name in c.active
    ]
    return _gathered(c, node, parts)


def _where(c: HeadContext, node: onnx.NodeProto, g: Cotangent) -> dict[str, Cotangent]:
    parts = []
    for index in (1, 2):
        name = node.input[index]
        if name in c.active:
            condition = node.input[0] if index == 1 else c.b.add("Not", node.input[0])
            parts.append((name, c.scale(g, _flag(c, condition), c.shape(node.input[0]), c.rank(node.output[0]))))
    return _gathered(c, node, parts)


def _batch_norm(c: HeadContext, node: onnx.NodeProto, g: Cotangent) -> dict[str, Cotangent]:
    scale, variance = c.weights(node, 1).astype(np.float64), c.weights(node, 4).astype(np.float64)
    factor = scale / np.sqrt(variance + float(attributes(node).get("epsilon", 1e-5)))
    rank = c.rank(node.input[0])
    return {node.input[0]: c.by_constant(g, factor.reshape(-1, *[1] * (rank - 2)), rank)}


def _cast(c: HeadContext, node: onnx.NodeProto, g: Cotangent) -> dict[str, Cotangent]:
    if attributes(node)["to"] not in (onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16, onnx.TensorProto.DOUBLE):
        raise ModelError(f"the head rounds to whole numbers at '{node.output[0]}'; no gradient passes there")
    return {node.input[0]: g}


ELEMENTWISE: dict[str, Rule] = {
    "Abs": _sloped(_absolute),
    "Add": _sum,
    "BatchNormalization": _batch_norm,
    "Cast": _cast,
    "Celu": _sloped(_elu),
    "Clip": _clip,
    "DequantizeLinear": _identity,
    "Div": _quotient,
    "Dropout": _identity,
    "Elu": _sloped(_elu),
    "Erf": _sloped(_erf),
    "Exp": _sloped(_exp),
    "Gelu": _sloped(_gelu),
    "HardSigmoid": _sloped(_hard_sigmoid),
    "HardSwish": _sloped(_hard_swish),
    "Identity": _identity,
    "LeakyRelu": _sloped(_leaky),
    "Log": _sloped(_log),
    "Max": _extreme,
    "Min": _extreme,
    "Mish": _sloped(_mish),
    "Mul": _product,
    "Neg": _negative,
    "PRelu": _sloped(_leaky),
    "Pow": _power,
    "QuantizeLinear": _identity,
    "Reciprocal": _sloped(_reciprocal),
    "Relu": _sloped(_relu),
    "Selu": _sloped(_elu),
    "Sigmoid": _sloped(_sigmoid),
    "Softplus": _sloped(_softplus),
    "Sqrt": _sloped(_sqrt),
    "Sub": _sum,
    "Sum": _sum,
    "Swish": _sloped(_swish),
    "Tanh": _sloped(_tanh),
    "Where": _where,
}
