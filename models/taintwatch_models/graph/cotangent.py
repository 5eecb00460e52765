"""What the transposed rules share: the cotangent, and the shapes and constants of the head that they work on.

A cotangent of a value of shape S has shape (K, *S): K vectors, worked through at once. With K in front, the forward's
own values broadcast against it as they are, wherever their batch lies.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from taintwatch_models.errors import ModelError
from taintwatch_models.graph.builder import GraphBuilder
from taintwatch_models.graph.plain_model import PlainModel

__all__ = ["Cotangent", "HeadContext"]

_WITHOUT_GRADIENT = frozenset(
    {"And", "ArgMax", "ArgMin", "Ceil", "Equal", "Floor", "Greater", "GreaterOrEqual", "IsInf", "IsNaN", "Less",
     "LessOrEqual", "Not", "Or", "Round", "Shape", "Sign", "Size"}
)  # fmt: skip

Shape = tuple[int | None, ...]


@dataclass(frozen=True)
class Cotangent:
    """A cotangent's name, and what is known of it."""

    name: str
    spread: frozenset[int] = frozenset()
    """Axes of the *value* along which it is the same: stored with size 1 there (behind a global average pool)."""
    one_hot: bool = False
    """Still the unit vectors of these labels, (K, B) int64."""


class HeadContext:
    """One model's head and the graph that its transpose is written into."""

    def __init__(self, model: PlainModel, builder: GraphBuilder, maps: str, head: Iterable[onnx.NodeProto]) -> None:
        self.model, self.b = model, builder
        self.active = {maps}
        """Values that depend on the maps: the others take no cotangent."""
        for node in head:
            if node.op_type not in _WITHOUT_GRADIENT and self.active.intersection(node.input):
                self.active.update(node.output)

    def shape(self, name: str) -> Shape:
        """Return a value's shape, None for the batch. Raises `ModelError` where inference could not tell it."""
        shape = self.model.shapes.get(name)
        if shape is None or sum(size is None for size in shape) > 1:
            raise ModelError(f"the shape of '{name}' in the head is not known")
        return shape

    def size(self, name: str, axis: int) -> int:
        """Return one size. Raises `ModelError` where it is the batch's."""
        size = self.shape(name)[axis]
        if size is None:
            raise ModelError(f"the head works across the batch at '{name}': rows of a batch must not depend on others")
        return size

    def rank(self, name: str) -> int:
        return len(self.shape(name))

    def constant(self, name: str) -> NDArray[Any] | None:
        """Return a constant's value; None for what is computed."""
        value = self.model.constants.get(name)
        return None if value is None else np.asarray(value)

    def weights(self, node: onnx.NodeProto, index: int) -> NDArray[Any]:
        """Return a constant input. Raises `ModelError` where it is computed from the input."""
        value = self.constant(node.input[index])
        if value is None:
            raise ModelError(f"the head's {node.op_type} ('{node.output[0]}') has a computed parameter; it has no rule")
        return value

    def axis(self, name: str, axis: int) -> int:
        """Count an axis from the front."""
        return axis % self.rank(name)

    def dense(self, g: Cotangent) -> Cotangent:
        """Spell out unit vectors: (K, B, classes)."""
        if not g.one_hot:
            return g
        values = self.b.constant(np.array([0, 1], np.float32))
        return Cotangent(self.b.add("OneHot", g.name, self.b.constant(self.model.classes), values, axis=-1))

    def full(self, g: Cotangent, like: str) -> str:
        """Spell out a cotangent along all axes of the value `like`; return its name."""
        g = self.dense(g)
        if not g.spread:
            return g.name
        shape = [self.size(like, axis) if axis in g.spread else 1 for axis in range(self.rank(like))]
        return self.b.add("Mul", g.name, self.b.constant(np.ones(shape, np.float32)))

    def scale(self, g: Cotangent, factor: str, shape: Sequence[int | None], rank: int) -> Cotangent:
        """Multiply by a factor of that shape, which broadcasts over a value of that rank."""
        g = self.dense(g)
        padded = (1,) * (rank - len(shape)) + tuple(shape)
        spread = frozenset(axis for axis in g.spread if padded[axis] == 1)
        return Cotangent(self.b.add("Mul", g.name, factor), spread)

    def times(self, g: Cotangent, factor: str, like: str) -> Cotangent:
        """Multiply by a factor of the shape of the value `like`."""
        return self.scale(g, factor, self.shape(like), self.rank(like))

    def by_constant(self, g: Cotangent, factor: NDArray[Any] | float, rank: int) -> Cotangent:
        """Multiply by a constant."""
        value = np.asarray(factor, np.float32)
        return self.scale(g, self.b.constant(value), value.shape, rank)

    def summed_to(self, g: Cotangent, output: str, name: str) -> Cotangent:
        """Sum over the axes that the input `name` was broadcast along to become `output`."""
        before, after = self.shape(name), self.shape(output)
        extra = len(after) - len(before)
        wide = [
            axis for axis in range(len(after))
            if axis < extra or (before[axis - extra] == 1 and after[axis] != 1)
        ]  # fmt: skip
        if not wide:
            return self.dense(g)
        g = self.dense(g)
        stored = [axis for axis in wide if axis in g.spread]
        count = int(np.prod([self.size(output, axis) for axis in stored])) if stored else 1
        value = g.name if count == 1 else self.b.add("Mul", g.name, self.b.constant(float(count)))
        reduced = [axis + 1 for axis in wide if axis not in g.spread]
        if reduced:
            value = self.b.reduce("ReduceSum", value, reduced, keepdims=True)
        if extra:
            value = self.b.squeeze(value, *range(1, extra + 1))
        kept = {axis - extra for axis in g.spread if axis >= extra and axis not in wide}
        return Cotangent(value, frozenset(kept))

    def reshaped(self, value: str, like: str) -> str:
        """Give a cotangent (K, ...) the shape of the value `like`: (K, *S)."""
        shape = self.shape(like)
        if None not in shape[1:]:
            return self.b.reshape(value, [0, -1, *(int(size or 0) for size in shape[1:])])  # rows may be cells
        target = self.b.add("Concat", self.b.constant([-1]), self.b.add("Shape", like), axis=0)
        return self.b.add("Reshape", value, target)

    def fold(self, g: str, dims: Sequence[int]) -> str:
        """(K, B, *dims) to (K * B, *dims)."""
        return self.b.reshape(g, [-1, *dims])

    def unfold(self, value: str, like: str, dims: Sequence[int]) -> str:
        """(K * B, *dims) to (K, B, *dims), K and B as in `like`."""
        shape = self.b.add("Shape", like, start=0, end=2)
        return self.b.add("Reshape", value, self.b.add("Concat", shape, self.b.constant(list(dims)), axis=0))

    def add(self, first: Cotangent, second: Cotangent) -> Cotangent:
        first, second = self.dense(first), self.dense(second)
        return Cotangent(self.b.add("Add", first.name, second.name), first.spread & second.spread)

    def moved(self, g: Cotangent, spread: Iterable[int], name: str) -> Cotangent:
        """The same cotangent under another name and with other axes."""
        return replace(g, name=name, spread=frozenset(spread), one_hot=False)
