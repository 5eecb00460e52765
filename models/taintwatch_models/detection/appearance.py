"""Does a place look like an optimised pattern? A small network's answer, which knows nothing of the guarded model.

The other statistics ask what the guarded model makes of a place. This one looks at the pixels alone: adversarial
patches share a look (Jedi: Tarchoun et al., 2023, sees it in their entropy; SAC: Liu et al., CVPR 2022, trains a
segmenter for it), posters and photographs have another. Its answer is one more statistic on the benign scale, never an
alarm by itself, and it helps to find the place that the others are asked of. The network (35,000 weights;
`benchmarks.appearance` trains it) has seen patches of other networks and of other makers than those that the detection
bench measures with. It looks at every frame and has to be small; a wider one looks again (`detection.closeup`).
"""

from __future__ import annotations

import onnx
from onnx import TensorProto, helper

from taintwatch_models.detection.pixel_network import add_network, add_pixels
from taintwatch_models.detection.windows import PLACES, place_matrix, window_cells
from taintwatch_models.graph.builder import GraphBuilder
from taintwatch_models.preprocessing import Preprocessing

__all__ = [
    "APPEARANCE",
    "APPEARANCE_FILE",
    "APPEARANCE_MAP",
    "PLACE",
    "SIDE",
    "WINDOW",
    "appearance_model",
    "appearance_nodes",
]

APPEARANCE, APPEARANCE_MAP = "appearance", "appearance_map"
SIDE = 96
"""Pixels a side of what the network sees: the whole input, made smaller or larger."""
APPEARANCE_FILE = "first_look.onnx"
"""The bundled network's file."""
_OPSET = 13
_PREFIX = "taintwatch/appearance"
_CELLS = SIDE // 8
"""Cells a side of the network's answer."""
WINDOW = 3
"""Cells a side over which the answer is averaged: a quarter of the picture."""
PLACE = window_cells((_CELLS, _CELLS))[0]
"""The same for the map: as large as the suspect window. Over benign windows of this size the answer, a logit on a scale
of its own, has mean 0 and deviation 1, as the anomaly map has."""


def appearance_nodes(opset: int, inputs: str, preprocessing: Preprocessing) -> GraphBuilder:
    """Return the nodes that give `appearance` (B,) and `appearance_map` (B, 1, 196), float32, from (B, 3, H, W) inputs.

    The first is the largest answer, averaged over a quarter of the side, that a place belongs to an optimised pattern;
    the second its average in each window of 5 of the 12 cells, from the first to the last, at 14 x 14 places.
    """
    b = GraphBuilder(opset, _PREFIX)
    pixels = add_pixels(b, inputs, preprocessing, preprocessing.size, SIDE)
    answer = add_network(b, APPEARANCE_FILE, _PREFIX, pixels)
    averages = b.add("AveragePool", answer, kernel_shape=[WINDOW, WINDOW])
    largest = b.reduce("ReduceMax", averages, [1, 2, 3], keepdims=False)
    b.nodes.append(helper.make_node("Identity", [largest], [APPEARANCE], name=APPEARANCE))
    count = _CELLS - PLACE + 1
    windows = b.reshape(b.add("AveragePool", answer, kernel_shape=[PLACE, PLACE]), [0, 1, count * count])
    matrix = b.constant(place_matrix((count, count)))
    b.nodes.append(helper.make_node("MatMul", [windows, matrix], [APPEARANCE_MAP], name=APPEARANCE_MAP))
    return b


def appearance_model(preprocessing: Preprocessing) -> onnx.ModelProto:
    """Return the same by itself, of `inputs` (B, 3, H, W) as a model takes them."""
    b = appearance_nodes(_OPSET, "inputs", preprocessing)
    graph = helper.make_graph(
        b.nodes, APPEARANCE,
        [helper.make_tensor_value_info("inputs", TensorProto.FLOAT, ["batch", 3, *preprocessing.size])],
        [
            helper.make_tensor_value_info(APPEARANCE, TensorProto.FLOAT, ["batch"]),
            helper.make_tensor_value_info(APPEARANCE_MAP, TensorProto.FLOAT, ["batch", 1, PLACES]),
        ],
        list(b.initializers.values()),
    )  # fmt: skip
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=8)
