"""Free the batch of a graph that was folded for a batch of one size: every size that was written down is worked out.

Where an exporter was given one example, the batch stands as a number in reshapes and in constants that were expanded to
it (a class token). `batch_axes` says where the batch lies in each value; where a reshape carries it, the number
becomes -1.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx
from onnx import helper, numpy_helper

from taintwatch_models.graph.batch_axes import Shapes, batch_axes
from taintwatch_models.graph.builder import attributes

__all__ = ["free_batch"]


def free_batch(model: onnx.ModelProto, name: str, shapes: Shapes) -> int:
    """Make the batch of the input `name` symbolic; return how many nodes were changed.

    `shapes` are all values' under the fixed batch.
    """
    axes = batch_axes(model, name, shapes)
    stored = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer if len(t.dims) < 2}
    nodes: list[onnx.NodeProto] = []
    changed = 0
    for node in model.graph.node:
        axis = axes.get(node.output[0])
        if axis is not None and node.op_type in ("Reshape", "Expand") and node.input[1] in stored:
            write = _free_reshape if node.op_type == "Reshape" else _free_expand
            changed += write(model, node, axis, shapes[node.output[0]], stored[node.input[1]])
        if (
            node.op_type == "Concat"
            and axis is not None
            and attributes(node)["axis"] % len(shapes[node.output[0]]) != axis
        ):
            before = len(nodes)
            nodes += _expanded(model, node, axes, axis, shapes)
            changed += len(nodes) > before
        nodes.append(node)
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    next(v for v in model.graph.input if v.name == name).type.tensor_type.shape.dim[0].dim_param = "batch"
    for output in model.graph.output:
        dims = output.type.tensor_type.shape.dim
        axis = axes.get(output.name)
        if axis is not None and axis < len(dims):
            dims[axis].dim_param = "batch"
    del model.graph.value_info[:]
    return changed


def _free_reshape(
    model: onnx.ModelProto, node: onnx.NodeProto, axis: int, after: tuple[int | None, ...], target: np.ndarray
) -> int:
    """Write -1 where the batch is, and all other sizes out."""
    shape = np.array([-1 if place == axis else int(size or 0) for place, size in enumerate(after)], np.int64)
    if axis == 0 and np.array_equal(target[1:], shape[1:]) and target[0] in (0, -1) and not _allows_zero(node):
        return 0
    fresh = f"{node.output[0]}/shape"
    model.graph.initializer.append(numpy_helper.from_array(shape, fresh))
    node.input[1] = fresh
    kept = [a for a in node.attribute if a.name != "allowzero"]
    del node.attribute[:]
    node.attribute.extend(kept)
    return 1


def _free_expand(
    model: onnx.ModelProto, node: onnx.NodeProto, axis: int, after: tuple[int | None, ...], target: np.ndarray
) -> int:
    """Write 1 where the batch is: the value itself has as many rows as there are."""
    place = axis - (len(after) - len(target))
    if place < 0 or target[place] == 1:
        return 0
    fresh = f"{node.output[0]}/shape"
    wide = np.array([1 if index == place else size for index, size in enumerate(target)], np.int64)
    model.graph.initializer.append(numpy_helper.from_array(wide, fresh))
    node.input[1] = fresh
    return 1


def _allows_zero(node: onnx.NodeProto) -> bool:
    return bool(attributes(node).get("allowzero", 0))


def _expanded(
    model: onnx.ModelProto, node: onnx.NodeProto, axes: Mapping[str, int], axis: int, shapes: Shapes
) -> list[onnx.NodeProto]:
    """Repeat inputs that were expanded to the old batch (a class token) as often as the new one has rows."""
    like = next(name for name in node.input if name in axes)
    made: list[onnx.NodeProto] = []
    for index, name in enumerate(node.input):
        if name in axes:
            continue
        rank = len(shapes[name])
        size, first, wide = (f"{node.output[0]}/{part}_{index}" for part in ("rows", "first", "wide"))
        bounds = {"start": [0], "end": [1], "axis": [axis]}
        for key, value in bounds.items():
            model.graph.initializer.append(numpy_helper.from_array(np.array(value, np.int64), f"{first}/{key}"))
        ones = np.ones(rank, np.int64)
        model.graph.initializer.append(numpy_helper.from_array(ones[:axis], f"{wide}/before"))
        model.graph.initializer.append(numpy_helper.from_array(ones[axis + 1 :], f"{wide}/after"))
        made += [
            helper.make_node("Slice", [name, *(f"{first}/{key}" for key in bounds)], [first]),
            helper.make_node("Shape", [like], [size], start=axis, end=axis + 1),
            helper.make_node("Concat", [f"{wide}/before", size, f"{wide}/after"], [f"{wide}/shape"], axis=0),
            helper.make_node("Expand", [first, f"{wide}/shape"], [wide]),
        ]
        node.input[index] = wide
    return made
