"""Where in a detector's maps are activations unlike benign ones? Patch-wise Mahalanobis distances over some layers.

As `detection.anomaly` does for classifiers (PaDiM: Defard et al., 2021), with two differences: windows of some sizes,
because an object may be of any size in a frame, and the maximum over all places, because a hidden object leaves no box
that says where to look.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper

from taintwatch_models.detection.anomaly import LEAST_DISTANCE, LayerCells, as_maps, channel_count, with_outputs
from taintwatch_models.detection.cells import CellSums, with_gaussian
from taintwatch_models.detection.windows import box_averages, window_cells
from taintwatch_models.errors import CalibrationError
from taintwatch_models.graph.builder import GraphBuilder

__all__ = ["WINDOWS", "Peak", "PlaceScales", "cell_names", "choose_layers", "fit_layers", "fit_scales", "peak_of",
           "with_cells", "with_distances"]  # fmt: skip

WINDOWS = (0.05, 0.1, 0.17)
"""Sides of the windows, as shares of the input's."""
GRID = 52
_LAYERS = 4
_CHANNELS = 48
_LEAST_SIDE, _MOST_SIDE = 40, 112  # cells: coarser maps do not tell a patch from an object that is new
_BACKBONE = 0.12
"""Share of the graph's nodes: further on a car is as unlike the rest of the picture as a patch is. On YOLOX-nano the
earliest layers tell hiding patches from benign frames with an AUC of 0.93 to 1.00, the later ones with 0.3 to 0.9."""
_PREFIX = "taintwatch/place"

Maps = dict[str, NDArray[np.float32]]


@dataclass(frozen=True, slots=True, eq=False)
class PlaceScales:
    """Mean and deviation of the window averages' logarithm on benign pictures: (layers, windows) each."""

    centre: NDArray[np.float64]
    spread: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Peak:
    """The most anomalous window of one picture."""

    value: float
    """Mean over the layers, in benign deviations."""
    box: tuple[int, int, int, int]
    """x, y, width and height in pixels of the input."""


