"""Fit what benign pictures look like to each layer, so that the radar graph can say how anomalous a picture is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from taintwatch_calibration.benign import BenignFrames, batches_of
from taintwatch_calibration.patch_mahalanobis import LEAST_SCALED, fit_concentration, fit_patches, scale_of
from taintwatch_models.errors import CalibrationError
from taintwatch_models.graph.anomaly import (
    Concentration,
    LayerReference,
    attach_anomaly,
    layer_values,
    pooling_graph,
)
from taintwatch_models.graph.patch_mahalanobis import LEAST_DISTANCE, PatchReference
from taintwatch_models.onnx_session import SessionSettings, open_session
from taintwatch_models.radar_file import RadarFile

__all__ = ["FOLDS", "Fitted", "fit_anomaly"]

FOLDS = 10
_RUN = 3
"""Neighbouring pictures that go into the same fold: frames of one scene are alike."""
_BLOCKS = 4
"""Of footage, for each fold."""
_PRIOR = 2.0
"""A mean counts this many pictures of the mean of all, or of its label: those of few pictures stay near it."""
_VIEWS = 3
"""Means of one label at most: what is seen near and far, or on a card, has different maps. 2 to 4 did about equally."""
_PER_VIEW = 25
"""Pictures of a label for each mean: with fewer it has fewer."""
_SHRINKAGE = 0.01
"""Of each covariance towards a multiple of the identity."""
_LEVEL = 1e-4
"""Least variance of a channel's logarithm that is believed: of pictures that are all the same, say."""
_LEAST = 100
_PER_LABEL = 5
"""Pictures of the label of half of the pictures: with fewer, means of labels tell nothing, and only places count."""

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Fitted:
    """A radar that gives `anomaly`, and that of the frames it was fitted on, as if it had not seen them."""

    radar: RadarFile
    scores: NDArray[np.float64]
    """(frames,): each from the other folds' reference. Thresholds for these frames are chosen on them."""
    layers: tuple[LayerReference, ...] = ()
    local: PatchReference | None = None
    concentration: Concentration | None = None
    scale: tuple[float, float] = (0.0, 1.0)
    """What the radar's `anomaly` was written from: see `attach_anomaly`."""


