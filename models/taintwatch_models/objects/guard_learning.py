"""What an object detector's guard learns, without an attack: a site's benign frames and general pictures."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
from numpy.typing import NDArray

from taintwatch_models.detection.anomaly import LayerCells
from taintwatch_models.detection.novelty import paste_posters
from taintwatch_models.detection.reference import combine
from taintwatch_models.detection.tail import fit_tail, upper_quantile
from taintwatch_models.errors import CalibrationError
from taintwatch_models.model_source import file_hash
from taintwatch_models.objects.finder import FinderSettings, ObjectFinder
from taintwatch_models.objects.guard import (
    PATTERN_MARGIN,
    WINDOW_MARGIN,
    GuardReference,
    distances_in,
    look_again,
    looks_always,
    place_of,
)
from taintwatch_models.objects.place_anomaly import (
    PlaceScales,
    cell_names,
    choose_layers,
    fit_layers,
    fit_scales,
    peak_of,
    with_cells,
    with_distances,
)
from taintwatch_models.objects.place_appearance import PlaceAppearance
from taintwatch_models.onnx_session import SessionSettings

__all__ = ["LEAST_FRAMES", "learn_guard"]

LEAST_FRAMES = 60
_GATE = 0.8
"""Benign quantile of the anomaly above which the place is looked at."""
_SECOND = 0.95
"""Benign quantile of anomaly and appearance together above which a frame gets the second forward."""

Picture = NDArray[np.uint8]
Progress = Callable[[int, int], None]


def learn_guard(
    settings: FinderSettings,
    site: Sequence[Picture],
    general: Sequence[Picture],
    *,
    target_fpr: float = 0.002,
    seed: int = 0,
    progress: Progress = lambda done, total: None,
) -> GuardReference:
    """Learn from a site's benign frames, in the order of time, and general pictures. No attack.

    The cells are learnt on the first half of the site's frames and every other general picture; everything else on the
    second half, as it is and with the other general pictures pasted onto it as posters: what is new at the site must
    not all be an attack. Raises `CalibrationError` for too few frames, `ModelError`.
    """
    if len(site) < LEAST_FRAMES or len(general) < LEAST_FRAMES:
        raise CalibrationError(
            f"{len(site)} frames of the site and {len(general)} general pictures are too few; give at least "
            f"{LEAST_FRAMES} of each, better several hundred"
        )
    learnt = [*general[::2], *site[: len(site) // 2]]
    later = site[len(site) // 2 :]
    calibration = [*later, *_with_posters(later, general[1::2], np.random.default_rng(seed))]
    of_site = np.arange(len(calibration)) < len(later)
    steps = _Steps(progress, 3 * len(learnt) + len(calibration))

    layers = _chosen_layers(settings, seed)
    reader = ObjectFinder(settings, extend=lambda proto: with_cells(proto, layers))
    layers = fit_layers(layers, steps.over(_named(reader, learnt, "cells", len(layers))))
    finder = ObjectFinder(settings, extend=lambda proto: with_distances(proto, layers))
    scales = fit_scales(steps.over(_named(finder, learnt, "distances", len(layers))))
    values, looks, at_peaks, at_patterns = _measured(finder, settings, calibration, scales, layers, steps)
    gate = float(np.quantile(values[of_site], _GATE))
    anomaly, appearance = fit_tail(values), fit_tail(looks)
    surprises = {"anomaly": anomaly.surprise(values), "appearance": appearance.surprise(looks)}
    if not looks_always(layers):
        surprises["appearance"] = np.where(values >= gate, surprises["appearance"], 0.0)
    changes = np.where(surprises["appearance"] >= surprises["anomaly"], at_patterns, at_peaks)
    change = fit_tail(changes)
    scores = combine(surprises)
    second = float(np.quantile(scores[of_site], _SECOND))
    surprises["change"] = np.where(scores >= second, change.surprise(changes), 0.0)
    scores = combine(surprises)
    return GuardReference(
        file_hash(Path(settings.path)), layers, scales, anomaly, appearance, change, gate, second,
        _threshold(scores, of_site, target_fpr), target_fpr,
    )  # fmt: skip


def _threshold(scores: NDArray[np.float64], of_site: NDArray[np.bool_], target_fpr: float) -> float:
    """Return the score that the target share of the site's frames exceeds, and at most ten times as many posters."""
    return max(upper_quantile(scores[of_site], target_fpr), upper_quantile(scores[~of_site], 10 * target_fpr))


def _with_posters(frames: Sequence[Picture], posters: Sequence[Picture], rng: np.random.Generator) -> list[Picture]:
    """Return each frame with one of the posters pasted onto it: 0.2 to 0.6 of its shorter side, anywhere."""
    square = np.stack([cv2.resize(poster, (224, 224), interpolation=cv2.INTER_AREA) for poster in posters])
    return [paste_posters(frame[None], square, rng)[0] for frame in frames]


def _chosen_layers(settings: FinderSettings, seed: int) -> tuple[LayerCells, ...]:
    plain = ObjectFinder(settings)
    names = cell_names(plain.proto)
    finder = ObjectFinder(settings, extend=lambda proto: _with_named(proto, names))
    height, width = finder.preprocessing.size
    outputs = finder.run(finder.preprocessing([np.zeros((height, width, 3), np.uint8)]))
    return choose_layers(plain.proto, {name: outputs[name] for name in names}, seed)


def _with_named(proto: onnx.ModelProto, names: Sequence[str]) -> onnx.ModelProto:
    extended = onnx.ModelProto()
    extended.CopyFrom(proto)
    extended.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    return extended


def _named(
    finder: ObjectFinder, pictures: Sequence[Picture], name: str, count: int
) -> Iterator[list[NDArray[np.float32]]]:
    for picture in pictures:
        outputs = finder.run(finder.preprocessing([picture]))
        yield [outputs[f"{name}{index}"] for index in range(count)]


def _measured(
    finder: ObjectFinder, settings: FinderSettings, pictures: Sequence[Picture], scales: PlaceScales,
    layers: Sequence[LayerCells], steps: _Steps,
) -> tuple[NDArray[np.float64], ...]:  # fmt: skip
    """Return anomaly, look, and what changes once the anomalous window, or the pattern, is filled, (n,) each."""
    ask, found = PlaceAppearance(SessionSettings(device=settings.device, threads=settings.threads)), []
    for picture in steps.over(iter(pictures)):
        pixels = finder.preprocessing.pixels(picture)
        outputs = finder.run(finder.preprocessing.normalise(pixels)[None])
        peak = peak_of(distances_in(outputs, len(layers)), scales, finder.preprocessing.size)
        look = ask(picture)
        places = ((peak.box, WINDOW_MARGIN), (place_of(finder, look, picture), PATTERN_MARGIN))
        changes = (look_again(finder, pixels, outputs, *place).size for place in places)
        found.append((peak.value, look.answer, *changes))
    return tuple(np.array(found, np.float64).T)


class _Steps:
    """Counts what is done."""

    def __init__(self, progress: Progress, total: int) -> None:
        self._progress, self._total, self._done = progress, total, 0

    def over(self, items: Iterator[Any]) -> Iterator[Any]:
        for item in items:
            yield item
            self._done += 1
            self._progress(self._done, self._total)
