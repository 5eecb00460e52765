"""Which of a model's values are looked at: those that have places, and that say how one differs from benign ones."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx

__all__ = ["looked_at"]

_TRIED = 24
_SHAPING = ("Transpose", "Cast", "Identity")
_POINTWISE = frozenset((
    "Add", "Sub", "Mul", "Div", "Pow", "Neg", "Abs", "Exp", "Sqrt", "Erf", "Tanh", "Sigmoid", "Relu", "Gelu", "Elu",
    "Selu", "Celu", "LeakyRelu", "PRelu", "Mish", "Softplus", "Softsign", "HardSigmoid", "HardSwish", "Clip", *_SHAPING,
))  # fmt: skip

Producers = Mapping[str, onnx.NodeProto]


def looked_at(proto: onnx.ModelProto, maps: str) -> dict[str, bool]:
    """Return the names of the values that are looked at, first to last, and whether each has its channels last.

    `proto`: a prepared model, whose last maps are its output `features`. `maps`: the name that these have inside.

    They are what convolutions and matrix products with weights read, evenly thinned, and the last maps. Two kinds are
    left out or replaced:

    - Of what was normalised for a layer, the value before: a layer norm takes the size of a token away, which tells
      much.
    - What lies inside a transformer's MLP, between its two products: each of these values is rarely on, and their
      covariance says little of a place. The sum around the MLP is looked at.
    """
    graph = proto.graph
    fixed = {tensor.name for tensor in graph.initializer}
    given = {value.name for value in graph.input}
    makers = {output: node for node in graph.node for output in node.output}
    found: dict[str, bool] = {}
    for node in graph.node:
        if node.op_type not in ("Conv", "MatMul", "Gemm") or node.output[0].startswith("taintwatch/"):
            continue
        if node.input[1] not in fixed or node.input[0] in given:
            continue
        before = _normalised(node.input[0], makers)
        if before is not None:
            found.setdefault(before, True)
        elif node.op_type == "Conv":
            found.setdefault(node.input[0], False)
        elif not _inside_mlp(node.input[0], makers, fixed):
            found.setdefault(node.input[0], True)
    names = [name for name in found if name != maps]
    if len(names) > _TRIED:
        names = [names[index] for index in np.linspace(0, len(names) - 1, _TRIED).round().astype(int)]
    return {**{name: found[name] for name in names}, "features": False}


def _normalised(name: str, makers: Producers) -> str | None:
    """Return what a layer norm read to give this value, its axes moved or not; None where there was none."""
    node = makers.get(name)
    while node is not None and node.op_type in _SHAPING:
        node = makers.get(node.input[0])
    return node.input[0] if node is not None and node.op_type == "LayerNormalization" else None


def _inside_mlp(name: str, makers: Producers, fixed: set[str]) -> bool:
    """Whether a value is a function of one matrix product's result, cell by cell and channel by channel."""
    origins, seen, waiting = set(), {name}, [name]
    while waiting:
        value = waiting.pop()
        node = makers.get(value)
        if node is not None and node.op_type in _POINTWISE:
            more = [each for each in node.input if each and each not in fixed and not _constant(each, makers)]
            waiting += [each for each in more if each not in seen]
            seen.update(more)
        else:
            origins.add("" if node is None else node.op_type + value)
    return len(origins) == 1 and next(iter(origins)).startswith(("MatMul", "Gemm"))


def _constant(name: str, makers: Producers) -> bool:
    return name in makers and makers[name].op_type == "Constant"
