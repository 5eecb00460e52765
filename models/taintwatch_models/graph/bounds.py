"""How large a classifier may be: what is refused before it costs minutes, or all the memory."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

import onnx

from taintwatch_models.errors import ModelError

__all__ = [
    "MOST_INPUT_PIXELS",
    "MOST_NODES",
    "MOST_VALUES",
    "MOST_WEIGHTS",
    "refuse_large_input",
    "refuse_large_values",
    "refuse_oversized",
]

MOST_NODES = 20_000
"""Ten times what large vision transformers have; preparing takes milliseconds for each."""
MOST_INPUT_PIXELS = 2048 * 2048
MOST_VALUES = 1 << 28
"""Of one tensor for one picture: 1 GiB in float32."""
MOST_WEIGHTS = (1 << 31) - (64 << 20)
"""Bytes in float32, beside a graph of up to 64 MiB: no ONNX file is larger than 2 GiB."""

Shape = tuple[int | None, ...]


def refuse_oversized(proto: onnx.ModelProto, where: str) -> None:
    """Raise `ModelError` for too many nodes (those of subgraphs count), or weights that are huge or claim to be."""
    count = sum(1 for _ in _nodes(proto.graph, MOST_NODES))
    if count > MOST_NODES:
        raise ModelError(f"{where}: has more than {MOST_NODES} nodes, more than any classifier of pictures needs")
    for tensor in proto.graph.initializer:
        if math.prod(tensor.dims) > MOST_VALUES:
            raise ModelError(f"{where}: the weight '{tensor.name[:80]}' has more than {MOST_VALUES} values")
    weights = 4 * sum(math.prod(tensor.dims) for tensor in proto.graph.initializer)
    if weights > MOST_WEIGHTS:
        raise ModelError(
            f"{where}: its weights are {weights / 1e9:.1f} GB in float32; a prepared file holds 2 GB at most"
        )
    for node in proto.graph.node:
        if node.op_type == "ConstantOfShape":
            _refuse_filled(proto, node, where)


def refuse_large_input(size: tuple[int, int], where: str) -> None:
    """Raise `ModelError` where the model takes pictures of more than `MOST_INPUT_PIXELS` (height, width)."""
    if size[0] * size[1] > MOST_INPUT_PIXELS:
        raise ModelError(
            f"{where}: takes pictures of {size[0]} x {size[1]} (height x width), more than {MOST_INPUT_PIXELS} pixels"
        )


def refuse_large_values(shapes: Mapping[str, Shape], where: str) -> None:
    """Raise `ModelError` where a value within the model is larger than `MOST_VALUES` for one picture."""
    for name, shape in shapes.items():
        if math.prod(size or 1 for size in shape) > MOST_VALUES:
            sizes = " x ".join(str(size or 1) for size in shape)
            raise ModelError(f"{where}: its value '{name[:80]}' would have {sizes} numbers for one picture")


def _nodes(graph: onnx.GraphProto, most: int) -> Iterator[onnx.NodeProto]:
    """Yield nodes, at most one more than `most`, those of subgraphs too; nesting is walked with a list."""
    waiting, given = [graph], 0
    while waiting:
        for node in waiting.pop().node:
            yield node
            given += 1
            if given > most:
                return
            waiting += [attribute.g for attribute in node.attribute if attribute.HasField("g")]


def _refuse_filled(proto: onnx.ModelProto, node: onnx.NodeProto, where: str) -> None:
    stored = {tensor.name: tensor for tensor in proto.graph.initializer if tensor.name in node.input}
    for tensor in stored.values():
        if tensor.data_type == onnx.TensorProto.INT64 and math.prod(tensor.dims) <= 16:
            sizes = onnx.numpy_helper.to_array(tensor).reshape(-1).tolist()
            if math.prod(max(0, size) for size in sizes) > MOST_VALUES:
                raise ModelError(f"{where}: fills a tensor of {' x '.join(map(str, sizes))} numbers")
