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

from taintwatch_models.detection.windows import GRID, PLACES, place_matrix, window_cells
from taintwatch_models.graph.builder import GraphBuilder, attributes
from taintwatch_models.graph.resampling import bilinear_matrix

__all__ = [
    "ANOMALY_MAPS",
    "LayerCells",
    "as_maps",
    "at_places",
    "channel_count",
    "early_layers",
    "largest_sum",
    "share_nodes",
    "with_anomaly_maps",
    "with_outputs",
]

ANOMALY_MAPS = "anomaly_maps"
LEAST_DISTANCE = 1e-6
_LEAST_SHARE = 0.05
"""Added to a window's saliency, as a share of the average window's: a window without any is not infinitely unlikely."""
_BLOCK = 16
"""Channels that ONNX Runtime keeps together at most: values of some layers, of a multiple of so many, can be joined."""
_MOST_UNUSED = 3
"""A convolution reads all of a layer's channels where they are at most so many times those that it needs; others are
picked first. Both cost the same at about three."""
_TINY = 1e-30
_PREFIX = "taintwatch/window"


@dataclass(frozen=True, slots=True, eq=False)
class LayerCells:
    """One layer, and what benign cells look like to it."""

    value: str
    """Name of the layer's maps in the graph: (B, C, h, w), or tokens (B, N, C), or channels last (B, h, w, C)."""
    cells: tuple[int, int]
    """Height and width of the maps; of the tokens without a class token."""
    tokens: int
    """0: channels first; else the number of tokens, the last h * w of which are the cells (channels last: all)."""
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
    b, (height, width), stride = builder, layer.cells, layer.stride
    if not layer.tokens:
        # A pooling of single cells: ONNX Runtime keeps maps in blocks of channels, and pools without unpacking them.
        one = stride == 1
        maps = layer.value if one else b.add("MaxPool", layer.value, kernel_shape=[1, 1], strides=[stride, stride])
        return b.add("Gather", maps, b.constant(layer.channels), axis=1)
    first = layer.tokens - height * width
    tokens = b.reshape(layer.value, [0, layer.tokens, -1])
    rows = b.add("Slice", tokens, b.constant([first]), b.constant([layer.tokens]), b.constant([1]))
    chosen = b.add("Gather", rows, b.constant(layer.channels), axis=2)
    maps = b.reshape(b.add("Transpose", chosen, perm=[0, 2, 1]), [0, len(layer.channels), height, width])
    if stride == 1:
        return maps
    ends, steps = [height, width], [stride, stride]
    return b.add("Slice", maps, b.constant([0, 0]), b.constant(ends), b.constant([2, 3]), b.constant(steps))


def channel_count(proto: onnx.ModelProto, name: str) -> int | None:
    """Return how many channels maps have: what the weights of a convolution that reads them say, or the output."""
    weights = {tensor.name: tuple(tensor.dims) for tensor in proto.graph.initializer}
    for node in proto.graph.node:
        if node.op_type == "Conv" and node.input[0] == name and node.input[1] in weights:
            return int(weights[node.input[1]][1]) * int(attributes(node).get("group", 1))
    for output in proto.graph.output:
        if output.name == name and len(output.type.tensor_type.shape.dim) == 4:
            return int(output.type.tensor_type.shape.dim[1].dim_value) or None
    return None


