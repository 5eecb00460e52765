"""The transposed head: the gradient of (combinations of) logits with respect to the last maps, as forward ops.

Each rule is the transposed Jacobian of one op; what it needs of the forward pass (the sign of a ReLU's input, the
indices of a max-pool) it reads from there. A cotangent that is the same in every cell (behind a global average pool)
keeps one value for them and broadcasts, so that GAP + linear heads cost one small product. To support another op, add
one function to a table of rules.
"""

from __future__ import annotations

from taintwatch_models.errors import ModelError
from taintwatch_models.graph.builder import GraphBuilder
from taintwatch_models.graph.cotangent import Cotangent, HeadContext
from taintwatch_models.graph.elementwise_rules import ELEMENTWISE
from taintwatch_models.graph.linear_rules import LINEAR
from taintwatch_models.graph.plain_model import PlainModel
from taintwatch_models.graph.pooling_rules import POOLING
from taintwatch_models.graph.shape_rules import SHAPES, split_rule
from taintwatch_models.graph.split import Split

__all__ = ["RULES", "HeadTranspose"]

RULES = ELEMENTWISE | LINEAR | POOLING | SHAPES


class HeadTranspose:
    """Writes the transposed head of one model into a graph, as often as it is called."""

    def __init__(self, model: PlainModel, split: Split, builder: GraphBuilder) -> None:
        """Raises `ModelError` naming the first op of the head that has no transpose."""
        self._split = split
        self._context = HeadContext(model, builder, split.maps, split.head)
        for node in split.head:
            active = self._context.active
            if node.op_type not in RULES and node.op_type != "Split" and active.intersection(node.output):
                raise ModelError(
                    f"the op {node.op_type} ('{node.output[0]}') behind the last maps has no transpose here; where the "
                    "logits lie before it, export the network without it, or name them with --output"
                )

    def __call__(self, cotangent: Cotangent) -> Cotangent:
        """Take a cotangent of the logits, (K, B, classes), to the maps: (K, B, channels, h, w), or 1 x 1 cells."""
        context = self._context
        arrived: dict[str, Cotangent] = {context.model.logits: cotangent}
        for node in reversed(self._split.head):
            parts = [arrived.pop(name, None) for name in node.output]
            if node.op_type == "Split" and any(part is not None for part in parts):
                outgoing = split_rule(context, node, parts)
            elif parts and parts[0] is not None and context.active.intersection(node.output):
                outgoing = RULES[node.op_type](context, node, parts[0])
            else:
                continue
            for name, own in outgoing.items():
                if name in context.active:
                    arrived[name] = context.add(arrived[name], own) if name in arrived else own
        if self._split.maps not in arrived:
            raise ModelError("no gradient leads from the logits to the last maps")
        gradient = context.dense(arrived[self._split.maps])
        if gradient.spread in (frozenset(), frozenset({2, 3})):
            return gradient
        return Cotangent(context.full(gradient, self._split.maps))
