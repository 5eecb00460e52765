"""Cells of a model's layers: which layers are looked at, and the statistics of their activations over pictures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import onnx
from numpy.typing import NDArray

from taintwatch_models.detection.anomaly import LEAST_DISTANCE, LayerCells, as_maps, at_places, with_outputs
from taintwatch_models.detection.layers import looked_at
from taintwatch_models.detection.windows import box_averages, window_cells
from taintwatch_models.errors import CalibrationError
from taintwatch_models.graph.builder import GraphBuilder
from taintwatch_models.graph.transforms import keep_outputs
from taintwatch_models.onnx_session import SessionSettings, open_session
from taintwatch_models.radar_file import RadarFile

__all__ = ["CellSums", "cell_names", "choose_layers", "log_averages", "with_cells", "with_gaussian"]

_MOST_LAYERS = 10
_MOST_CHANNELS = 64
_LEAST_SIDE = 4
_MOST_SIDE = 14
"""Cells along a side that are looked at: larger maps are strided."""
_MOST_CELLS = 64
"""Cells along a side beyond which a layer sees edges only and costs much."""
_SHRINKAGE = 0.01
_LEVEL = 1e-4
"""Least mean variance of a layer's channels, as a share of their mean square: footage without noise has none."""

Array = NDArray[np.float64]


@dataclass(eq=False)
class CellSums:
    """Sums over cells: enough for a mean and a covariance, and two of them can be added."""

    count: float
    first: Array
    second: Array

    @classmethod
    def empty(cls, channels: int) -> CellSums:
        return cls(0.0, np.zeros(channels), np.zeros((channels, channels)))

    def add(self, cells: NDArray[np.float32]) -> None:
        """Add (n, c) cells."""
        self.count += len(cells)
        self.first += cells.sum(axis=0, dtype=np.float64)
        self.second += (cells.T @ cells).astype(np.float64)

    @classmethod
    def total(cls, parts: Sequence[CellSums]) -> CellSums:
        """Return the sum of some, at least one."""
        return cls(
            sum(part.count for part in parts),
            np.sum([part.first for part in parts], axis=0),
            np.sum([part.second for part in parts], axis=0),
        )

    def gaussian(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return the mean (c,) and the whitening (c, c) of the shrunk covariance."""
        mean = self.first / self.count
        covariance = self.second / self.count - np.outer(mean, mean)
        size = float(np.trace(self.second)) / self.count / len(covariance)
        level = max(float(np.trace(covariance)) / len(covariance), _LEVEL * size, 1e-12)
        covariance = (1 - _SHRINKAGE) * covariance + _SHRINKAGE * level * np.eye(len(covariance))
        return mean.astype(np.float32), np.linalg.cholesky(np.linalg.inv(covariance)).astype(np.float32)


def choose_layers(radar: RadarFile, inputs: NDArray[np.float32], seed: Sequence[int]) -> tuple[LayerCells, ...]:
    """Choose the layers that are looked at, evenly from the first to the last, and of each some channels.

    `inputs` (2, 3, H, W): any, for their shapes. Layers: see `layers.looked_at`. `seed` draws the channels, so that an
    attacker must guess them. Raises `CalibrationError`.
    """
    places = looked_at(radar.proto, radar.info.maps)
    names = list(places)
    graph = with_outputs(radar.proto, GraphBuilder(17), {name: [None] * 4 for name in names})
    for output in graph.graph.output:
        if output.name in names and output.name != "features":
            output.type.tensor_type.ClearField("shape")  # maps or tokens: the runtime says
    session, _ = open_session(keep_outputs(graph, names).SerializeToString(), SessionSettings(device="cpu"))
    found = []
    for name, value in zip(names, session.run(names, {radar.info.input: inputs}), strict=True):
        shape = _cell_shape(value.shape, len(inputs), channels_last=places[name])
        if shape is not None:
            found.append((name, *shape))
    if len(found) > _MOST_LAYERS:
        found = [found[index] for index in np.linspace(0, len(found) - 1, _MOST_LAYERS).round().astype(int)]
    if not found:
        raise CalibrationError(
            f"{radar.info.name}: no layer has maps of {_LEAST_SIDE} to {_MOST_CELLS} cells a side, so nothing can be "
            "learnt of places; use the detector 'tight'"
        )
    rng = np.random.default_rng(list(seed))
    layers = []
    for name, cells, channels, tokens in found:
        drawn = np.sort(rng.permutation(channels)[:_MOST_CHANNELS]).astype(np.int64)
        stride = -(-max(cells) // _MOST_SIDE)
        nothing = np.zeros(len(drawn), np.float32)
        layers.append(LayerCells(name, cells, tokens, stride, drawn, nothing, np.eye(len(drawn), dtype=np.float32)))
    return tuple(layers)


def _cell_shape(shape: tuple[int, ...], batch: int, *, channels_last: bool) -> tuple[tuple[int, int], int, int] | None:
    """Return cells, channels and tokens of a value's shape; None where it has no places."""
    if len(shape) == 4 and shape[0] == batch and channels_last:
        cells, channels, tokens = (shape[1], shape[2]), shape[3], shape[1] * shape[2]
    elif len(shape) == 4 and shape[0] == batch:
        cells, channels, tokens = (shape[2], shape[3]), shape[1], 0
    elif len(shape) == 3 and shape[0] == batch:
        side = int(np.sqrt(shape[1]))
        cells, channels, tokens = (side, side), shape[2], shape[1]
        if shape[1] - side * side > 4:  # class and register tokens stand before the cells
            return None
    else:
        return None
    fits = channels >= 2 and min(cells) >= _LEAST_SIDE and max(cells) <= _MOST_CELLS
    return (cells, channels, tokens) if fits else None


def cell_names(layers: Sequence[LayerCells]) -> list[str]:
    """Names of the outputs that `with_cells` adds: one for each layer."""
    return [f"cells{index}" for index in range(len(layers))]


def with_cells(proto: onnx.ModelProto, layers: Sequence[LayerCells]) -> onnx.ModelProto:
    """Return the graph with each layer's chosen channels as further outputs, (B, c, h', w')."""
    b = GraphBuilder(proto.opset_import[0].version, "taintwatch/cells")
    names = cell_names(layers)
    for name, layer in zip(names, layers, strict=True):
        b.nodes.append(onnx.helper.make_node("Identity", [as_maps(b, layer)], [name]))
    return with_outputs(proto, b, {name: ["batch", None, None, None] for name in names})


def log_averages(cells: NDArray[np.float32], layer: LayerCells) -> NDArray[np.float32]:
    """Return the unscaled anomaly map of one layer's cells (B, h, w, c): (B, 196). The graph's in NumPy."""
    white = (cells - layer.mean) @ layer.whitening
    distances = (white * white).mean(axis=-1)
    return at_places(np.log(np.maximum(box_averages(distances, *window_cells(layer.side)), LEAST_DISTANCE)))


def with_gaussian(layer: LayerCells, sums: CellSums) -> LayerCells:
    """Return the layer with the mean and whitening of the sums."""
    mean, whitening = sums.gaussian()
    return replace(layer, mean=mean, whitening=whitening)
