"""Keep only what some outputs need: one prepared file serves every choice of variants at no run-time cost."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import onnx

from taintwatch_models.errors import ModelError

__all__ = ["keep_outputs"]


def keep_outputs(
    model: onnx.ModelProto, outputs: Collection[str], given: Mapping[str, str] | None = None
) -> onnx.ModelProto:
    """Return a copy of `model` with these outputs, and the nodes, weights and optional inputs that lead to them.

    `given` names values that become inputs, so that what leads to them is left out too, each with the output that has
    its type and shape. Raises `ModelError` where the model lacks one of the outputs.
    """
    given = given or {}
    there = {value.name: value for value in model.graph.output}
    missing = [name for name in outputs if name not in there]
    if missing:
        raise ModelError(
            f"the graph has no output '{missing[0]}'; prepare the model again with `taintwatch model prepare`"
        )
    wanted = set(outputs)
    nodes: list[onnx.NodeProto] = []
    for node in reversed(model.graph.node):
        if wanted.intersection(node.output) and not set(given).intersection(node.output):
            wanted.update(_reads(node))
            nodes.append(node)
    stored = {tensor.name for tensor in model.graph.initializer}
    pruned = onnx.ModelProto()
    pruned.ir_version = model.ir_version
    pruned.producer_name = model.producer_name
    pruned.opset_import.extend(model.opset_import)
    pruned.metadata_props.extend(model.metadata_props)
    graph = pruned.graph
    graph.name = model.graph.name
    graph.node.extend(reversed(nodes))
    graph.initializer.extend(t for t in model.graph.initializer if t.name in wanted)
    graph.input.extend(v for v in model.graph.input if v.name in wanted or v.name not in stored)
    for name, like in given.items():
        value = graph.input.add()
        value.CopyFrom(there[like])
        value.name = name
    graph.output.extend(there[name] for name in outputs)
    return pruned


def _reads(node: onnx.NodeProto) -> set[str]:
    """Return the values that a node reads, those of its branches included."""
    names = set(node.input)
    for attribute in node.attribute:
        if attribute.type == onnx.AttributeProto.GRAPH:
            for inner in attribute.g.node:
                names |= _reads(inner)
            names.update(value.name for value in attribute.g.output)
    return names
