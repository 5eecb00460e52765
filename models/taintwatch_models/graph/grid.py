"""Which value of a classifier still has cells, and how they lie in it: the last maps of any architecture.

The maps are the last value that all paths to the logits go through and that still has cells: (B, C, h, w) of a
convolutional network, (B, h, w, C) or (B, N, C) of one that works on tokens. A pool to fewer cells is not passed. A
norm over each token's channels is (a pooled transformer's final norm): before it, gradient times activation sums to
nothing in every cell, since such a norm is homogeneous of degree 0 (Euler's theorem). Where only a class token goes on
(ViT), patch tokens have no gradient behind the last block, so the maps are what its attention reads: the patch tokens
behind the block's first norm.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from math import isqrt

import onnx

from taintwatch_models.errors import ModelError
from taintwatch_models.graph.builder import attributes
from taintwatch_models.graph.plain_model import PlainModel

__all__ = ["Grid", "GridFinder", "depending_on_input"]

_LEARNT = ("Conv", "MatMul", "Gemm", "ConvTranspose", "Einsum")
_MOST_TOKENS = 16  # class, distillation and register tokens beside the patches


@dataclass(frozen=True)
class Grid:
    """How a value's cells lie in it."""

    value: str
    layout: str
    """`channels first`, `channels last` or `tokens`."""
    channels: int
    height: int
    width: int
    extra: int = 0
    """Tokens before those of the cells."""


