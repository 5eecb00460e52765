"""Free the batch of a graph that was folded for a batch of one size: every size that was written down is worked out.

Where an exporter was given one example, the batch stands as a number in reshapes and in constants that were expanded to
it (a class token). Each value's batch axis is followed through the graph; where a reshape carries it, the number
becomes -1.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx
from onnx import helper, numpy_helper

from taintwatch_models.graph.builder import attributes

__all__ = ["batch_axes", "free_batch"]

Shape = tuple[int | None, ...]
Shapes = Mapping[str, Shape]
_Place = tuple[int, int]  # the axis, and how many slower values within it lie before the batch
_RESHAPES = ("Reshape", "Flatten", "Squeeze", "Unsqueeze")
_CONSTANTS = ("Shape", "Constant", "ConstantOfShape")


def free_batch(model: onnx.ModelProto, name: str, shapes: Shapes) -> int:
    """Make the batch of the input `name` symbolic; return how many nodes were changed.

    `shapes` are all values' under the fixed batch.
    """
    axes = batch_axes(model, name, shapes)
    stored = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    nodes: list[onnx.NodeProto] = []
    changed = 0
    for node in model.graph.node:
        axis = axes.get(node.output[0])
        if node.op_type == "Reshape" and axis is not None and node.input[1] in stored:
            changed += _free_reshape(model, node, axis, shapes[node.output[0]], stored[node.input[1]])
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


def batch_axes(model: onnx.ModelProto, name: str, shapes: Shapes) -> dict[str, int]:
    """Return in which axis the batch lies of every value that depends on the input `name`."""
    places = {name: (0, 1)}
    for node in model.graph.node:
        source = next((i for i in node.input if i in places), None)
        if source is None or node.op_type in _CONSTANTS:
            continue
        for output in node.output:
            if output in shapes and source in shapes:
                places[output] = _moved(node, places[source], shapes[source], shapes[output], source)
    return {value: axis for value, (axis, _) in places.items()}


def _moved(node: onnx.NodeProto, place: _Place, before: Shape, after: Shape, source: str) -> _Place:
    axis, slower = place
    a = attributes(node)
    if node.op_type == "Transpose":
        return list(a.get("perm", range(len(before) - 1, -1, -1))).index(axis), slower
    reduces = node.op_type.startswith("Reduce") or node.op_type in ("ArgMax", "ArgMin")
    if node.op_type in _RESHAPES or (reduces and len(after) < len(before)):
        return _same_start(_product(before[:axis]) * slower, after)
    if node.op_type == "Gather" and source == node.input[0]:
        over = a.get("axis", 0) % len(before)
        return (axis + (len(after) - len(before)) if over < axis else axis), slower
    if len(after) > len(before) or node.op_type in ("MatMul", "Add", "Sub", "Mul", "Div", "Where", "Expand"):
        return axis + len(after) - len(before), slower
    return axis, slower


def _product(sizes: Shape) -> int:
    return int(np.prod([int(size or 1) for size in sizes], initial=1))


def _same_start(start: int, after: Shape) -> _Place:
    """The axis that holds what comes behind so many values, and how many of those lie in that axis.

    An axis of size 1 of its own is preferred, then the end of an axis (tokens times rows), then the beginning of one.
    """
    before = [_product(after[:axis]) for axis in range(len(after) + 1)]
    for axis, size in enumerate(after):
        if before[axis] == start and size == 1:
            return axis, 1
    for axis, size in enumerate(after):
        if before[axis + 1] == start and start > 1:
            return axis, int(size or 1)
    for axis in range(len(after)):
        if before[axis] == start:
            return axis, 1
    return 0, 1