def choose_layers(proto: onnx.ModelProto, maps: Maps, seed: int) -> tuple[LayerCells, ...]:
    """Choose layers evenly from those whose maps were given, (1, C, h, w) by name, and of each some channels.

    `seed` draws the channels, so that an attacker must guess them. Raises `CalibrationError`.
    """
    usable = [
        name for name in _candidates(proto)
        if name in maps and maps[name].ndim == 4 and max(maps[name].shape[2:]) >= _LEAST_SIDE
        and max(maps[name].shape[2:]) <= _MOST_SIDE and maps[name].shape[1] >= 8
    ]  # fmt: skip
    if not usable:
        raise CalibrationError(
            "no early layer of the detector has maps of 40 to 112 cells a side: it cannot be guarded"
        )
    picked = [usable[index] for index in np.unique(np.linspace(0, len(usable) - 1, _LAYERS).round().astype(int))]
    rng = np.random.default_rng(seed)
    layers = []
    for name in picked:
        _, channels, rows, columns = maps[name].shape
        drawn = np.sort(rng.permutation(channels)[:_CHANNELS]).astype(np.int64)
        nothing, identity = np.zeros(len(drawn), np.float32), np.eye(len(drawn), dtype=np.float32)
        stride = max(1, -(-max(rows, columns) // GRID))
        layers.append(LayerCells(name, (rows, columns), 0, stride, drawn, nothing, identity))
    return tuple(layers)


def cell_names(proto: onnx.ModelProto) -> tuple[str, ...]:
    """Return the tensors that `choose_layers` may choose from: give them as outputs once, to see their shapes."""
    return tuple(_candidates(proto))


def _candidates(proto: onnx.ModelProto) -> list[str]:
    """Names of what the backbone's convolutions read."""
    nodes = list(proto.graph.node)[: int(_BACKBONE * len(proto.graph.node))]
    given = {value.name for value in proto.graph.input}
    names = dict.fromkeys(node.input[0] for node in nodes if node.op_type == "Conv" and node.input[0] not in given)
    return list(names)


def with_cells(proto: onnx.ModelProto, layers: Sequence[LayerCells]) -> onnx.ModelProto:
    """Return the graph with outputs `cells0`, `cells1`, ...: each layer's chosen channels, (1, c, h', w')."""
    b = GraphBuilder(proto.opset_import[0].version, _PREFIX)
    names = [f"cells{index}" for index in range(len(layers))]
    for name, layer in zip(names, layers, strict=True):
        b.nodes.append(helper.make_node("Identity", [as_maps(b, layer)], [name]))
    return with_outputs(proto, b, {name: [None] * 4 for name in names})


def with_distances(proto: onnx.ModelProto, layers: Sequence[LayerCells]) -> onnx.ModelProto:
    """Return the graph with outputs `distances0`, ...: each cell's Mahalanobis distance, (1, 1, h', w')."""
    b = GraphBuilder(proto.opset_import[0].version, _PREFIX)
    names = [f"distances{index}" for index in range(len(layers))]
    for name, layer in zip(names, layers, strict=True):
        # One convolution picks the channels and the cells, subtracts the mean and whitens.
        count = channel_count(proto, layer.value)
        if count is None:
            raise CalibrationError(
                f"the detector has no convolution with weights of its own that reads '{layer.value}'"
            )
        kernel = np.zeros((len(layer.channels), count, 1, 1), np.float32)
        kernel[:, layer.channels, 0, 0] = layer.whitening.T
        shift = -(layer.whitening.T @ layer.mean)
        steps = [layer.stride, layer.stride]
        white = b.add("Conv", layer.value, b.constant(kernel), b.constant(shift), strides=steps)
        squares = b.reduce("ReduceMean", b.add("Mul", white, white), [1], keepdims=True)
        b.nodes.append(helper.make_node("Identity", [squares], [name]))
    return with_outputs(proto, b, {name: [None] * 4 for name in names})


def fit_layers(layers: Sequence[LayerCells], cells: Iterable[Sequence[NDArray[np.float32]]]) -> tuple[LayerCells, ...]:
    """Return the layers with mean and whitening of benign cells: each item of `cells` is one picture's, by layer."""
    sums = [CellSums.empty(len(layer.channels)) for layer in layers]
    for picture in cells:
        for total, maps in zip(sums, picture, strict=True):
            total.add(np.ascontiguousarray(maps.reshape(maps.shape[-3], -1).T))
    return tuple(with_gaussian(layer, total) for layer, total in zip(layers, sums, strict=True))


def fit_scales(distances: Iterable[Sequence[NDArray[np.float32]]]) -> PlaceScales:
    """Return the scales of benign pictures: each item is one picture's distance maps, by layer."""
    values = [_log_averages(picture) for picture in distances]
    stacked = [[np.concatenate([one[i][j].ravel() for one in values]) for j in range(len(WINDOWS))]
               for i in range(len(values[0]))]  # fmt: skip
    centre = np.array([[each.mean() for each in row] for row in stacked])
    spread = np.array([[max(float(each.std()), 1e-6) for each in row] for row in stacked])
    return PlaceScales(centre, spread)


def peak_of(distances: Sequence[NDArray[np.float32]], scales: PlaceScales, size: tuple[int, int]) -> Peak:
    """Return the most anomalous window of a picture for its distance maps by layer; `size` of the input, (H, W)."""
    averages = _log_averages(distances)
    best = Peak(-np.inf, (0, 0, 1, 1))
    for j, share in enumerate(WINDOWS):
        scaled = [(row[j] - scales.centre[i, j]) / scales.spread[i, j] for i, row in enumerate(averages)]
        side = max(each.shape[0] for each in scaled), max(each.shape[1] for each in scaled)
        total = np.mean([each if each.shape == side else _resized(each, side) for each in scaled], axis=0)
        row, column = np.unravel_index(int(total.argmax()), total.shape)
        if total[row, column] > best.value:
            height, width = max(1, round(share * size[0])), max(1, round(share * size[1]))
            top = round(row / max(1, total.shape[0] - 1) * (size[0] - height))
            left = round(column / max(1, total.shape[1] - 1) * (size[1] - width))
            best = Peak(float(total[row, column]), (left, top, width, height))
    return best


def _resized(values: NDArray[np.float64], side: tuple[int, int]) -> NDArray[np.float64]:
    return np.asarray(cv2.resize(values.astype(np.float32), side[::-1]), np.float64)


def _log_averages(distances: Sequence[NDArray[np.float32]]) -> list[list[NDArray[np.float64]]]:
    """Return the logarithm of the window averages, by layer and window. Layers of one size are averaged together."""
    found: list[list[NDArray[np.float64]]] = [[] for _ in distances]
    shapes = [maps.shape[-2:] for maps in distances]
    for shape in dict.fromkeys(shapes):
        members = [index for index, each in enumerate(shapes) if each == shape]
        planes = np.concatenate([distances[index].reshape(1, *shape) for index in members])
        for share in WINDOWS:
            averages = box_averages(planes, *window_cells(shape, share))
            rows = np.log(np.maximum(averages, LEAST_DISTANCE))
            for index, row in zip(members, rows, strict=True):
                found[index].append(row)
    return found
