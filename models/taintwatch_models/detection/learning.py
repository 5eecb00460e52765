"""Learn what is benign: general pictures and a site's own frames in, a reference and thresholds out. No attack."""

from __future__ import annotations

import datetime
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from taintwatch_models.detection.anomaly import LayerCells, early_layers
from taintwatch_models.detection.cells import CellSums, choose_layers, with_gaussian
from taintwatch_models.detection.closeup import CLOSEUP
from taintwatch_models.detection.general import RENDERED
from taintwatch_models.detection.intervention import HOSTS_EACH
from taintwatch_models.detection.looks import CombinedRadar, SecondLook
from taintwatch_models.detection.novelty import degrade, paste_posters
from taintwatch_models.detection.observer import Observer, Recalled, cell_sums, raw_maps
from taintwatch_models.detection.operating_points import Kind, operating_points
from taintwatch_models.detection.reference import FREE, LABEL, SECOND, Provenance, Reference, combine, surprises_of
from taintwatch_models.detection.tail import Tail, fit_tail
from taintwatch_models.detection.textures import textures
from taintwatch_models.detection.window_features import WindowFeatures
from taintwatch_models.errors import CalibrationError
from taintwatch_models.onnx_session import SessionSettings
from taintwatch_models.radar_file import RadarFile

__all__ = ["LEAST_FRAMES", "Progress", "learn"]

FOLDS = 5
HELD_OUT = 0.2
"""The last part of footage, which nothing is learnt from."""
LEAST_FRAMES = 100
_GATE = 0.9
"""Benign quantile of the free score above which a frame gets the second look."""
_HOSTS = 16
_FEATURES = 64
_SECOND_BATCH = 8
_BUSY = 0.08
"""For each novel frame with a poster, so many have a drawn texture."""

Array = NDArray[np.float64]
Pictures = NDArray[np.uint8]
Progress = Callable[[int, int], None]
"""How many forwards are done, of how many."""


@dataclass(frozen=True, slots=True, eq=False)
class _Calibration:
    """The frames that thresholds are chosen on: the site's, and novel ones made from them, each with its fold."""

    pictures: Pictures
    folds: NDArray[np.intp]
    kinds: NDArray[np.int8]
    """`Kind` of each."""


