"""An object detector that is guarded itself: is a place of its maps anomalous, and does its answer hang on that place?

1. Anomaly, from the first forward: `place_anomaly`.
2. Necessity, a second forward for frames whose anomaly is high: the place is filled; what appears, vanishes or changes
   its class elsewhere? `box_changes`.

Both are put on the scale of benign tail probabilities and added, as `detection` does for classifiers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
from numpy.typing import NDArray

from taintwatch_models.detection.anomaly import LayerCells
from taintwatch_models.detection.archive import (
    Archive,
    finite,
    layers_in,
    layers_out,
    number,
    read_archive,
    write_archive,
)
from taintwatch_models.detection.novelty import paste_posters
from taintwatch_models.detection.tail import Tail, fit_tail, upper_quantile
from taintwatch_models.errors import CalibrationError
from taintwatch_models.model_source import file_hash
from taintwatch_models.objects.box_changes import Change, filled, largest_change
from taintwatch_models.objects.decoders import Decoded
from taintwatch_models.objects.finder import FinderSettings, FoundObject, ObjectFinder
from taintwatch_models.objects.place_anomaly import (
    Peak,
    PlaceScales,
    cell_names,
    choose_layers,
    fit_layers,
    fit_scales,
    peak_of,
    with_cells,
    with_distances,
)

__all__ = ["GuardReference", "Guarded", "ObjectGuard", "learn_guard", "read_guard", "write_guard"]

LEAST_FRAMES = 60
CANDIDATE = 0.05
"""Score from which a candidate counts in what changes: an object need not be found to be weakened."""
_GATE = 0.85
"""Benign quantile of the anomaly above which a frame gets the second forward."""
_FORMAT = "taintwatch-objects/1"

Picture = NDArray[np.uint8]
Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True, eq=False)
class GuardReference:
    """What the guard knows of benign pictures, and what it takes for an attack."""

    model_hash: str
    layers: tuple[LayerCells, ...]
    scales: PlaceScales
    anomaly: Tail
    change: Tail
    gate: float
    """Anomaly from which a frame is looked at again."""
    threshold: float
    """Of the score."""
    target_fpr: float


@dataclass(frozen=True, slots=True)
class Guarded:
    """One guarded frame."""

    objects: tuple[FoundObject, ...]
    score: float
    anomaly: float
    place: tuple[int, int, int, int]
    """x, y, width and height of the most anomalous window, pixels of the detector's input."""
    change: Change | None
    """None: the frame was not looked at again."""


class ObjectGuard:
    """A guarded detector. Used by one thread only."""

    def __init__(self, settings: FinderSettings, reference: GuardReference) -> None:
        """Raises `ModelError`, `DeviceError`; `CalibrationError` where the reference is of another model."""
        if reference.model_hash != file_hash(Path(settings.path)):
            raise CalibrationError(f"{settings.path}: its reference belongs to another model; learn it anew")
        self.reference = reference
        self.finder = ObjectFinder(settings, extend=lambda proto: with_distances(proto, reference.layers))
        self.looked = 0
        """Frames that got the second forward."""

    def __call__(self, image: Picture) -> Guarded:
        """Find objects in a blue-green-red picture, and judge it. Raises `BadFrame`, `InferenceError`."""
        finder, reference = self.finder, self.reference
        pixels = finder.preprocessing.pixels(image)
        outputs = finder.run(finder.preprocessing.normalise(pixels)[None])
        peak = peak_of(_distances(outputs, len(reference.layers)), reference.scales, finder.preprocessing.size)
        score = float(reference.anomaly.surprise(np.array([peak.value]))[0])
        change = None
        if peak.value >= reference.gate:
            self.looked += 1
            change = look_again(finder, pixels, outputs, peak)
            score += float(reference.change.surprise(np.array([change.size]))[0])
        return Guarded(finder.objects(outputs, image.shape), score, peak.value, peak.box, change)

    @property
    def threshold(self) -> float:
        """Score above which a frame is suspicious."""
        return self.reference.threshold


