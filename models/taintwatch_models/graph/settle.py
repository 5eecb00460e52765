"""Take the choices out of a radar graph that are known before it runs: no `If` is left where its condition is."""

from __future__ import annotations

from collections.abc import Mapping

import onnx
from onnx import helper

__all__ = ["settle"]


def settle(model: onnx.ModelProto, choices: Mapping[str, bool]) -> onnx.ModelProto:
    """Return a copy in which every `If` on one of these inputs is replaced by the branch that would be taken.

    A CUDA graph can hold no control flow, and the branch that is not taken costs memory. Names that are not in the
    graph are passed over.
    """
    settled = onnx.ModelProto()
    settled.CopyFrom(model)
    nodes: list[onnx.NodeProto] = []
    for node in settled.graph.node:
        if node.op_type == "If" and node.input[0] in choices:
            nodes += _inlined(node, choices[node.input[0]])
        else:
            nodes.append(node)
    del settled.graph.node[:]
    settled.graph.node.extend(nodes)
    still = {name for node in nodes for name in node.input}
    for values in (settled.graph.input, settled.graph.initializer):
        kept = [value for value in values if value.name not in choices or value.name in still]
        del values[:]
        values.extend(kept)
    return settled


def _inlined(node: onnx.NodeProto, taken: bool) -> list[onnx.NodeProto]:
    wanted = "then_branch" if taken else "else_branch"
    branch = next(attribute.g for attribute in node.attribute if attribute.name == wanted)
    ends = [
        helper.make_node("Identity", [inner.name], [outer], name=f"{node.name}/{outer}")
        for inner, outer in zip(branch.output, node.output, strict=True)
    ]
    return [*branch.node, *ends]