def early_layers(count: int) -> int:
    """Return how many of `count` layers, first to last, the early map is the mean of: a third, at least one."""
    return max(1, count // 3)


def with_anomaly_maps(proto: onnx.ModelProto, layers: Sequence[LayerCells]) -> onnx.ModelProto:
    """Return the graph with one more output, `anomaly_maps` (B, 2, 196) float32, about 0 in benign places.

    The first map is the mean over all layers, the second over the first third of them; 14 x 14 places each.

    As few nodes as will do, because each costs some microseconds whatever it computes: layers of one size go through
    the window averages together, a layer's mean is the bias of its whitening, the layers' centres are taken from the
    sum of all, and one matrix brings all averages to the places.
    """
    b = GraphBuilder(proto.opset_import[0].version, _PREFIX)
    first = early_layers(len(layers))
    shares = [[1 / len(layers), 1 / first if index < first else 0.0] for index in range(len(layers))]
    levels = np.array(shares).T @ [layer.centre / layer.spread for layer in layers]
    groups: dict[tuple[int, int], list[int]] = {}
    for index, layer in enumerate(layers):
        groups.setdefault(layer.side, []).append(index)
    parts = []
    for side, members in groups.items():
        window = window_cells(side)
        distances = _distances(b, proto, [layers[index] for index in members])
        average = b.add("AveragePool", distances, kernel_shape=window)
        logarithm = b.add("Log", b.add("Max", average, b.constant(LEAST_DISTANCE)))
        scales = np.array([np.divide(shares[index], layers[index].spread) for index in members]).T
        weighted = b.add("MatMul", b.constant(scales), b.reshape(logarithm, [0, len(members), -1]))
        parts.append((weighted, place_matrix((side[0] - window[0] + 1, side[1] - window[1] + 1))))
    values = parts[0][0] if len(parts) == 1 else b.add("Concat", *(value for value, _ in parts), axis=2)
    maps = b.add("MatMul", values, b.constant(np.concatenate([matrix for _, matrix in parts])))
    b.nodes.append(helper.make_node("Sub", [maps, b.constant(levels[:, None])], [ANOMALY_MAPS], name=ANOMALY_MAPS))
    return with_outputs(proto, b, {ANOMALY_MAPS: ("batch", 2, PLACES)})


def _distances(b: GraphBuilder, proto: onnx.ModelProto, layers: Sequence[LayerCells]) -> str:
    """Each cell's Mahalanobis distance in some layers of one size: (B, layers, h', w')."""
    sizes = [-(-len(layer.channels) // _BLOCK) * _BLOCK for layer in layers]
    white = [_white(b, proto, layer, size) for layer, size in zip(layers, sizes, strict=True)]
    joined = white[0] if len(white) == 1 else b.add("Concat", *white, axis=1)
    mean, ends = np.zeros((len(layers), sum(sizes), 1, 1), np.float32), np.cumsum(sizes)
    for row, (layer, end, size) in enumerate(zip(layers, ends, sizes, strict=True)):
        mean[row, end - size : end - size + len(layer.channels)] = 1.0 / len(layer.channels)
    return b.add("Conv", b.add("Mul", joined, joined), b.constant(mean))


def _white(b: GraphBuilder, proto: onnx.ModelProto, layer: LayerCells, size: int) -> str:
    """A layer's whitened cells, filled up with zeros to `size` channels: (B, size, h', w').

    Where the layer has few channels more than those that are looked at, one convolution picks them and the cells too.
    """
    count = len(layer.channels)
    kernel = np.zeros((size, count, 1, 1), np.float32)
    kernel[:count, :, 0, 0] = layer.whitening.T
    bias = b.constant(-(kernel[:, :, 0, 0] @ layer.mean))
    every = None if layer.tokens else channel_count(proto, layer.value)
    if every is None or every > _MOST_UNUSED * count:
        return b.add("Conv", as_maps(b, layer), b.constant(kernel), bias)
    wide = np.zeros((size, every, 1, 1), np.float32)
    wide[:, layer.channels] = kernel
    return b.add("Conv", layer.value, b.constant(wide), bias, strides=[layer.stride, layer.stride])


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


def share_nodes(b: GraphBuilder, averages: str, places: tuple[int, int]) -> str:
    """Add how much of the label's saliency lies in each window, of its averages over all, (B, 1, *places): (B, 1, 196).

    The logarithm of a window's average over that of all windows: about 0 where saliency is spread evenly, up to about 2
    where all of it is in one window, -3 where there is none; 0 everywhere for a map that is zero everywhere.
    """
    level = b.reduce("ReduceMean", averages, [2, 3], keepdims=True)
    # Of a map that is zero everywhere the share is 0.95, and its logarithm with what is added to it 0.
    above, below = (b.add("Add", value, b.constant(tiny)) for value, tiny in
                    ((averages, (1.0 - _LEAST_SHARE) * _TINY), (level, _TINY)))  # fmt: skip
    shares = b.add("Log", b.add("Add", b.add("Div", above, below), b.constant(_LEAST_SHARE)))
    return b.add("MatMul", b.reshape(shares, [0, 1, -1]), b.constant(place_matrix(places)))


def at_places(values: NDArray[np.float64]) -> NDArray[np.float32]:
    """Return values of windows (B, h, w) at the 14 x 14 places of the maps, bilinear: (B, 196)."""
    rows, columns = (bilinear_matrix(GRID, side) for side in values.shape[1:])
    return np.asarray(rows @ values @ columns.T, np.float32).reshape(len(values), PLACES)


def largest_sum(*maps: NDArray[np.float32]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Find the window in which the sum of some maps, (B, 196) each, is largest: the sum and its place, (B,) each."""
    total = np.sum(maps, axis=0)
    best = total.argmax(axis=1)
    return total[np.arange(len(total)), best].astype(np.float64), best
