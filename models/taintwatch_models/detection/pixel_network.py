"""The bundled networks that look at pixels alone, as nodes of a graph that is given a model's inputs."""

from __future__ import annotations

import numpy as np
import onnx
from numpy.typing import NDArray

from taintwatch_models.bundled import bundled_path
from taintwatch_models.graph.builder import GraphBuilder
from taintwatch_models.graph.resampling import shrink
from taintwatch_models.preprocessing import Preprocessing

__all__ = ["add_network", "add_pixels"]


def add_pixels(b: GraphBuilder, inputs: str, preprocessing: Preprocessing, size: tuple[int, int], side: int) -> str:
    """Add what turns a model's inputs (B, 3, *size) into RGB in [-1, 1], (B, 3, side, side); return its name."""
    gain = np.array(preprocessing.std, np.float32) * preprocessing.scale / 127.5
    level = np.array(preprocessing.mean, np.float32) * preprocessing.scale / 127.5 - 1
    small = shrink(b, inputs, size, (side, side))
    pixels = b.add("Add", b.add("Mul", small, _planes(b, gain)), _planes(b, level))
    return b.add("Gather", pixels, b.constant([2, 1, 0]), axis=1) if preprocessing.order == "bgr" else pixels


def add_network(b: GraphBuilder, file: str, prefix: str, pixels: str) -> str:
    """Add a bundled network's nodes, with `prefix` before their names, fed with `pixels`; return its answer's name."""
    network = onnx.load(bundled_path(file)).graph
    names = {network.input[0].name: pixels}

    def renamed(name: str) -> str:
        return names.get(name, f"{prefix}/{name}")

    for tensor in network.initializer:
        own = onnx.TensorProto()
        own.CopyFrom(tensor)
        own.name = renamed(tensor.name)
        b.initializers[own.name] = own
    for node in network.node:
        own_node = onnx.NodeProto()
        own_node.CopyFrom(node)
        own_node.name = renamed(node.name)
        own_node.ClearField("input")
        own_node.ClearField("output")
        own_node.input.extend(renamed(name) for name in node.input)
        own_node.output.extend(renamed(name) for name in node.output)
        b.nodes.append(own_node)
    return renamed(network.output[0].name)


def _planes(b: GraphBuilder, values: NDArray[np.float32]) -> str:
    return b.constant(values.reshape(1, 3, 1, 1))
