"""The transposed Jacobian of ops that move values: reshape, transpose, concat, split, slice, gather, expand, pad."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
from numpy.typing import NDArray

from taintwatch_models.errors import ModelError
from taintwatch_models.graph.builder import attributes
from taintwatch_models.graph.cotangent import Cotangent, HeadContext
from taintwatch_models.graph.elementwise_rules import Rule

__all__ = ["SHAPES", "split_rule"]


def _reshape(c: HeadContext, node: onnx.NodeProto, g: Cotangent) -> dict[str, Cotangent]:
    """Reshape, Flatten, Squeeze, Unsqueeze: a mean over cells stays one value where they become tokens or back."""
    x, y = node.input[0], node.output[0]
    before, after = c.shape(x), c.shape(y)
    if before == after:
        return {x: g}
    if g.spread == {2} and before[:2] == after[:2] and (len(before), len(after)) == (4, 3):
        return {x: Cotangent(c.b.unsqueeze(g.name, 4), frozenset({2, 3}))}
    if g.spread == {2, 3} and before[:2] == after[:2] and (len(before), len(after)) == (3, 4):
        return {x: Cotangent(c.b.squeeze(g.name, 4), frozenset({2}))}
    return {x: Cotangent(c.reshaped(c.full(g, y), x))}


def _transpose(c: HeadContext, node: onnx.NodeProto, g: Cotangent) -> dict[str, Cotangent]:
    rank = c.rank(node.input[0])
    order = list(attributes(node).get("perm", range(rank - 1, -1, -1)))  # output axis i is input axis order[i]
    g = c.dense(g)
    back = [0, *(1 + order.index(axis) for axis in range(rank))]
    return {node.input[0]: Cotangent(c.b.add("Transpose", g.name, perm=back), frozenset(order[a] for a in g.spread))}


def _concat(c: HeadContext, node: onnx.NodeProto, g: Cotangent) -> dict[str, Cotangent]:
    axis = c.axis(node.output[0], attributes(node)["axis"])
    if axis in g.spread:
        g = Cotangent(c.full(g, node.output[0]))
    g = c.dense(g)
    start = 0
    found: dict[str, Cotangent] = {}
    for name in node.input:
        length = c.size(name, axis)
        if name in c.active:
            part = Cotangent(_slice(c, g.name, axis + 1, start, start + length), g.spread)
            found[name] = c.add(found[name], part) if name in found else part
        start += length
    return found


def _slice(c: HeadContext, value: str, axis: int, start: int, end: int) -> str:
    return c.b.add("Slice", value, c.b.constant([start]), c.b.constant([end]), c.b.constant([axis]))


def split_rule(c: HeadContext, node: onnx.NodeProto, parts: Sequence[Cotangent | None]) -> dict[str, Cotangent]:
    """Put the parts that have a cotangent where they came from; zeros stand for the others."""
    axis = c.axis(node.input[0], attributes(node).get("axis", 0))
    lengths = [c.size(name, axis) for name in node.output]
    sums: list[str] = []
    for index, part in enumerate(parts):
        if part is None:
            continue
        value = c.full(part, node.output[index])
        padded = _padded(c, value, axis + 1, sum(lengths[:index]), sum(lengths[index + 1 :]), c.rank(node.input[0]))
        sums.append(padded)
    return {node.input[0]: Cotangent(sums[0] if len(sums) == 1 else c.b.add("Sum", *sums))}


def _padded(c: HeadContext, value: str, axis: int, before: int, after: int, rank: int) -> str:
    """Put zeros around one axis of a cotangent of a value of that rank."""
    if before == after == 0:
        return value
    pads = np.zeros(2 * (rank + 1), np.int64)
    pads[axis], pads[rank + 1 + axis] = before, after
    return c.b.add("Pad", value, c.b.constant(pads.tolist()))


def _put_back(c: HeadContext, value: str, axis: int, index: NDArray[np.int64], length: int, rank: int) -> str:
    """Undo a choice of places along an axis of a value of that rank."""
    if np.array_equal(index, np.arange(index[0], index[0] + len(index))):
        return _padded(c, value, axis + 1, int(index[0]), length - int(index[-1]) - 1, rank)
    if len(np.unique(index)) == len(index):  # each place was read once: read it back, zeros (the last) elsewhere
        inverse = np.full(length, len(index), np.int64)
        inverse[index] = np.arange(len(index))
        padded = _padded(c, value, axis + 1, 0, int((inverse == len(index)).any()), rank)
        return c.b.add("Gather", padded, c.b.constant(inverse.tolist()), axis=axis + 1)
    chosen = np.zeros((len(index), length), np.float32)
    chosen[np.arange(len(index)), index] = 1
    order = [a for a in range(rank + 1) if a != axis + 1] + [axis + 1]
    moved = c.b.add("MatMul", c.b.add("Transpose", value, perm=order), c.b.constant(chosen))
    return c.b.add("Transpose", moved, perm=[order.index(a) for a in range(rank + 1)])


def _sliced(c: HeadContext, node: onnx.NodeProto, g: Cotangent) -> dict[str, Cotangent]:
    x, rank = node.input[0], c.rank(node.input[0])
    starts, ends = c.weights(node, 1).tolist(), c.weights(node, 2).tolist()
    axes = c.weights(node, 3).tolist() if len(node.input) > 3 and node.input[3] else range(len(starts))
    steps = c.weights(node, 4).tolist() if len(node.input) > 4 and node.input[4] else [1] * len(starts)
    value = c.full(g, node.output[0])
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        length = c.size(x, axis % rank)
        index = np.arange(length, dtype=np.int64)[slice(start, end if end >= -length else None, step)]
        if len(index) < length or step != 1:
            value = _put_back(c, value, axis % rank, index, length, rank)
    return {x: Cotangent(value)}


def _gather(c: HeadContext, node: onnx.NodeProto, g: Cotangent) -> dict[str, Cotangent]:
    x = node.input[0]
    axis, index = c.axis(x, attributes(node).get("axis", 0)), c.weights(node, 1)
    value, length = c.full(g, node.output[0]), c.size(x, axis)
    before = c.shape(x)
    if index.ndim == 0:
        value = c.b.unsqueeze(value, axis + 1)
    elif index.ndim > 1:
        value = _with_sizes(c, value, [*before[:axis], index.size, *before[axis + 1 :]])
    places = index.reshape(-1).astype(np.int64) % length
    return {x: Cotangent(_put_back(c, value, axis, places, length, c.rank(x)))}


def _gather_points(c: HeadContext, node: onnx.NodeProto, g: Cotangent) -> dict[str, Cotangent]:
    """GatherND over leading axes: they are one axis, of which places are read."""
    x, index = node.input[0], c.weights(node, 1).astype(np.int64)
    depth = index.shape[-1]
    if attributes(node).get("batch_dims", 0) or None in c.shape(x)[:depth]:
        raise ModelError(f"the head's GatherND ('{node.output[0]}') reads along the batch; it has no rule")
    sizes, rest = [c.size(x, axis) for axis in range(depth)], c.shape(x)[depth:]
    places = np.ravel_multi_index(tuple(np.moveaxis(index % sizes, -1, 0)), sizes).reshape(-1)
    value = _with_sizes(c, c.full(g, node.output[0]), [len(places), *rest])
    value = _put_back(c, value, 0, places, int(np.prod(sizes)), 1 + len(rest))
    return {x: Cotangent(_with_sizes(c, value, [*sizes, *rest]))}


def _with_sizes(c: HeadContext, value: str, sizes: Sequence[int | None]) -> str:
    """Reshape a cotangent to (K, *sizes); None stands for the batch."""
    return c.b.reshape(value, [0, *(-1 if size is None else size for size in sizes)])


def _expand(c: HeadContext, node: onnx.NodeProto, g: Cotangent) -> dict[str, Cotangent]:
    return {node.input[0]: c.summed_to(g, node.output[0], node.input[0])}


def _pad(c: HeadContext, node: onnx.NodeProto, g: Cotangent) -> dict[str, Cotangent]:
    if attributes(node).get("mode", b"constant") != b"constant":
        raise ModelError(f"the head's Pad ('{node.output[0]}') repeats an edge; it has no rule")
    x, rank = node.input[0], c.rank(node.input[0])
    amounts = c.weights(node, 1).tolist()
    axes = c.weights(node, 3).tolist() if len(node.input) > 3 and node.input[3] else list(range(rank))
    value = c.full(g, node.output[0])
    for place, axis in enumerate(axes):
        if amounts[place] or amounts[len(axes) + place]:
            start = int(amounts[place])
            value = _slice(c, value, axis % rank + 1, start, start + c.size(x, axis % rank))
    return {x: Cotangent(value)}


SHAPES: dict[str, Rule] = {
    "Concat": _concat,
    "Expand": _expand,
    "Flatten": _reshape,
    "Gather": _gather,
    "GatherND": _gather_points,
    "Pad": _pad,
    "Reshape": _reshape,
    "Slice": _sliced,
    "Squeeze": _reshape,
    "Transpose": _transpose,
    "Unsqueeze": _reshape,
}
