"""What the transposed rules share: the cotangent, and the shapes and constants of the head that they work on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from taintwatch_models.errors import ModelError
from taintwatch_models.graph.builder import GraphBuilder
from taintwatch_models.graph.plain_model import PlainModel

__all__ = ["Cotangent", "HeadContext"]


@dataclass(frozen=True)
class Cotangent:
    """A cotangent's name; `one_hot` says that it is still the unit vectors of these labels, (B, K) int64."""

    name: str
    uniform: bool = False
    """The same in all cells: stored with 1 x 1 cells."""
    one_hot: bool = False


class HeadContext:
    """One model's head and the graph that its transpose is written into."""

    def __init__(self, model: PlainModel, builder: GraphBuilder) -> None:
        self.model, self.b = model, builder

    def dense(self, g: Cotangent) -> Cotangent:
        """Spell out unit vectors: (B, K, classes)."""
        if not g.one_hot:
            return g
        values = self.b.constant(np.array([0, 1], np.float32))
        depth = self.b.constant(self.model.classes)
        return Cotangent(self.b.add("OneHot", g.name, depth, values, axis=-1))

    def expand(self, g: Cotangent, cells: tuple[int, int]) -> Cotangent:
        """Spell out a uniform cotangent to all its cells."""
        if not g.uniform:
            return g
        ones = self.b.constant(np.ones(cells, np.float32))
        return Cotangent(self.b.add("Mul", g.name, ones))

    def fold(self, g: str, dims: tuple[int, ...]) -> str:
        """(B, K, *dims) to (B * K, *dims)."""
        return self.b.reshape(g, [-1, *dims])

    def unfold(self, value: str, like: str, dims: tuple[int, ...]) -> str:
        """(B * K, *dims) to (B, K, *dims), B and K as in `like`."""
        shape = self.b.add("Shape", like, start=0, end=2)
        return self.b.add("Reshape", value, self.b.add("Concat", shape, self.b.constant(list(dims)), axis=0))

    def dims(self, name: str) -> tuple[int, ...]:
        """Return a value's dimensions behind the batch. Raises `ModelError` where inference could not tell them."""
        shape = self.model.shapes.get(name)
        if shape is None or any(d is None for d in shape[1:]):
            raise ModelError(f"the shape of '{name}' in the head is not known; export the model with fixed image size")
        return tuple(int(d or 0) for d in shape[1:])

    def weights(self, node: onnx.NodeProto, index: int) -> NDArray[Any]:
        """Return a constant input. Raises `ModelError` where it is computed from the input (attention)."""
        name = node.input[index]
        if name not in self.model.constants:
            raise ModelError(
                f"the head's op {node.op_type} ('{node.output[0]}') multiplies two computed values; it has no "
                "transpose here"
            )
        return np.asarray(self.model.constants[name])

    def beside(self, name: str) -> str:
        """A forward value, (B, ...), as (B, 1, ...): broadcasts over K."""
        return self.b.unsqueeze(name, 1)

    def computed(self, node: onnx.NodeProto) -> list[str]:
        """Return the inputs that depend on the maps."""
        return [name for name in node.input if name and name not in self.model.constants]
