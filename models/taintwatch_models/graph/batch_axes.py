"""In which axis the batch lies of every value of a graph that was folded for a batch of one.

A reshape of a batch of one does not say where its rows went: (197, 1, 192) to (197, 4, 48) may have been (197, B, 192)
to (197, B * 4, 48) or to (197 * B, 4, 48). What reads the value does: rows must not be multiplied, normalised or summed
with each other. So places are tried in turn, and the last choice that a conflict rests on is made anew
(conflict-directed backjumping: Prosser, Hybrid Algorithms for the Constraint Satisfaction Problem, 1993).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
import onnx
from onnx import numpy_helper

from taintwatch_models.graph.builder import attributes

__all__ = ["Shape", "Shapes", "batch_axes"]

Shape = tuple[int | None, ...]
Shapes = Mapping[str, Shape]
_Place = tuple[int, int]  # the axis, and how many slower values within it lie before the batch
_CONSTANTS = ("Shape", "Size", "Constant", "ConstantOfShape")
_ROWS_FIRST = ("Conv", "ConvTranspose", "MaxPool", "AveragePool", "BatchNormalization", "GlobalAveragePool",
               "GlobalMaxPool", "InstanceNormalization", "GroupNormalization", "Resize", "DepthToSpace",
               "SpaceToDepth", "LRN")  # fmt: skip
_ALONG_AXIS = {"Softmax": -1, "LogSoftmax": -1, "LpNormalization": -1, "Concat": 0, "Split": 0, "TopK": -1}
_MOST_STEPS = 100_000


@dataclass
class _Choice:
    """A node whose output may hold the batch in several places."""

    position: int
    others: list[_Place]
    """Not tried yet."""
    rests_on: set[int]
    """Earlier choices without which none of the tried places would have failed."""


@dataclass
class _Search:
    nodes: list[onnx.NodeProto]
    shapes: Shapes
    stored: Mapping[str, np.ndarray]
    outputs: frozenset[str]
    places: dict[str, _Place]
    because: dict[str, frozenset[int]] = field(default_factory=dict)
    """Which choices (by their node's position) each value's place rests on."""
    choices: list[_Choice] = field(default_factory=list)

    def run(self) -> bool:
        """Place every value; say whether all agree."""
        position = 0
        for _ in range(_MOST_STEPS):
            if position == len(self.nodes):
                return True
            node = self.nodes[position]
            given = [name for name in node.input if name in self.places]
            if given and node.op_type not in _CONSTANTS:
                rests_on = {choice for name in given for choice in self.because.get(name, ())}
                options = list(self._options(node, given[0]))
                if not options:
                    back = self._back(rests_on)
                    if back is None:
                        return False
                    position = back + 1
                    continue
                if len(options) > 1:
                    self.choices.append(_Choice(position, options[1:], set(rests_on)))
                    rests_on.add(position)
                self._put(node, options[0], rests_on)
            position += 1
        return False

    def _put(self, node: onnx.NodeProto, place: _Place, rests_on: Iterable[int]) -> None:
        for output in node.output:
            if output in self.shapes:
                self.places[output] = place
                self.because[output] = frozenset(rests_on)

    def _back(self, rests_on: set[int]) -> int | None:
        """Make the last choice that a conflict rests on anew; return its position, None where none is left."""
        while rests_on:
            last = max(rests_on)
            while self.choices[-1].position > last:
                self.choices.pop()
            choice = self.choices[-1]
            choice.rests_on |= rests_on - {last}
            for node in self.nodes[last:]:
                for name in node.output:
                    self.places.pop(name, None)
            if choice.others:
                self._put(self.nodes[last], choice.others.pop(0), {*choice.rests_on, last})
                return last
            rests_on = choice.rests_on
            self.choices.pop()
        return None

    def _options(self, node: onnx.NodeProto, source: str) -> Iterator[_Place]:
        """Yield where the batch may lie in what a node gives; nothing where rows would mix."""
        after = self.shapes.get(node.output[0])
        if after is None or source not in self.shapes:
            yield self.places[source]  # nothing is known of it, and nothing reads it but shapes
            return
        for axis, slower in self._moved(node, source, after):
            if 0 <= axis < len(after) and not (axis > 0 and self.outputs.intersection(node.output)):
                yield axis, slower

    def _moved(self, node: onnx.NodeProto, source: str, after: Shape) -> Iterator[_Place]:
        before, (axis, slower) = self.shapes[source], self.places[source]
        a, op = attributes(node), node.op_type
        if op == "Transpose":
            yield list(a.get("perm", range(len(before) - 1, -1, -1))).index(axis), slower
        elif op in ("Reshape", "Flatten"):
            yield from _places_of(_product(before[:axis]) * slower, after)
        elif op in ("Squeeze", "Unsqueeze"):
            yield from self._unit_axes(node, axis, slower, before, after)
        elif op.startswith("Reduce") or op in ("ArgMax", "ArgMin"):
            axes = self._axes(node, len(before))
            if axis not in axes:
                yield axis if len(after) == len(before) else axis - sum(other < axis for other in axes), slower
        elif op == "Gather" and source == node.input[0]:
            over = a.get("axis", 0) % len(before)
            if over != axis:
                yield axis + (len(after) - len(before) if over < axis else 0), slower
        elif op == "GatherND" and source == node.input[0]:
            index = self.shapes[node.input[1]]
            depth = int(index[-1] or 0)
            if a.get("batch_dims", 0) == 0 and axis >= depth:
                yield axis - depth + len(index) - 1, slower
        elif op in ("MatMul", "Gemm"):
            yield from self._product_of(node, after)
        elif op in _ROWS_FIRST or op in _ALONG_AXIS or op.endswith("Normalization"):
            if not self._mixes(node, axis, len(before)):
                yield axis, slower
        elif op == "Slice" or (op == "Pad" and len(node.input) < 4):
            if before[axis] == after[axis]:
                yield axis, slower
        else:
            yield from self._together(node, after)

    def _unit_axes(self, node: onnx.NodeProto, axis: int, slower: int, before: Shape, after: Shape) -> Iterator[_Place]:
        rank = max(len(before), len(after))
        axes = self._axes(node, rank)
        if node.op_type == "Unsqueeze":
            yield [place for place in range(rank) if place not in axes][axis], slower
        elif axis not in axes:
            yield axis - sum(other < axis for other in axes), slower

    def _axes(self, node: onnx.NodeProto, rank: int) -> list[int]:
        axes = attributes(node).get("axes", attributes(node).get("axis"))
        if axes is None and len(node.input) > 1 and node.input[1] in self.stored:
            axes = self.stored[node.input[1]]
        if axes is None:
            axes = range(rank) if node.op_type != "Squeeze" else []
        return [int(axis) % rank for axis in np.atleast_1d(np.asarray(axes, np.int64))]

    def _mixes(self, node: onnx.NodeProto, axis: int, rank: int) -> bool:
        """Whether a node works along the batch's axis."""
        own = attributes(node).get("axis")
        if node.op_type in _ROWS_FIRST:
            return axis != 0
        if node.op_type in _ALONG_AXIS:
            return bool((_ALONG_AXIS[node.op_type] if own is None else own) % rank == axis)
        return bool((-1 if own is None else own) % rank <= axis)

    def _product_of(self, node: onnx.NodeProto, after: Shape) -> Iterator[_Place]:
        """Rows may be rows of one factor, or lead in both; they are never summed over."""
        a = attributes(node)
        turned = [a.get("transA", 0), a.get("transB", 0)]
        ends = []  # counted from the end, transposition undone
        for index, name in enumerate(node.input[:2]):
            end = self.places[name][0] - len(self.shapes[name]) if name in self.places else None
            ends.append({-1: -2, -2: -1}.get(end or 0, end) if turned[index] else end)
        first, second = ends
        if first == -1 or second == -2 or (first is not None and second is not None and first != second):
            return
        end = first if first is not None else second
        if end is None or (first is not None and second is not None and end > -3):
            return
        name = node.input[0] if first is not None else node.input[1]
        yield end + len(after), self.places[name][1]

    def _together(self, node: onnx.NodeProto, after: Shape) -> Iterator[_Place]:
        """What works value by value: all inputs hold the batch in the same place, counted from the end."""
        found: set[_Place] = set()
        for name in node.input:
            if name in self.places and name in self.shapes:
                axis, slower = self.places[name]
                found.add((axis + len(after) - len(self.shapes[name]), slower))
        if len(found) != 1:
            return
        axis, slower = found.pop()
        for name in node.input:
            shape = self.shapes.get(name, ())
            place = axis + len(shape) - len(after)
            if name not in self.places and 0 <= place < len(shape) and (shape[place] or 1) > 1:
                return  # a constant along the rows
        yield axis, slower


def batch_axes(model: onnx.ModelProto, name: str, shapes: Shapes) -> dict[str, int]:
    """Return in which axis the batch lies of every value that depends on the input `name`.

    Empty where no places of all values agree: the graph mixes the rows of a batch.
    """
    stored = {
        t.name: numpy_helper.to_array(t)
        for t in model.graph.initializer
        if t.data_type == onnx.TensorProto.INT64 and len(t.dims) < 2
    }  # fmt: skip
    outputs = frozenset(output.name for output in model.graph.output)
    search = _Search(list(model.graph.node), shapes, stored, outputs, {name: (0, 1)})
    return {value: axis for value, (axis, _) in search.places.items()} if search.run() else {}


def _product(sizes: Shape) -> int:
    return int(np.prod([int(size or 1) for size in sizes], initial=1))


def _places_of(start: int, after: Shape) -> Iterator[_Place]:
    """Yield the axes that may hold what comes behind so many values, and how many of those lie in that axis.

    An axis of size 1 of its own is likeliest, then the end of an axis (tokens times rows), the beginning of one, and
    what lies within one.
    """
    before = [_product(after[:axis]) for axis in range(len(after) + 1)]
    sizes = [int(size or 1) for size in after]
    own = [axis for axis, size in enumerate(sizes) if before[axis] == start and size == 1]
    ends = [axis for axis, size in enumerate(sizes) if before[axis + 1] == start and size > 1]
    begins = [axis for axis, size in enumerate(sizes) if before[axis] == start and size > 1]
    yield from ((axis, 1) for axis in own)
    yield from ((axis, sizes[axis]) for axis in ends)
    yield from ((axis, 1) for axis in begins)
    for axis, size in enumerate(sizes):
        inner = start // before[axis]
        if before[axis] < start < before[axis + 1] and start % before[axis] == 0 and size % inner == 0:
            yield axis, inner
