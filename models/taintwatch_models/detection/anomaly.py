"""Is there a place that is unlike benign places, and does the label rest on it? Patch-wise Mahalanobis distances.

For each of some layers the Mahalanobis distance of every cell's activations to those of benign cells is taken (PaDiM:
Defard et al., 2021, on a subset of the channels), averaged over a window of 0.4 of the side; its logarithm is put on
the layer's benign scale, and the mean over the layers *at one place* is the anomaly map. An attack is anomalous to
every layer where it lies; what is merely new is so to some layers, here and there. The mean over the first layers
alone is a map of its own: patches that win narrowly are plain to those only.

The map of saliency shares is the logarithm of each window's share of the label's saliency. The sum of both maps is
largest where a place is anomalous *and* the label rests on it: an unusual background has no saliency, a usual object
no anomaly. That sum is the statistic; the suspect window lies where the appearance map is added to it.

Deviations from PaDiM: one Gaussian for all places instead of one for each (what a camera sees moves), averages over a
window instead of a smoothed map, layers by themselves instead of concatenated, and the map is read with the others
instead of by itself: a search over all places finds something unusual in every picture.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper

from taintwatch_models.detection.windows import FILL_SHARE, GRID, box_averages, window_cells
from taintwatch_models.graph.builder import GraphBuilder
from taintwatch_models.graph.resampling import bilinear_matrix, resize

__all__ = [
    "ANOMALY_MAP",
    "EARLY_MAP",
    "LayerCells",
    "early_layers",
    "largest_sum",
    "on_grid",
    "saliency_shares",
    "with_anomaly_map",
    "with_outputs",
]

ANOMALY_MAP, EARLY_MAP = "anomaly_map", "early_anomaly_map"
LEAST_DISTANCE = 1e-6
_LEAST_SHARE = 0.05
"""Added to a window's saliency, as a share of the average window's: a window without any is not infinitely unlikely."""
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


def early_layers(count: int) -> int:
    """Return how many of `count` layers, first to last, the early map is the mean of: a third, at least one."""
    return max(1, count // 3)


def with_anomaly_map(proto: onnx.ModelProto, layers: Sequence[LayerCells]) -> onnx.ModelProto:
    """Return the graph with two more outputs, (B, 14, 14) float32 each, about 0 in benign places.

    `anomaly_map` is the mean over all layers, `early_anomaly_map` over the first third of them.
    """
    b = GraphBuilder(proto.opset_import[0].version, _PREFIX)
    found = [_layer(b, layer) for layer in layers]
    levels = [layer.centre / layer.spread for layer in layers]
    for name, count in ((ANOMALY_MAP, len(found)), (EARLY_MAP, early_layers(len(found)))):
        total = found[0] if count == 1 else b.add("Sum", *found[:count])
        level = b.constant(float(np.mean(levels[:count])))
        mean = b.squeeze(b.add("Sub", b.add("Mul", total, b.constant(1.0 / count)), level), 1)
        b.nodes.append(helper.make_node("Identity", [mean], [name], name=name))
    shape: Sequence[str | int | None] = ("batch", GRID, GRID)
    return with_outputs(proto, b, {ANOMALY_MAP: shape, EARLY_MAP: shape})


def _layer(builder: GraphBuilder, layer: LayerCells) -> str:
    """The logarithm of the window averages at 14 x 14 places, over the layer's spread: (B, 1, 14, 14).

    As few nodes as will do, because each costs some ten microseconds whatever it computes: the mean is the bias of the
    whitening's convolution, and the layer's centre is taken from the sum of all.
    """
    b, count = builder, len(layer.channels)
    kernel = np.ascontiguousarray(layer.whitening.T)
    bias = b.constant(-(kernel @ layer.mean))
    white = b.add("Conv", as_maps(b, layer), b.constant(kernel.reshape(count, count, 1, 1)), bias)
    distances = b.reduce("ReduceMean", b.add("Mul", white, white), [1], keepdims=True)
    window = window_cells(layer.side)
    average = b.add("AveragePool", distances, kernel_shape=window)
    logarithm = b.add("Log", b.add("Max", average, b.constant(LEAST_DISTANCE)))
    scaled = b.add("Mul", logarithm, b.constant(1.0 / layer.spread))
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


def saliency_shares(saliency: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return how much of the label's saliency lies in each window, of saliency maps (B, h, w): (B, 14, 14).

    The logarithm of a window's average over that of all windows: about 0 where saliency is spread evenly, up to about 2
    where all of it is in one window, -3 where there is none; 0 everywhere for a map that is zero everywhere.
    """
    averages = np.maximum(box_averages(saliency, *window_cells(saliency.shape[1:])), 0.0)
    level = averages.mean(axis=(1, 2), keepdims=True)
    shares = np.where(level > 0, averages / np.maximum(level, 1e-30), 1.0 - _LEAST_SHARE)
    return on_grid(np.log(shares + _LEAST_SHARE))


def on_grid(values: NDArray[np.float64]) -> NDArray[np.float32]:
    """Return values of windows (B, h, w) at the 14 x 14 places of the maps, bilinear: (B, 14, 14)."""
    rows, columns = (bilinear_matrix(GRID, side) for side in values.shape[1:])
    return np.asarray(rows @ values @ columns.T, np.float32)


def largest_sum(*maps: NDArray[np.float32]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Find the window in which the sum of some maps, (B, 14, 14) each, is largest.

    Returns the sum (B,), and the window's centre (B, 2) as shares of the picture's height and width.
    """
    total = np.sum(maps, axis=0).reshape(len(maps[0]), -1)
    best = total.argmax(axis=1)
    steps = np.stack([best // GRID, best % GRID], axis=1) / (GRID - 1)
    centres = FILL_SHARE / 2 + steps * (1 - FILL_SHARE)
    return total[np.arange(len(total)), best].astype(np.float64), centres
