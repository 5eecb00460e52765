"""Is the place on which the label rests unlike benign places? Patch-wise Mahalanobis distances over all layers.

For each of some layers the Mahalanobis distance of every cell's activations to those of benign cells is taken (PaDiM:
Defard et al., 2021, on a subset of the channels), averaged over a window of 0.4 of the side; its logarithm is put on
the layer's benign scale, and the mean over the layers *at one place* is the anomaly map. An attack is anomalous to
every layer where it lies; what is merely new is so to some layers, here and there.

Deviations from PaDiM: one Gaussian for all places instead of one for each (what a camera sees moves), averages over a
window instead of a smoothed map, layers by themselves instead of concatenated, and the map is read where the label's
evidence is instead of at its maximum: a search over all places finds something unusual in every picture.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper

from taintwatch_models.detection.windows import FILL_SHARE
from taintwatch_models.graph.builder import GraphBuilder
from taintwatch_models.graph.resampling import resize

__all__ = ["ANOMALY_MAP", "GRID", "LayerCells", "read_map", "with_anomaly_map", "with_outputs"]

ANOMALY_MAP = "anomaly_map"
GRID = 14
"""Places along a side at which the anomaly map is given, from the first window to the last."""
LEAST_DISTANCE = 1e-6
_NEAR = 2
"""Places around the evidence that count as the same: maps of different strides are not aligned to the cell."""
_PREFIX = "taintwatch/window"


@dataclass(frozen=True, slots=True, eq=False)
class LayerCells:
    """One layer, and what benign cells look like to it."""

    value: str
    """Name of the layer's maps in the graph: (B, C, h, w), or tokens (B, N, C)."""
    cells: tuple[int, int]
    """Height and width of the maps; of the tokens without a class token."""
    tokens: int
    """0: maps; else the number of tokens, the last h * w of which are the cells."""
    stride: int
    """Every so many-th cell is looked at, both ways."""
    channels: NDArray[np.int64]
    """(c,): those that are looked at."""
    mean: NDArray[np.float32]
    """(c,)."""
    whitening: NDArray[np.float32]
    """(c, c): the mean square of `(cell - mean) @ whitening` is a cell's distance."""
    centre: float = 0.0
    spread: float = 1.0
    """Mean and deviation of the window averages' logarithm over places of benign pictures."""

    @property
    def side(self) -> tuple[int, int]:
        """Cells that are looked at: rows and columns."""
        return -(-self.cells[0] // self.stride), -(-self.cells[1] // self.stride)


def as_maps(builder: GraphBuilder, layer: LayerCells) -> str:
    """Add the nodes that give the layer's chosen channels at the cells that are looked at: (B, c, h', w')."""
    b, (height, width) = builder, layer.cells
    if layer.tokens:
        first = layer.tokens - height * width
        rows = b.add("Slice", layer.value, b.constant([first]), b.constant([layer.tokens]), b.constant([1]))
        chosen = b.add("Gather", rows, b.constant(layer.channels), axis=2)
        shape = [0, len(layer.channels), height, width]
        maps = b.reshape(b.add("Transpose", chosen, perm=[0, 2, 1]), shape)
    else:
        maps = b.add("Gather", layer.value, b.constant(layer.channels), axis=1)
    if layer.stride == 1:
        return maps
    ends, steps = [height, width], [layer.stride, layer.stride]
    return b.add("Slice", maps, b.constant([0, 0]), b.constant(ends), b.constant([2, 3]), b.constant(steps))


def with_anomaly_map(proto: onnx.ModelProto, layers: Sequence[LayerCells]) -> onnx.ModelProto:
    """Return the graph with one more output: `anomaly_map` (B, 14, 14), float32, about 0 in benign places."""
    b = GraphBuilder(proto.opset_import[0].version, _PREFIX)
    found = [_layer(b, layer) for layer in layers]
    total = found[0] if len(found) == 1 else b.add("Sum", *found)
    mean = b.squeeze(b.add("Div", total, b.constant(float(len(found)))), 1)
    b.nodes.append(helper.make_node("Identity", [mean], [ANOMALY_MAP], name=ANOMALY_MAP))
    return with_outputs(proto, b, {ANOMALY_MAP: ["batch", GRID, GRID]})


def _layer(builder: GraphBuilder, layer: LayerCells) -> str:
    """The scaled logarithm of the window averages at 14 x 14 places: (B, 1, 14, 14)."""
    b, count = builder, len(layer.channels)
    rest = b.add("Sub", as_maps(b, layer), b.constant(layer.mean.reshape(1, count, 1, 1)))
    kernel = np.ascontiguousarray(layer.whitening.T).reshape(count, count, 1, 1)
    white = b.add("Conv", rest, b.constant(kernel))
    distances = b.reduce("ReduceMean", b.add("Mul", white, white), [1], keepdims=True)
    window = [max(1, round(FILL_SHARE * side)) for side in layer.side]
    average = b.add("AveragePool", distances, kernel_shape=window)
    logarithm = b.add("Log", b.add("Max", average, b.constant(LEAST_DISTANCE)))
    scaled = b.add("Div", b.add("Sub", logarithm, b.constant(layer.centre)), b.constant(layer.spread))
    places = (layer.side[0] - window[0] + 1, layer.side[1] - window[1] + 1)
    return resize(b, scaled, places, (GRID, GRID))


def with_outputs(
    proto: onnx.ModelProto, builder: GraphBuilder, shapes: dict[str, Sequence[str | int | None]]
) -> onnx.ModelProto:
    """Return the graph with the builder's nodes, and with `shapes` as further outputs (float32)."""
    extended = onnx.ModelProto()
    extended.CopyFrom(proto)
    extended.graph.node.extend(builder.nodes)
    extended.graph.initializer.extend(builder.initializers.values())
    there = {output.name for output in proto.graph.output}
    extended.graph.output.extend(
        helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
        for name, shape in shapes.items() if name not in there
    )  # fmt: skip
    return extended


def read_map(maps: NDArray[np.float32], corners: NDArray[np.int64], places: tuple[int, int]) -> NDArray[np.float64]:
    """Return the largest value of each anomaly map (B, 14, 14) near the evidence: (B,).

    `corners` (B, 2) of the evidence windows in cells, of which there are `places` (rows, columns).
    """
    steps = (GRID - 1) / np.maximum(np.array(places) - 1, 1)
    centres = np.round(corners * steps).astype(np.int64)
    found = np.empty(len(maps))
    for index, (row, column) in enumerate(centres):
        rows, columns = slice(max(0, row - _NEAR), row + _NEAR + 1), slice(max(0, column - _NEAR), column + _NEAR + 1)
        found[index] = maps[index, rows, columns].max()
    return found