def look_again(finder: ObjectFinder, pixels: Picture, outputs: dict[str, NDArray[Any]], peak: Peak) -> Change:
    """Fill the place in (H, W, 3) input pixels, run the detector again, and return what changed most elsewhere."""
    again = finder.run(finder.preprocessing.normalise(filled(pixels, peak.box))[None])
    before, after = (_candidates(finder, each) for each in (outputs, again))
    return largest_change(before, after, peak.box)


def _candidates(finder: ObjectFinder, outputs: dict[str, NDArray[Any]]) -> Decoded:
    return finder.decode(outputs, CANDIDATE)


def _distances(outputs: dict[str, NDArray[Any]], layers: int) -> list[NDArray[np.float32]]:
    return [outputs[f"distances{index}"] for index in range(layers)]


def learn_guard(
    settings: FinderSettings,
    site: Sequence[Picture],
    general: Sequence[Picture],
    *,
    target_fpr: float = 0.005,
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
    peaks, changes = _measured(finder, calibration, scales, len(layers), steps)
    values = np.array([peak.value for peak in peaks])
    gate = float(np.quantile(values[of_site], _GATE))
    anomaly, change = fit_tail(values), fit_tail(changes)
    scores = anomaly.surprise(values) + np.where(values >= gate, change.surprise(changes), 0.0)
    return GuardReference(
        file_hash(Path(settings.path)), layers, scales, anomaly, change, gate,
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
    finder: ObjectFinder, pictures: Sequence[Picture], scales: PlaceScales, layers: int, steps: _Steps
) -> tuple[list[Peak], NDArray[np.float64]]:
    peaks, changes = [], []
    for picture in steps.over(iter(pictures)):
        pixels = finder.preprocessing.pixels(picture)
        outputs = finder.run(finder.preprocessing.normalise(pixels)[None])
        peak = peak_of(_distances(outputs, layers), scales, finder.preprocessing.size)
        peaks.append(peak)
        changes.append(look_again(finder, pixels, outputs, peak).size)
    return peaks, np.array(changes)


class _Steps:
    """Counts what is done."""

    def __init__(self, progress: Progress, total: int) -> None:
        self._progress, self._total, self._done = progress, total, 0

    def over(self, items: Iterator[Any]) -> Iterator[Any]:
        for item in items:
            yield item
            self._done += 1
            self._progress(self._done, self._total)


def write_guard(reference: GuardReference, path: Path) -> None:
    """Write a reference whole or not at all. Raises `CalibrationError`."""
    layers, arrays = layers_out(reference.layers)
    arrays |= {
        "centre": reference.scales.centre, "spread": reference.scales.spread,
        "anomaly": reference.anomaly.levels, "change": reference.change.levels,
    }  # fmt: skip
    head = {
        "format": _FORMAT, "model_hash": reference.model_hash, "layers": layers, "gate": reference.gate,
        "threshold": reference.threshold, "target_fpr": reference.target_fpr,
        "anomaly_scale": reference.anomaly.scale, "change_scale": reference.change.scale,
    }  # fmt: skip
    write_archive(path, head, arrays)


def read_guard(path: Path) -> GuardReference:
    """Read a reference. Raises `CalibrationError`."""
    return read_archive(path, _FORMAT, "taintwatch calibrate objects", _build)


def _build(head: dict[str, Any], stored: Archive) -> GuardReference:
    scales = PlaceScales(finite(stored["centre"]), finite(stored["spread"]))
    anomaly, change = (Tail(finite(stored[name]), number(head[f"{name}_scale"])) for name in ("anomaly", "change"))
    if min(float(np.min(scales.spread)), anomaly.scale, change.scale) <= 0:
        raise ValueError("a scale is not above 0")
    return GuardReference(
        str(head["model_hash"]), layers_in(head["layers"], stored), scales, anomaly, change,
        number(head["gate"]), number(head["threshold"]), number(head["target_fpr"]),
    )  # fmt: skip
