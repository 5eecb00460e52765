"""The transposed head: the gradient of (combinations of) logits with respect to the last maps, as forward ops.

A cotangent of a value of shape (B, ...) has shape (B, K, ...): K vectors for each input of the batch, worked through
at once. Each rule is the transposed Jacobian of one op; what it needs of the forward pass (the sign of a ReLU's
output, the indices of a max-pool) it reads from there. A cotangent that is the same in every cell (behind a global
average pool) keeps 1 x 1 cells and broadcasts, so that GAP + linear heads cost one small product.
"""

from __future__ import annotations

from taintwatch_models.errors import ModelError
from taintwatch_models.graph.builder import GraphBuilder
from taintwatch_models.graph.head_context import Cotangent, HeadContext
from taintwatch_models.graph.head_rules import RULES
from taintwatch_models.graph.plain_model import PlainModel
from taintwatch_models.graph.split import Split

__all__ = ["HeadTranspose"]


class HeadTranspose:
    """Writes the transposed head of one model into a graph, as often as it is called."""

    def __init__(self, model: PlainModel, split: Split, builder: GraphBuilder) -> None:
        """Raises `ModelError` naming the first op of the head that has no transpose."""
        self._split = split
        self._context = HeadContext(model, builder)
        for node in split.head:
            if node.op_type not in RULES:
                raise ModelError(
                    f"the head's op {node.op_type} ('{node.output[0]}') has no transpose here (head: {split.head_ops})"
                )

    def __call__(self, cotangent: Cotangent) -> Cotangent:
        """Take a cotangent of the logits, (B, K, classes), to the maps: (B, K, channels, h, w), or 1 x 1 cells."""
        context = self._context
        arrived: dict[str, Cotangent] = {context.model.logits: cotangent}
        for node in reversed(self._split.head):
            incoming = arrived.pop(node.output[0], None)
            if incoming is None:
                continue
            for name, outgoing in RULES[node.op_type](context, node, incoming).items():
                arrived[name] = _sum(context.b, arrived[name], outgoing) if name in arrived else outgoing
        return arrived[self._split.maps]


def _sum(b: GraphBuilder, first: Cotangent, second: Cotangent) -> Cotangent:
    return Cotangent(b.add("Add", first.name, second.name), uniform=first.uniform and second.uniform)
