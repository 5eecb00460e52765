"""A detector small enough for tests: an ONNX graph that finds bright squares, in YOLOX's layout."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

__all__ = ["SIDE", "bright_squares", "write_detector", "write_guardable_detector"]

SIDE = 64  # of the input; cells of 8, 16 and 32 pixels
_LEVELS = (8, 16, 32)


def write_detector(path: Path) -> Path:
    """Write a detector: a cell of 8 pixels that is bright is a `lamp` of 16 x 16 around its centre, surely."""
    initialisers: list[onnx.TensorProto] = []
    nodes, cells = _lamp_nodes(SIDE, initialisers)
    graph = helper.make_graph(
        nodes,
        "lamps",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 3, SIDE, SIDE])],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, [1, cells, 6])],
        initialisers,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.save(model, str(path))
    path.with_suffix(".txt").write_text("lamp\n")
    return path


def _lamp_nodes(side: int, initialisers: list[onnx.TensorProto]) -> tuple[list[onnx.NodeProto], int]:
    """Return the nodes that find lamps in an input of that side, and the number of its cells."""
    nodes, rows = [], []
    initialisers += [
        numpy_helper.from_array(np.array([1, 1, -1], np.int64), "flat"),
        numpy_helper.from_array(np.float32(1 / 255), "gain"),
    ]
    for stride in _LEVELS:
        name = f"s{stride}"
        nodes += [
            helper.make_node(
                "AveragePool", ["images"], [f"{name}_mean"], kernel_shape=[stride] * 2, strides=[stride] * 2
            ),
            helper.make_node("ReduceMean", [f"{name}_mean"], [f"{name}_grey"], axes=[1], keepdims=1),
            helper.make_node("Mul", [f"{name}_grey", "gain"], [f"{name}_bright"]),
            helper.make_node("Reshape", [f"{name}_bright", "flat"], [f"{name}_row"]),  # (1, 1, cells)
        ]
        cells = (side // stride) ** 2
        # Offsets to the middle of the cell, sides of 16 pixels for the level of 8, objectness 1 there and 0 elsewhere.
        sides = float(np.log(16 / stride))
        known = np.tile(np.array([0.5, 0.5, sides, sides, 1.0 if stride == 8 else 0.0], np.float32), (cells, 1)).T[None]
        initialisers.append(numpy_helper.from_array(np.ascontiguousarray(known), f"{name}_known"))
        nodes.append(helper.make_node("Concat", [f"{name}_known", f"{name}_row"], [f"{name}_all"], axis=1))
        rows.append(f"{name}_all")
    nodes += [
        helper.make_node("Concat", rows, ["columns"], axis=2),
        helper.make_node("Transpose", ["columns"], ["output"], perm=[0, 2, 1]),
    ]
    return nodes, sum((side // stride) ** 2 for stride in _LEVELS)


def bright_squares(*corners: tuple[int, int], size: tuple[int, int] = (128, 128)) -> NDArray[np.uint8]:
    """A dark picture with a bright square of 32 pixels at each corner (x, y)."""
    image = np.zeros((*size, 3), np.uint8)
    for x, y in corners:
        image[y : y + 32, x : x + 32] = 255
    return image


def write_guardable_detector(path: Path) -> Path:
    """Write the same detector for 192 pixels, with convolutions of a stride of 4 before it that a guard can look at."""
    side = 192
    rng = np.random.default_rng(0)
    kernels = rng.normal(0, 0.2, (12, 3, 4, 4)).astype(np.float32)
    mixing = rng.normal(0, 0.3, (12, 12, 3, 3)).astype(np.float32)
    nodes = [
        helper.make_node("Conv", ["images", "kernels"], ["edges"], kernel_shape=[4, 4], strides=[4, 4]),
        helper.make_node("Relu", ["edges"], ["early"]),
        helper.make_node("Conv", ["early", "mixing"], ["mixed"], kernel_shape=[3, 3], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["mixed"], ["later"]),
        helper.make_node("Conv", ["later", "mixing"], ["unused"], kernel_shape=[3, 3], pads=[1, 1, 1, 1]),
    ]
    initialisers = [numpy_helper.from_array(kernels, "kernels"), numpy_helper.from_array(mixing, "mixing")]
    more, cells = _lamp_nodes(side, initialisers)
    shape = [1, 3, side, side]
    graph = helper.make_graph(
        # The guard looks at the first eighth of a graph, as in a real one.
        [*nodes, *more, *(helper.make_node("Identity", ["unused"], [f"spare{index}"]) for index in range(60))],
        "lamps",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, [1, cells, 6])],
        initialisers,
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), str(path))
    path.with_suffix(".txt").write_text("lamp\n")
    return path
