"""A regularised ONNX classifier as a Torch module: for autograd (the transposed head's oracle) and for crafting."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import onnx
import torch
from torch import Tensor, nn

from taintwatch_models.errors import ModelError
from taintwatch_models.graph.plain_model import PlainModel
from taintwatch_models.graph.split import Split
from taintwatch_models.torch_nodes import require_known, run_node

__all__ = ["TorchGraph"]


class TorchGraph(nn.Module):
    """Runs a classifier's ONNX nodes with Torch ops; differentiable, on any device, weights frozen."""

    def __init__(
        self, model: PlainModel, split: Split, *, head_only: bool = False, dtype: torch.dtype = torch.float32
    ) -> None:
        """`head_only`: only `head` is run, the maps come from elsewhere. Raises `ModelError` naming an unknown op."""
        super().__init__()
        self._head = (*_before_head(model, split), *split.head)
        nodes = self._head if head_only else (*split.body, *self._head)
        require_known(nodes)
        self._model, self._split = model, split
        self._side: dict[str, Tensor] = {}
        self._names: dict[str, str] = {}
        self._scalars: dict[str, float] = {}
        read = {name for node in nodes for name in node.input}
        for name in model.constants:
            kind, rank = model.constants.kind(name)
            if kind == "f" and rank == 0:
                self._scalars[name] = float(np.asarray(model.constants[name]))
            elif kind == "f" and name in read:
                self._names[name] = f"c{len(self._names)}"
                self.register_buffer(self._names[name], torch.tensor(model.constants[name], dtype=dtype))

    def maps(self, inputs: Tensor) -> Tensor:
        """(B, 3, H, W) to the last maps, (B, channels, h, w)."""
        values = self._run(self._split.body, {self._model.input: inputs})
        self._side = {name: values[name] for name in self._split.side}
        return values[self._split.maps]

    def head(self, maps: Tensor, side: dict[str, Tensor] | None = None) -> Tensor:
        """The last maps to the logits, (B, classes).

        `side` are the split's side values, where it has any (a class token's): by default those of the last `maps`.
        """
        return self._run(self._head, (self._side if side is None else side) | {self._split.maps: maps})[
            self._model.logits
        ]

    def forward(self, inputs: Tensor) -> Tensor:
        """(B, 3, H, W) to the logits, (B, classes)."""
        return self.head(self.maps(inputs))

    def between(self, inputs: Tensor, names: Sequence[str]) -> list[Tensor]:
        """(B, 3, H, W) to maps on the way, by their names in the graph; `features` are the last ones.

        Raises `ModelError` for a name that the graph does not have.
        """
        values = self._run(self._split.body, {self._model.input: inputs})
        values["features"] = values[self._split.maps]
        missing = [name for name in names if name not in values]
        if missing:
            raise ModelError(f"the classifier's graph has no value '{missing[0]}'")
        return [values[name] for name in names]

    def _run(self, nodes: Iterable[onnx.NodeProto], values: dict[str, Tensor]) -> dict[str, Tensor]:
        values = dict(values)
        for node in nodes:
            if self._is_stored(node):
                continue
            arguments = [self._value(name, values) if name else None for name in node.input]
            values.update(zip(node.output, run_node(node, arguments, self._model.opset), strict=False))
        return values

    def _is_stored(self, node: onnx.NodeProto) -> bool:
        """Whether its result is a weight, dequantised; what was folded for one batch size alone is not."""
        known = node.output[0] in self._names or node.output[0] in self._scalars
        return known and all(name in self._model.constants for name in node.input if name)

    def _value(self, name: str, values: dict[str, Tensor]) -> Any:
        if name in values:
            return values[name]
        if name in self._names:
            return self.get_buffer(self._names[name])
        if name in self._scalars:
            return self._scalars[name]
        return np.asarray(self._model.constants[name])  # integers: shapes, axes, pads


def _before_head(model: PlainModel, split: Split) -> list[onnx.NodeProto]:
    """The body's nodes that make of constants what the head reads (a class token, cut from its table)."""
    made = {name: node for node in split.body for name in node.output}
    given = {split.maps, *split.side}
    found: dict[str, onnx.NodeProto] = {}
    wanted = [name for node in split.head for name in node.input if name in made and name not in given]
    while wanted:
        node = made[wanted.pop()]
        if node.output[0] not in found:
            found[node.output[0]] = node
            known = given | {name for name in node.input if name in model.constants}
            wanted += [name for name in node.input if name in made and name not in known]
    return [node for node in split.body if node.output[0] in found]