def learn(
    radar: RadarFile,
    site: Pictures,
    general: Pictures,
    *,
    footage: bool = False,
    description: str = "",
    general_description: str = RENDERED,
    seed: int = 0,
    threads: int = 0,
    progress: Progress = lambda done, total: None,
) -> Reference:
    """Learn from a site's benign frames and general pictures, both (n, H, W, 3) in the model's channel order.

    `footage`: neighbouring frames are alike, so folds are blocks of time, and the last fifth is held out to measure
    the false-positive rate on what came later; of photographs every frame's score is cross-validated. Raises
    `CalibrationError` for fewer than 100 frames of the site.
    """
    if len(site) < LEAST_FRAMES:
        raise CalibrationError(
            f"{len(site)} benign frames are too few to learn from; give at least {LEAST_FRAMES}, better several hundred"
        )
    kept = int(len(site) * (1 - HELD_OUT)) if footage else len(site)
    later, site = site[kept:], site[:kept]
    rng = np.random.default_rng([seed, *_secret(site)])
    chosen = _calibration_frames(site, general, footage, rng)
    settings = SessionSettings(device="cpu", threads=threads)
    layers = choose_layers(radar, radar.info.preprocessing.normalise(general[:2]), [seed, *_secret(site)])
    steps = _Steps(progress)
    observer = Observer(radar, layers, settings, steps.add)
    again = 0 if observer.keeps(len(site)) else len(site)
    steps.total = len(general) + again + _forwards(len(chosen.pictures)) + _forwards(len(later))

    (sums,), around = cell_sums(observer(general), layers, np.zeros(len(general), np.intp))
    frames = Recalled(observer, site)
    own, _ = cell_sums(frames, layers, chosen.folds[: len(site)])
    folds = range(len(own))
    partial = [_gaussians(layers, [sums, *(own[other] for other in folds if other != fold)]) for fold in folds]
    layers = _gaussians(layers, [sums, *own])

    made = observer(chosen.pictures[len(site) :], first=len(site))
    raw, looked = raw_maps(chain(frames, made), partial, chosen.folds)  # (frames, layers, 196)
    del frames  # its cells are large
    clean = raw[chosen.kinds == Kind.BENIGN].astype(np.float64)
    scales = [(float(clean[:, row].mean()), float(max(clean[:, row].std(), 1e-3))) for row in range(len(layers))]
    layers = tuple(replace(layer, centre=c, spread=s) for layer, (c, s) in zip(layers, scales, strict=True))
    centre, spread = (np.array(values, np.float32)[None, :, None] for values in zip(*scales, strict=True))
    scaled = (raw - centre) / spread
    places, statistics = looked.located(scaled.mean(axis=1), scaled[:, : early_layers(len(layers))].mean(axis=1))

    windows, statistics["feature_anomaly"] = _window_features(looked.features, around.features, chosen.folds, rng)
    tails: dict[str, Tail] = {name: fit_tail(statistics[name]) for name in (*FREE, LABEL) if name in statistics}
    first = surprises_of(tails, statistics)
    free = combine(first)
    gate = float(np.quantile(free, _GATE))
    deserving = free > gate
    hosts = general[:: max(1, len(general) // _HOSTS)][:_HOSTS]
    suspects = _Suspects(chosen.pictures[deserving], looked.labels[deserving], places[deserving])
    look = SecondLook(radar, hosts, settings)
    second = _second(look, radar, suspects, steps)
    tails |= {name: fit_tail(values) for name, values in second.items()}
    tails[CLOSEUP] = fit_tail(_closeups(look, radar, chosen.pictures, places))  # on the scale of the first look's
    about = Provenance(description, len(site) + len(later), footage, general_description, len(general), _now())
    reference = Reference(radar.info.source_sha256, layers, windows, hosts, tails, gate, (), about)
    scores = free.copy()
    known = {name: values[deserving] for name, values in first.items()}
    scores[deserving] = combine(known | surprises_of(tails, second))
    later_scores = _score_later(radar, reference, later, settings, steps)
    points = operating_points(scores, chosen.kinds, chosen.folds, later_scores if footage else None, rng)
    steps.end()
    return replace(reference, points=points)


def _forwards(frames: int) -> int:
    """Forwards of so many frames, those of the second look included."""
    return frames + round((1 - _GATE) * frames) * (1 + HOSTS_EACH)


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


class _Steps:
    """Counts forwards, and says so. How many there are to be is known but for how often later frames deserve two."""

    def __init__(self, progress: Progress) -> None:
        self.total = 0
        self._progress, self._done = progress, 0

    def add(self, count: int) -> None:
        self._done += count
        self._progress(min(self._done, self.total), self.total)

    def end(self) -> None:
        """Say that all is done."""
        self._progress(self.total, self.total)


def _secret(site: Pictures) -> list[int]:
    """A seed that only who has the frames knows: an attacker must guess which channels are looked at."""
    digest = hashlib.sha256(site.tobytes()).digest()
    return [int.from_bytes(digest[start : start + 4], "big") for start in range(0, 16, 4)]


def _calibration_frames(site: Pictures, general: Pictures, footage: bool, rng: np.random.Generator) -> _Calibration:
    """The site's frames, and of each a novel one or two: with a poster on it, degraded; of a few, with a texture."""
    count = len(site)
    folds = np.arange(count) * FOLDS // count if footage else rng.permutation(count) % FOLDS
    posters = np.concatenate([general[1::2], site[:: max(1, 2 * count // len(general))]])
    few = count < 500  # novel frames of either kind from each, or turn about
    one = np.arange(count) if few else np.arange(0, count, 2)
    other = np.arange(count) if few else np.arange(1, count, 2)
    busy = rng.permutation(count)[: round(_BUSY * len(one))]
    prints = textures(len(busy), (site.shape[1], site.shape[2]), rng)
    parts = [
        site, paste_posters(site[one], posters, rng), degrade(site[other], rng), paste_posters(site[busy], prints, rng),
    ]  # fmt: skip
    kinds = np.repeat([Kind.BENIGN, Kind.NOVEL, Kind.NOVEL, Kind.BUSY], [len(part) for part in parts])
    belongs = np.concatenate([np.arange(count), one, other, busy])
    return _Calibration(np.concatenate(parts), folds[belongs].astype(np.intp), kinds.astype(np.int8))


def _gaussians(layers: Sequence[LayerCells], parts: Sequence[Sequence[CellSums]]) -> tuple[LayerCells, ...]:
    """Return the layers with what the parts, each with sums of all layers, say together."""
    return tuple(
        with_gaussian(layer, CellSums.total(sums)) for layer, sums in zip(layers, zip(*parts, strict=True), strict=True)
    )


def _window_features(
    own: NDArray[np.float32], general: NDArray[np.float32], folds: NDArray[np.intp], rng: np.random.Generator
) -> tuple[WindowFeatures, Array]:
    """Fit the window features; return them, and each own frame's distance by the other folds'."""
    channels = own.shape[1]
    few = channels <= _FEATURES
    drawn = np.eye(channels) if few else rng.normal(size=(channels, _FEATURES)) / np.sqrt(_FEATURES)
    projection = drawn.astype(np.float32)
    distances = np.empty(len(own))
    for fold in np.unique(folds):
        inside = _fit_features(np.concatenate([own[folds != fold], general]), projection)
        distances[folds == fold] = inside.distances(own[folds == fold])
    return _fit_features(np.concatenate([own, general]), projection), distances


def _fit_features(features: NDArray[np.float32], projection: NDArray[np.float32]) -> WindowFeatures:
    projected = (features @ projection).astype(np.float64)
    mean = projected.mean(axis=0)
    covariance = np.cov(projected.T)
    level = max(float(np.trace(covariance)) / len(covariance), 1e-9)
    covariance = 0.9 * covariance + 0.1 * level * np.eye(len(covariance))
    whitening = np.linalg.cholesky(np.linalg.inv(covariance))
    return WindowFeatures(projection, mean.astype(np.float32), whitening.astype(np.float32))


@dataclass(frozen=True, slots=True, eq=False)
class _Suspects:
    """Frames that deserve the second look, and what the first found: label and place, (n,) each."""

    pictures: Pictures
    labels: NDArray[np.int64]
    places: NDArray[np.int64]


def _second(second: SecondLook, radar: RadarFile, suspects: _Suspects, steps: _Steps) -> dict[str, Array]:
    """Take the second look at the suspects, (n,) each."""
    parts: dict[str, list[Array]] = {name: [] for name in SECOND}
    for start in range(0, len(suspects.pictures), _SECOND_BATCH):
        rows = slice(start, start + _SECOND_BATCH)
        inputs = radar.info.preprocessing.normalise(suspects.pictures[rows])
        values, _ = second(inputs, suspects.labels[rows], suspects.places[rows])
        for name in SECOND:
            parts[name].append(values[name])
        steps.add(len(inputs) * (1 + HOSTS_EACH))
    return {name: np.concatenate(found) for name, found in parts.items()}


def _closeups(look: SecondLook, radar: RadarFile, pictures: Pictures, places: NDArray[np.int64]) -> Array:
    """The close-up of every picture, (n,): its network is cheap, and a tail of all frames is better known."""
    found = []
    for start in range(0, len(pictures), _SECOND_BATCH):
        rows = slice(start, start + _SECOND_BATCH)
        found.append(look.closeup(radar.info.preprocessing.normalise(pictures[rows]), places[rows]))
    return np.concatenate(found)


def _score_later(
    radar: RadarFile, reference: Reference, later: Pictures, settings: SessionSettings, steps: _Steps, batch: int = 16
) -> Array:
    if not len(later):
        return np.empty(0)
    run, found = CombinedRadar(radar, reference, settings), []
    for start in range(0, len(later), batch):
        outputs = run(radar.info.preprocessing.normalise(later[start : start + batch]))
        found.append(outputs["combined_score"])
        steps.add(len(found[-1]) + int(outputs["combined_looked"].sum()) * (1 + HOSTS_EACH))
    return np.concatenate(found)