def fit_anomaly(
    radar: RadarFile,
    frames: BenignFrames,
    *,
    local: bool = True,
    seed: int = 0,
    threads: int = 0,
    progress: Callable[[int], None] = lambda done: None,
) -> Fitted:
    """Fit each layer's reference on benign frames: means for each predicted label, one covariance.

    `local`: also what benign cells look like, whatever the label, and how concentrated evidence is. `progress` is told
    how many frames are done, as a share of all the work. Raises `CalibrationError` for fewer than 100 frames.
    """
    count = len(frames.pixels)
    if count < _LEAST:
        raise CalibrationError(
            f"{frames.description}: {count} benign frames are too few to learn what they look like; "
            f"give at least {_LEAST}"
        )
    values = layer_values(radar)
    rounds = 3 if local else 1
    labels, pooled = _pooled(radar, values, frames, threads, lambda done: progress(done // rounds))
    folds = _folds(frames, seed)
    classes = radar.info.classes
    held = [np.empty(count) for _ in values]
    for fold in range(FOLDS):
        inside, outside = folds != fold, folds == fold
        for layer, maps in enumerate(pooled):
            means, whitening = _reference(maps[inside], labels[inside], classes)
            held[layer][outside] = _log_distance(maps[outside], labels[outside], means, whitening)
    layers, scores = [], np.zeros(count)
    for value, maps, distances in zip(values, pooled, held, strict=True):
        means, whitening = _reference(maps, labels, classes)
        centre, spread = scale_of(distances)
        scores += (distances - centre) / spread / len(values)
        layers.append(LayerReference(value, means.astype(np.float32), whitening.astype(np.float32), centre, spread))
    if not local:
        return Fitted(attach_anomaly(radar, layers), scores, tuple(layers))
    located = fit_patches(
        radar, frames, folds, seed=seed, threads=threads, progress=lambda done: progress((count + done) // rounds)
    )
    concentration, concentrated = fit_concentration(radar, frames, threads)
    labelled = float(np.median(np.bincount(labels, minlength=classes)[labels])) >= _PER_LABEL
    found = [concentrated] + ([scores] if labelled else []) + ([] if located is None else [located.scores])
    largest = np.max(found, axis=0)
    scale = scale_of(largest, LEAST_SCALED)
    kept = tuple(layers) if labelled else ()
    reference = None if located is None else located.reference
    graph = attach_anomaly(radar, kept, reference, concentration, scale)
    return Fitted(graph, (largest - scale[0]) / scale[1], kept, reference, concentration, scale)


def _pooled(
    radar: RadarFile, values: Sequence[str], frames: BenignFrames, threads: int, progress: Callable[[int], None]
) -> tuple[NDArray[np.int64], list[Array]]:
    session, _ = open_session(
        pooling_graph(radar, values).SerializeToString(), SessionSettings(device="cpu", threads=threads)
    )
    labels: list[NDArray[np.int64]] = []
    pooled: list[list[NDArray[np.float32]]] = [[] for _ in values]
    for start, inputs in batches_of(frames.pixels, radar.info.preprocessing):
        label, *found = session.run(None, {radar.info.input: inputs})
        labels.append(label)
        for parts, part in zip(pooled, found, strict=True):
            parts.append(part)
        progress(start + len(inputs))
    return np.concatenate(labels), [np.concatenate(parts).astype(np.float64) for parts in pooled]


def _folds(frames: BenignFrames, seed: int) -> NDArray[np.intp]:
    """Return the fold of each frame: blocks of time of footage; runs of a few pictures, shuffled, of photographs."""
    count = len(frames.pixels)
    if frames.footage:
        return (np.arange(count) * _BLOCKS * FOLDS // count) % FOLDS
    runs = np.random.default_rng([seed, 0x57]).permutation(-(-count // _RUN))
    return np.asarray(runs[np.arange(count) // _RUN] % FOLDS, np.intp)


def _reference(maps: Array, labels: NDArray[np.int64], classes: int) -> tuple[Array, Array]:
    """Return the means (classes, views, channels) and the whitening (channels, channels)."""
    overall = maps.mean(axis=0)
    sums = np.zeros((classes, maps.shape[1]))
    np.add.at(sums, labels, maps)
    counts = np.bincount(labels, minlength=classes)
    single = (sums + _PRIOR * overall) / (counts[:, None] + _PRIOR)
    whitening = _whitening(maps - single[labels])
    means = single[:, None].repeat(_VIEWS, axis=1)
    for label in np.flatnonzero(counts >= 2 * _PER_VIEW):
        own = maps[labels == label]
        means[label] = _views(own, own @ whitening, single[label])
    nearest = means[labels, _distances(maps, means[labels], whitening).argmin(axis=1)]
    return means, _whitening(maps - nearest)


def _views(maps: Array, white: Array, overall: Array) -> Array:
    """Return (views, channels): a label's maps, (N, channels), in clusters of their whitened selves."""
    wanted = min(_VIEWS, len(maps) // _PER_VIEW)
    criteria = (cv2.TERM_CRITERIA_MAX_ITER + cv2.TERM_CRITERIA_EPS, 20, 1e-3)
    cv2.setRNGSeed(0)  # the same pictures give the same reference
    start = np.zeros((len(white), 1), np.int32)
    _, groups, _ = cv2.kmeans(white.astype(np.float32), wanted, start, criteria, 3, cv2.KMEANS_PP_CENTERS)
    views = np.repeat(overall[None], _VIEWS, axis=0)
    for view in range(wanted):
        mine = maps[groups[:, 0] == view]
        views[view] = (mine.sum(axis=0) + _PRIOR * overall) / (len(mine) + _PRIOR)
    views[wanted:] = views[0]
    return views


def _whitening(rest: Array) -> Array:
    covariance = rest.T @ rest / len(rest)
    level = max(float(np.trace(covariance)) / len(covariance), _LEVEL)
    covariance = (1 - _SHRINKAGE) * covariance + _SHRINKAGE * level * np.eye(len(covariance))
    return np.asarray(np.linalg.cholesky(np.linalg.inv(covariance)), np.float64)


def _distances(maps: Array, means: Array, whitening: Array) -> Array:
    """(N, channels) maps and their (N, views, channels) means: (N, views)."""
    return np.asarray((((maps[:, None] - means) @ whitening) ** 2).mean(axis=2), np.float64)


def _log_distance(maps: Array, labels: NDArray[np.int64], means: Array, whitening: Array) -> Array:
    nearest = _distances(maps, means[labels], whitening).min(axis=1)
    return np.asarray(np.log(np.maximum(nearest, LEAST_DISTANCE)), np.float64)
