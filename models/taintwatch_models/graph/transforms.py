"""Rewritings of a radar graph: fewer outputs, no branches, fixed constants, pixels for inputs, half precision."""

from __future__ import annotations

import warnings
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from taintwatch_models.errors import ModelError, first_line
from taintwatch_models.preprocessing import Preprocessing

__all__ = ["PIXELS", "choose_branches", "keep_outputs", "take_pixels", "to_float16", "with_constants"]

PIXELS = "pixels"


def keep_outputs(
    model: onnx.ModelProto, outputs: Collection[str], given: Mapping[str, str] | None = None
) -> onnx.ModelProto:
    """Return a copy of `model` with these outputs, and the nodes, weights and optional inputs that lead to them.

    `given` names values that become inputs, so that what leads to them is left out too, each with the output that has
    its type and shape. Raises `ModelError` where the model lacks one of the outputs.
    """
    given = given or {}
    there = {value.name: value for value in model.graph.output}
    missing = [name for name in outputs if name not in there]
    if missing:
        raise ModelError(
            f"the graph has no output '{missing[0]}'; prepare the model again with `taintwatch model prepare`"
        )
    wanted = set(outputs)
    nodes: list[onnx.NodeProto] = []
    for node in reversed(model.graph.node):
        if wanted.intersection(node.output) and not set(given).intersection(node.output):
            wanted.update(_reads(node))
            nodes.append(node)
    stored = {tensor.name for tensor in model.graph.initializer}
    pruned = onnx.ModelProto()
    pruned.ir_version = model.ir_version
    pruned.producer_name = model.producer_name
    pruned.opset_import.extend(model.opset_import)
    pruned.metadata_props.extend(model.metadata_props)
    graph = pruned.graph
    graph.name = model.graph.name
    graph.node.extend(reversed(nodes))
    graph.initializer.extend(t for t in model.graph.initializer if t.name in wanted)
    graph.input.extend(v for v in model.graph.input if v.name in wanted or v.name not in stored)
    for name, like in given.items():
        value = graph.input.add()
        value.CopyFrom(there[like])
        value.name = name
    graph.output.extend(there[name] for name in outputs)
    return pruned


def with_constants(model: onnx.ModelProto, constants: Mapping[str, NDArray[Any]]) -> onnx.ModelProto:
    """Return a copy whose optional inputs are gone: those in `constants` have that value, the others their default."""
    stored = {tensor.name for tensor in model.graph.initializer}
    fixed = onnx.ModelProto()
    fixed.CopyFrom(model)
    graph = fixed.graph
    values = [numpy_helper.from_array(constants[name], name) for name in sorted(stored & set(constants))]
    kept = [tensor for tensor in graph.initializer if tensor.name not in constants]
    inputs = [value for value in graph.input if value.name not in stored]
    del graph.initializer[:], graph.input[:]
    graph.initializer.extend([*kept, *values])
    graph.input.extend(inputs)
    return fixed


def _reads(node: onnx.NodeProto) -> set[str]:
    """Return the values that a node reads, those of its branches included."""
    names = set(node.input)
    for attribute in node.attribute:
        if attribute.type == onnx.AttributeProto.GRAPH:
            for inner in attribute.g.node:
                names |= _reads(inner)
            names.update(value.name for value in attribute.g.output)
    return names


def choose_branches(model: onnx.ModelProto, choices: Mapping[str, bool]) -> onnx.ModelProto:
    """Return a copy in which every `If` on one of these inputs is replaced by the branch that would be taken.

    A CUDA graph can hold no control flow, and the branch that is not taken costs memory. Names that are not in the
    graph are passed over.
    """
    chosen = onnx.ModelProto()
    chosen.CopyFrom(model)
    nodes: list[onnx.NodeProto] = []
    for node in chosen.graph.node:
        if node.op_type == "If" and node.input[0] in choices:
            nodes += _inlined(node, choices[node.input[0]])
        else:
            nodes.append(node)
    del chosen.graph.node[:]
    chosen.graph.node.extend(nodes)
    still = {name for node in nodes for name in node.input}
    for values in (chosen.graph.input, chosen.graph.initializer):
        kept = [value for value in values if value.name not in choices or value.name in still]
        del values[:]
        values.extend(kept)
    return chosen


def _inlined(node: onnx.NodeProto, taken: bool) -> list[onnx.NodeProto]:
    wanted = "then_branch" if taken else "else_branch"
    branch = next(attribute.g for attribute in node.attribute if attribute.name == wanted)
    ends = [
        helper.make_node("Identity", [inner.name], [outer], name=f"{node.name}/{outer}")
        for inner, outer in zip(branch.output, node.output, strict=True)
    ]
    return [*branch.node, *ends]


def take_pixels(model: onnx.ModelProto, name: str, preprocessing: Preprocessing) -> onnx.ModelProto:
    """Return a copy whose input `name`, (B, 3, H, W) float32, is computed from a new one, `pixels`.

    `pixels` is (B, H, W, 3) uint8 in the model's channel order: what `Preprocessing.pixels` gives.
    """
    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    graph = changed.graph
    kept = [value for value in graph.input if value.name != name]
    height, width = preprocessing.size
    given = helper.make_tensor_value_info(PIXELS, TensorProto.UINT8, ["batch", height, width, 3])
    del graph.input[:]
    graph.input.extend([given, *kept])
    std = np.asarray(preprocessing.std, np.float32)
    constants = {
        "gain": (1.0 / (preprocessing.scale * std)).astype(np.float32),
        "bias": (-np.asarray(preprocessing.mean, np.float32) / std).astype(np.float32),
    }
    for key, value in constants.items():
        graph.initializer.append(numpy_helper.from_array(value.reshape(1, 3, 1, 1), f"taintwatch/pixels_{key}"))
    front = [
        helper.make_node("Transpose", [PIXELS], ["taintwatch/planes"], perm=[0, 3, 1, 2]),
        helper.make_node("Cast", ["taintwatch/planes"], ["taintwatch/values"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["taintwatch/values", "taintwatch/pixels_gain"], ["taintwatch/scaled"]),
        helper.make_node("Add", ["taintwatch/scaled", "taintwatch/pixels_bias"], [name]),
    ]
    nodes = list(graph.node)
    del graph.node[:]
    graph.node.extend([*front, *nodes])
    return changed


def to_float16(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a copy that computes in float16 and still takes and gives float32. Raises `ModelError`."""
    from onnxruntime.transformers.float16 import convert_float_to_float16  # slow to import, seldom needed

    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it tells of every weight that it clips
            converted = convert_float_to_float16(copy, keep_io_types=True)
    except Exception as error:
        raise ModelError(f"the model cannot be converted to float16 ({first_line(error)}); use float32") from None
    if not isinstance(converted, onnx.ModelProto):
        raise ModelError("the model cannot be converted to float16; use float32")
    return converted
