"""Does the suspect window look like an optimised pattern from near by? A wider network's answer, in the second look.

The first look's network (`appearance`) sees the whole picture in every frame, so it has to be small. What it takes for
a pattern is looked at again here: the suspect window with a margin around it, by a wider network that was trained on
such crops (`benchmarks.appearance`). It tells busy prints from patterns better, and sees faint
patterns better. It knows nothing of the guarded model, as the first one, and is never an alarm by itself.
"""

from __future__ import annotations

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper

from taintwatch_models.detection.pixel_network import add_network, add_pixels
from taintwatch_models.detection.windows import Boxes, boxes_of
from taintwatch_models.graph.builder import GraphBuilder
from taintwatch_models.preprocessing import Preprocessing

__all__ = ["CLOSEUP", "CLOSEUP_FILE", "CLOSEUP_SHARE", "CLOSEUP_SIDE", "closeup_boxes", "closeup_model", "crops"]

CLOSEUP = "closeup"
CLOSEUP_FILE = "closeup.onnx"
"""The bundled network's file."""
CLOSEUP_SHARE = 0.6
"""Side of the crop as a share of the picture's: the suspect window, and half of it around."""
CLOSEUP_SIDE = 72
"""Pixels a side of what the network sees."""
_OPSET = 13
_PREFIX = "taintwatch/closeup"
_WINDOW = 3
"""Cells a side over which the answer is averaged: a fifth of the picture's side."""


def closeup_boxes(size: tuple[int, int]) -> Boxes:
    """Return the crops of the 14 x 14 suspect windows of a picture of (height, width) pixels, row by row: (196, 4)."""
    return boxes_of(size, CLOSEUP_SHARE)


def crops(inputs: NDArray[np.float32], boxes: Boxes) -> NDArray[np.float32]:
    """Cut one box, all of one size, out of each of (B, 3, H, W) inputs: (B, 3, height, width)."""
    cut = [one[:, top : top + h, left : left + w] for one, (top, left, h, w) in zip(inputs, boxes, strict=True)]
    return np.stack(cut)


def closeup_model(preprocessing: Preprocessing) -> onnx.ModelProto:
    """Return the model that gives `closeup` (B,), float32, of `crops` (B, 3, h, w) of a model's inputs.

    The largest answer, averaged over a third of the crop's side, that a place belongs to an optimised pattern.
    """
    b = GraphBuilder(_OPSET, _PREFIX)
    height, width = (int(side) for side in closeup_boxes(preprocessing.size)[0, 2:])
    pixels = add_pixels(b, "crops", preprocessing, (height, width), CLOSEUP_SIDE)
    answer = add_network(b, CLOSEUP_FILE, _PREFIX, pixels)
    averages = b.add("AveragePool", answer, kernel_shape=[_WINDOW, _WINDOW], strides=[1, 1])
    largest = b.reduce("ReduceMax", averages, [1, 2, 3], keepdims=False)
    b.nodes.append(helper.make_node("Identity", [largest], [CLOSEUP], name=CLOSEUP))
    graph = helper.make_graph(
        b.nodes, CLOSEUP,
        [helper.make_tensor_value_info("crops", TensorProto.FLOAT, ["batch", 3, height, width])],
        [helper.make_tensor_value_info(CLOSEUP, TensorProto.FLOAT, ["batch"])],
        list(b.initializers.values()),
    )  # fmt: skip
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=8)
