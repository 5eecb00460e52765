"""Let a radar graph take pixels: a quarter of the bytes to upload, and the normalisation on the device."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from taintwatch_models.preprocessing import Preprocessing

__all__ = ["PIXELS", "take_pixels"]

PIXELS = "pixels"


def take_pixels(model: onnx.ModelProto, name: str, preprocessing: Preprocessing) -> onnx.ModelProto:
    """Return a copy whose input `name`, (B, 3, H, W) float32, is computed from a new one, `pixels`.

    `pixels` is (B, H, W, 3) uint8 in the model's channel order: what `Preprocessing.pixels` gives.
    """
    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    graph = changed.graph
    kept = [value for value in graph.input if value.name != name]
    height, width = preprocessing.size
    given = helper.make_tensor_value_info(PIXELS, TensorProto.UINT8, ["batch", height, width, 3])
    del graph.input[:]
    graph.input.extend([given, *kept])
    std = np.asarray(preprocessing.std, np.float32)
    constants = {
        "gain": (1.0 / (preprocessing.scale * std)).astype(np.float32),
        "bias": (-np.asarray(preprocessing.mean, np.float32) / std).astype(np.float32),
    }
    for key, value in constants.items():
        graph.initializer.append(numpy_helper.from_array(value.reshape(1, 3, 1, 1), f"taintwatch/pixels_{key}"))
    front = [
        helper.make_node("Transpose", [PIXELS], ["taintwatch/planes"], perm=[0, 3, 1, 2]),
        helper.make_node("Cast", ["taintwatch/planes"], ["taintwatch/values"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["taintwatch/values", "taintwatch/pixels_gain"], ["taintwatch/scaled"]),
        helper.make_node("Add", ["taintwatch/scaled", "taintwatch/pixels_bias"], [name]),
    ]
    nodes = list(graph.node)
    del graph.node[:]
    graph.node.extend([*front, *nodes])
    return changed
