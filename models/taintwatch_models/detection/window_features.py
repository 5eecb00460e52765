"""Are the features on which the label rests unlike those of benign pictures?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from taintwatch_models.detection.windows import window_cells
from taintwatch_models.graph.builder import GraphBuilder

__all__ = ["Maps", "WindowFeatures", "distance_nodes", "feature_nodes"]

_LEAST_DISTANCE = 1e-9


class Maps(NamedTuple):
    """The last maps in a graph: (B, channels, height, width)."""

    name: str
    channels: int
    height: int
    width: int


@dataclass(frozen=True, slots=True, eq=False)
class WindowFeatures:
    """What the last maps look like in the salient windows of benign pictures."""

    projection: NDArray[np.float32]
    """(channels, c): random directions; the identity where there are few channels."""
    mean: NDArray[np.float32]
    """(c,)."""
    whitening: NDArray[np.float32]
    """(c, c)."""

    def distances(self, features: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return the log Mahalanobis distances of window features (B, channels): (B,)."""
        white = (features @ self.projection - self.mean) @ self.whitening
        return np.asarray(np.log(np.maximum((white.astype(np.float64) ** 2).mean(axis=1), _LEAST_DISTANCE)), np.float64)


def feature_nodes(b: GraphBuilder, maps: Maps, averages: str) -> str:
    """Add the nodes that give the mean of the last maps over the salient window, signed square roots: (B, channels).

    `averages` (B, 1, h', w') of the saliency over all windows: the salient one is where it is largest. The root tames
    channels with heavy tails.
    """
    height, width = window_cells((maps.height, maps.width))
    across = maps.width - width + 1
    best = b.add("ArgMax", b.add("Flatten", averages, axis=1), axis=1, keepdims=0)  # (B,)
    rows = b.add("Gather", b.constant(_spans(maps.height, height)[:, :, None]), b.add("Div", best, b.constant(across)))
    columns = b.add("Gather", b.constant(_spans(maps.width, width)[:, None]), b.add("Mod", best, b.constant(across)))
    cells = maps.height * maps.width
    window = b.reshape(b.add("Mul", rows, columns), [0, cells, 1])
    mean = b.squeeze(b.add("MatMul", b.reshape(maps.name, [0, maps.channels, cells]), window), 2)
    return b.add("Mul", b.add("Sign", mean), b.add("Sqrt", b.add("Abs", mean)))


def distance_nodes(b: GraphBuilder, features: str, known: WindowFeatures) -> str:
    """Add the nodes of `WindowFeatures.distances`: (B, 1)."""
    white = b.add("MatMul", features, b.constant(known.projection @ known.whitening))
    rest = b.add("Sub", white, b.constant(known.mean @ known.whitening))
    mean = b.reduce("ReduceMean", b.add("Mul", rest, rest), [1], keepdims=True)
    return b.add("Log", b.add("Max", mean, b.constant(_LEAST_DISTANCE)))


def _spans(cells: int, window: int) -> NDArray[np.float32]:
    """Windows along one side, each as its share of every cell: (cells - window + 1, cells)."""
    starts = np.arange(cells - window + 1)[:, None]
    inside = (np.arange(cells) >= starts) & (np.arange(cells) < starts + window)
    return (inside / window).astype(np.float32)
