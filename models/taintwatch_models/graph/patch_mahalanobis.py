"""How anomalous the most anomalous place of a picture's maps is, whatever its label: the local part of `anomaly`.

An adversarial pattern's activations are combinations that benign pictures never give, and they fill the area that it
covers. For each layer the Mahalanobis distance of every cell's activations to all benign cells is taken (as PaDiM does
for industrial defects: Defard et al., 2021, on a subset of the channels), averaged over a window of a quarter of the
map's side; the largest average is the layer's distance. Its logarithm is put on its benign scale, (value - median) /
(98% quantile - median). The most anomalous layer, the mean of the three most anomalous and the mean of all,
each on its benign scale, are three views of that; the largest is the statistic, so an attacker has to evade all three.

Deviations from PaDiM: one Gaussian for all places (a camera's things move) instead of one for each, an average over a
window instead of a smoothed map (a patch has an extent), layers by themselves instead of concatenated.

It needs no labels and few pictures, since each gives hundreds of cells.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from taintwatch_models.graph.builder import GraphBuilder

__all__ = ["LEAST_DISTANCE", "PatchLayer", "PatchReference", "PatchView", "write_patch_mahalanobis"]

LEAST_DISTANCE = 0.05
"""Mean square of what is whitened, about 1 in benign pictures: less only says how exactly numbers are kept."""


@dataclass(frozen=True, slots=True, eq=False)
class PatchLayer:
    """What benign cells look like to one layer."""

    value: str
    """Name of the layer's maps in the radar graph."""
    channels: NDArray[np.int64]
    """(c,): those that are looked at."""
    mean: NDArray[np.float32]
    """(c,)."""
    whitening: NDArray[np.float32]
    """(c, c): the squared length of `(cell - mean) @ whitening`, over c, is a cell's distance."""
    window: int
    """Cells on a side."""
    centre: float
    spread: float
    """Median of the largest average's logarithm over benign pictures, and its 98% quantile less that (> 0)."""


@dataclass(frozen=True, slots=True)
class PatchView:
    """The mean of the most anomalous layers, and its benign scale."""

    layers: int
    """How many of them."""
    centre: float
    spread: float


@dataclass(frozen=True, slots=True, eq=False)
class PatchReference:
    """The layers, and the views of them of which the largest counts."""

    layers: Sequence[PatchLayer]
    views: Sequence[PatchView]


def write_patch_mahalanobis(builder: GraphBuilder, reference: PatchReference) -> str:
    """Add the nodes that compute the statistic, (B,) float32; return its name."""
    b = builder
    scores = [b.unsqueeze(_layer(b, layer), 1) for layer in reference.layers]
    joined = scores[0] if len(scores) == 1 else b.add("Concat", *scores, axis=1)
    everything = b.constant(np.array([len(scores)], np.int64))
    ordered = b.add_many("TopK", joined, everything, outputs=2, axis=1)[0]
    found = [_view(b, ordered, view) for view in reference.views]
    return found[0] if len(found) == 1 else b.add("Max", *found)


def _view(builder: GraphBuilder, ordered: str, view: PatchView) -> str:
    """The mean of the first `view.layers` columns, on its scale."""
    b = builder
    first = b.add("Slice", ordered, b.constant([0]), b.constant([view.layers]), b.constant([1]))
    return _scaled(b, b.reduce("ReduceMean", first, [1], keepdims=False), view.centre, view.spread)


def _layer(builder: GraphBuilder, layer: PatchLayer) -> str:
    b, count = builder, len(layer.channels)
    cells = b.add("Gather", layer.value, b.constant(layer.channels), axis=1)
    rest = b.add("Sub", cells, b.constant(layer.mean.reshape(1, count, 1, 1)))
    kernel = np.ascontiguousarray(layer.whitening.T).reshape(count, count, 1, 1)
    white = b.add("Conv", rest, b.cast(b.constant(kernel, np.float16)))  # half the bytes; one part in 2,000
    distances = b.reduce("ReduceMean", b.add("Mul", white, white), [1], keepdims=True)
    average = b.add("AveragePool", distances, kernel_shape=[layer.window, layer.window])
    largest = b.reduce("ReduceMax", average, [1, 2, 3], keepdims=False)
    return _scaled(b, b.add("Log", b.add("Max", largest, b.constant(LEAST_DISTANCE))), layer.centre, layer.spread)


def _scaled(builder: GraphBuilder, value: str, centre: float, spread: float) -> str:
    rest = builder.add("Sub", value, builder.constant(centre))
    return builder.add("Div", rest, builder.constant(spread))
