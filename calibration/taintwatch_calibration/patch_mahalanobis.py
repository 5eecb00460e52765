"""Fit what benign cells look like to each layer: the local part of the radar graph's `anomaly`."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from taintwatch_calibration.benign import BenignFrames, batches_of
from taintwatch_models.detection.cells import CellSums
from taintwatch_models.graph.anomaly import ANOMALY, Concentration, attach_anomaly, layer_values, maps_graph
from taintwatch_models.graph.patch_mahalanobis import LEAST_DISTANCE, PatchLayer, PatchReference, PatchView
from taintwatch_models.graph.transforms import keep_outputs
from taintwatch_models.onnx_session import SessionSettings, open_session
from taintwatch_models.radar_file import RadarFile

__all__ = ["LEAST_SCALED", "Located", "fit_concentration", "fit_patches", "scale_of"]

_MOST_LAYERS = 10
_MOST_CHANNELS = 64
"""Drawn where a layer has more, by a seed that is the footage itself; 48 to 128 did about equally."""
_CELLS = (4, 64)
"""Cells on a side: smaller maps have no place to tell, larger ones cost much and see edges only."""
_WINDOW = 0.25
"""Side of what is averaged, as a share of the map's: 0.15 and 0.35 did worse."""
_VIEWS = (1, 3)
"""Most anomalous layers whose mean is looked at; all of them are too."""
_LEAST_SPREAD = 0.05
"""Of a distance's logarithm."""
LEAST_SCALED = 0.5
"""Of what was brought to a benign scale before."""

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Located:
    """The reference, and the statistic of the frames that it was fitted on, as if it had not seen them."""

    reference: PatchReference
    scores: NDArray[np.float64]
    """(frames,)."""


def fit_patches(
    radar: RadarFile,
    frames: BenignFrames,
    folds: NDArray[np.intp],
    *,
    seed: int = 0,
    threads: int = 0,
    progress: Callable[[int], None] = lambda done: None,
) -> Located | None:
    """Fit each layer's cells on benign frames; `folds` (frames,) says which frames are judged together, by the others.

    `progress` is told how many frames are done, of twice as many. None where no layer has maps of a fitting size.
    """
    count, kinds = len(frames.pixels), int(folds.max()) + 1
    layers = _chosen(radar, frames, threads)
    if not layers:
        return None
    rng = np.random.default_rng([seed, *_secret(frames)])
    channels = {
        name: np.sort(rng.permutation(deep)[:_MOST_CHANNELS]).astype(np.int64) for name, (deep, _) in layers.items()
    }
    windows = {name: max(1, round(_WINDOW * side)) for name, (_, side) in layers.items()}

    def passes(before: int) -> Iterator[tuple[int, dict[str, NDArray[np.float32]]]]:
        session, _ = open_session(
            maps_graph(radar, list(layers)).SerializeToString(), SessionSettings(device="cpu", threads=threads)
        )
        for start, inputs in batches_of(frames.pixels, radar.info.preprocessing):
            maps = session.run(list(layers), {radar.info.input: inputs})
            yield start, {name: _cells(value, channels[name]) for name, value in zip(layers, maps, strict=True)}
            progress(before + start + len(inputs))

    sums = {name: [CellSums.empty(len(chosen)) for _ in range(kinds)] for name, chosen in channels.items()}
    for start, found in passes(0):
        for name, cells in found.items():
            for row, own in enumerate(cells, start):
                sums[name][folds[row]].add(own.reshape(-1, own.shape[-1]))
    others = {name: [_total(parts, fold).gaussian() for fold in range(kinds)] for name, parts in sums.items()}
    distances = np.empty((count, len(layers)))
    for start, found in passes(count):
        for column, (name, cells) in enumerate(found.items()):
            for row, own in enumerate(cells, start):
                mean, whitening = others[name][folds[row]]
                distances[row, column] = _log_distance(own, mean, whitening, windows[name])
    made, scaled = [], np.empty_like(distances)
    for column, (name, parts) in enumerate(sums.items()):
        centre, spread = scale_of(distances[:, column])
        scaled[:, column] = (distances[:, column] - centre) / spread
        mean, whitening = _total(parts, None).gaussian()
        made.append(PatchLayer(name, channels[name], mean, whitening, windows[name], centre, spread))
    ordered = -np.sort(-scaled, axis=1)
    views, scores = [], []
    for wanted in dict.fromkeys(min(number, len(layers)) for number in (*_VIEWS, len(layers))):
        mean = ordered[:, :wanted].mean(axis=1)
        views.append(PatchView(wanted, *scale_of(mean, LEAST_SCALED)))
        scores.append((mean - views[-1].centre) / views[-1].spread)
    return Located(PatchReference(tuple(made), tuple(views)), np.max(scores, axis=0))