class GridFinder:
    """Walks one model's nodes with what is alive behind each."""

    def __init__(self, model: PlainModel) -> None:
        self.model, self.nodes = model, model.nodes
        self.depends = depending_on_input(model)
        self.alive = list(_alive(model, self.depends))
        self.single = [
            position for position, node in enumerate(self.nodes) if self.alive[position] == {node.output[0]}
        ]  # fmt: skip

    def last_grid(self) -> Grid:
        """Return the last value with cells that everything goes through. Raises `ModelError`."""
        learnt = [position for position in range(len(self.nodes)) if self._learns_cells(position)]
        end = len(self.nodes)
        if learnt and self._is_classifier(learnt[-1]) and len(learnt) > 1:
            end = learnt.pop()
        if not learnt:
            raise ModelError("the model has no convolution and no layer of tokens with more than one cell to look at")
        for position in reversed(learnt):
            grid = self._behind(position, end)
            if grid is not None:
                return grid
        raise ModelError(
            "no single value with cells lies on the way to the logits (a skip connection goes around the last maps); "
            "such a model cannot be watched"
        )

    def _learns_cells(self, position: int) -> bool:
        node = self.nodes[position]
        if node.op_type not in _LEARNT or node.output[0] not in self.depends:
            return False
        return self._cells(node.output[0], "channels first" if node.op_type == "Conv" else "channels last") > 1

    def _is_classifier(self, position: int) -> bool:
        """A closing 1x1 convolution that itself gives the logits' channels (SqueezeNet) belongs to the head."""
        node = self.nodes[position]
        weights = self.model.shapes.get(node.input[1], ())
        kernel = len(weights) == 4 and weights[0] == self.model.classes and weights[2:] == (1, 1)
        after = self.nodes[position + 1 :]
        return kernel and not any(n.op_type in _LEARNT and n.output[0] in self.depends for n in after)

    def _cells(self, name: str, layout: str) -> int:
        shape = self.model.shapes.get(name, ())
        if len(shape) == 4:
            pair = shape[2:] if layout == "channels first" else shape[1:3]
            return int(pair[0] or 0) * int(pair[1] or 0)
        return int(shape[1] or 0) if len(shape) == 3 and layout == "channels last" else 0

    def _behind(self, position: int, end: int) -> Grid | None:
        """Follow one layer's cells as far as a single value holds them."""
        node = self.nodes[position]
        first = node.op_type == "Conv"
        cells = self._cells(node.output[0], "channels first" if first else "channels last")
        best = None
        for place in self.single:
            if position <= place < end:
                best = self._grid(self.nodes[place].output[0], cells, first) or best
        return best

    def _grid(self, name: str, cells: int, first: bool) -> Grid | None:
        """Say how a value holds so many cells; None where it does not."""
        shape = self.model.shapes.get(name, ())
        if None in shape[1:] or len(shape) not in (3, 4) or shape[0] is not None:
            return None
        sizes = [int(size or 0) for size in shape[1:]]
        if len(sizes) == 3:
            planes, pooled = sizes[1] * sizes[2] == cells, sizes[1:] == [1, 1]  # as many channels as there were cells
            rows = sizes[0] * sizes[1] == cells and not pooled
            if planes and (first or not rows):
                return Grid(name, "channels first", *sizes)
            return Grid(name, "channels last", sizes[2], sizes[0], sizes[1]) if rows else None
        if sizes[0] != cells:
            return None
        side = self._side(cells)
        if side is None:
            return None
        return Grid(name, "tokens", sizes[1], *side[:2], side[2])

    def _side(self, tokens: int) -> tuple[int, int, int] | None:
        """Height and width of so many tokens, and how many come before them: from the patches' convolution."""
        for node in reversed(self.nodes):
            shape = self.model.shapes.get(node.output[0], ())
            if node.op_type == "Conv" and len(shape) == 4 and None not in shape[1:]:
                height, width = int(shape[2] or 0), int(shape[3] or 0)
                if height * width > 1 and 0 <= tokens - height * width <= _MOST_TOKENS:
                    return height, width, tokens - height * width
        height, width = self.model.input_size
        for extra in range(3):
            side = isqrt(tokens - extra)
            if side > 1 and side * side == tokens - extra and height == width:
                return side, side, extra
        return None

    def reads_one_token(self, grid: Grid) -> bool:
        """Whether all that goes on from these tokens is a class token."""
        if grid.layout != "tokens":
            return False
        values = {grid.value}
        for node in self.nodes:
            if not values.intersection(node.input):
                continue
            if node.op_type == "Gather" and attributes(node).get("axis", 0) % 3 == 1:
                return True
            if node.op_type == "Slice" and len(self.model.shapes.get(node.output[0], ())) == 3:
                return int(self.model.shapes[node.output[0]][1] or 0) <= 2
            shape = self.model.shapes.get(node.output[0], ())
            if (len(shape) >= 2 and shape[1] == grid.height * grid.width + grid.extra) or (
                len(shape) == 3 and shape[0] == grid.height * grid.width + grid.extra
            ):
                values.update(node.output)
        return False

    def before_attention(self, grid: Grid) -> Grid:
        """Return the last block's first norm: what its attention reads. Raises `ModelError`."""
        shape = self.model.shapes[grid.value]
        same = [p for p in self.single if self.model.shapes.get(self.nodes[p].output[0]) == shape]
        for start in reversed(same):
            if any(self._attends(node) for node in self.nodes[start + 1 :]):
                entry = self.nodes[start].output[0]
                for place in range(start + 1, len(self.nodes)):
                    name = self.nodes[place].output[0]
                    if self.alive[place] == {entry, name} and self.model.shapes.get(name) == shape:
                        return replace(grid, value=name)
        return self._before_class_attention(grid)

    def _before_class_attention(self, grid: Grid) -> Grid:
        """Return what the last of a few blocks reads that attend from a class token alone (CaiT): its norm's output.

        The patch tokens go around such blocks to a last concatenation, of which only the class token is read.
        """
        shape = self.model.shapes[grid.value]
        for place in reversed(range(len(self.nodes))):
            node = self.nodes[place]
            normed = node.op_type == "LayerNormalization" and self.model.shapes.get(node.output[0]) == shape
            if normed and any(self._attends(later) for later in self.nodes[place + 1 :]):
                return replace(grid, value=node.output[0])
        raise ModelError("the last attention block of this transformer was not found; such a model cannot be watched")

    def _attends(self, node: onnx.NodeProto) -> bool:
        """A softmax over tokens, or the product of two computed values."""
        return node.op_type == "MatMul" and all(name in self.depends for name in node.input)


def _alive(model: PlainModel, depends: set[str]) -> Iterator[set[str]]:
    """Yield, for each node, the values that depend on the input and are still read behind it."""
    nodes = model.nodes
    last = {name: position for position, node in enumerate(nodes) for name in node.input}
    last[model.logits] = len(nodes)
    alive = {model.input}
    for position, node in enumerate(nodes):
        alive = alive | {name for name in node.output if name in depends}
        alive = {name for name in alive if last.get(name, -1) > position}
        yield alive


def depending_on_input(model: PlainModel) -> set[str]:
    """Return the values that the input leads to."""
    depends = {model.input}
    for node in model.nodes:
        if depends.intersection(node.input) and node.op_type not in ("Shape", "Size"):
            depends.update(node.output)
    return depends