def fit_concentration(
    radar: RadarFile, frames: BenignFrames, threads: int = 0
) -> tuple[Concentration, NDArray[np.float64]]:
    """Return how concentrated the label's evidence is in benign frames, and that of each frame on this scale."""
    window = max(1, round(_WINDOW * min(radar.info.cells)))
    graph = attach_anomaly(radar, (), None, Concentration(window, 0.0, 1.0))
    session, _ = open_session(
        keep_outputs(graph.proto, [ANOMALY]).SerializeToString(), SessionSettings(device="cpu", threads=threads)
    )
    found = [
        session.run([ANOMALY], {radar.info.input: inputs})[0]
        for _, inputs in batches_of(frames.pixels, radar.info.preprocessing)
    ]
    values = np.concatenate(found).astype(np.float64)
    centre, spread = scale_of(values)
    return Concentration(window, centre, spread), (values - centre) / spread


def _secret(frames: BenignFrames) -> list[int]:
    """A seed that only who has the footage knows: an attacker must guess which channels are looked at."""
    digest = hashlib.sha256(frames.pixels.tobytes()).digest()
    return [int.from_bytes(digest[start : start + 4], "big") for start in range(0, 16, 4)]


def _chosen(radar: RadarFile, frames: BenignFrames, threads: int) -> dict[str, tuple[int, int]]:
    """Return the layers that are looked at, each with its channels and the shorter side of its maps."""
    names = list(layer_values(radar))
    session, _ = open_session(
        maps_graph(radar, names).SerializeToString(), SessionSettings(device="cpu", threads=threads)
    )
    maps = session.run(names, {radar.info.input: radar.info.preprocessing.normalise(frames.pixels[:1])})
    found = {
        name: (value.shape[1], min(value.shape[2:])) for name, value in zip(names, maps, strict=True)
        if value.shape[1] >= 2 and _CELLS[0] <= min(value.shape[2:]) <= _CELLS[1]
    }  # fmt: skip
    if len(found) > _MOST_LAYERS:
        kept = np.linspace(0, len(found) - 1, _MOST_LAYERS).round().astype(int)
        found = dict(list(found.items())[index] for index in kept)
    return found


def _cells(maps: NDArray[np.float32], channels: NDArray[np.int64]) -> NDArray[np.float32]:
    """(B, C, h, w) to (B, h, w, c)."""
    return np.ascontiguousarray(np.moveaxis(maps[:, channels], 1, -1), np.float32)


def _total(parts: list[CellSums], left_out: int | None) -> CellSums:
    return CellSums.total([part for fold, part in enumerate(parts) if fold != left_out])


def _log_distance(
    cells: NDArray[np.float32], mean: NDArray[np.float32], whitening: NDArray[np.float32], window: int
) -> float:
    """The logarithm of the largest average distance in a window, of one picture's cells (h, w, c)."""
    distances = (((cells - mean) @ whitening) ** 2).mean(axis=-1, dtype=np.float64)
    whole = np.pad(distances, ((1, 0), (1, 0))).cumsum(0).cumsum(1)
    w = window
    sums = whole[w:, w:] - whole[:-w, w:] - whole[w:, :-w] + whole[:-w, :-w]
    return float(np.log(max(sums.max() / (w * w), LEAST_DISTANCE)))


def scale_of(values: Array, least: float = _LEAST_SPREAD) -> tuple[float, float]:
    """Return a benign scale: the median, and the 98% quantile less that, or `least` where that is more."""
    centre = float(np.median(values))
    return centre, max(float(np.quantile(values, 0.98)) - centre, least)
