"""An object detector that is guarded itself: is a place of its maps anomalous, and does its answer hang on that place?

1. Anomaly, from the first forward: `place_anomaly`.
2. Appearance, for frames whose anomaly is high: does the place look like an optimised pattern? `place_appearance`.
3. Necessity, a second forward for frames where both together are high: the place is filled; what appears, vanishes or
   changes its class elsewhere? `box_changes`.

All are put on the scale of benign tail probabilities and added; appearance counts three times.
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
from taintwatch_models.objects.place_appearance import PlaceAppearance
from taintwatch_models.onnx_session import SessionSettings

__all__ = ["GuardReference", "Guarded", "ObjectGuard", "learn_guard", "read_guard", "write_guard"]

LEAST_FRAMES = 60
CANDIDATE = 0.05
"""Score from which a candidate counts in what changes: an object need not be found to be weakened."""
_GATE = 0.8
"""Benign quantile of the anomaly above which the place is looked at."""
_SECOND = 0.9
"""Benign quantile of anomaly and appearance together above which a frame gets the second forward."""
_FORMAT = "taintwatch-objects/3"
_TAILS = ("anomaly", "appearance", "change")
_APPEARANCE_WEIGHT = 3.0

Picture = NDArray[np.uint8]
Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True, eq=False)
class GuardReference:
    """What the guard knows of benign pictures, and what it takes for an attack."""

    model_hash: str
    layers: tuple[LayerCells, ...]
    scales: PlaceScales
    anomaly: Tail
    appearance: Tail
    change: Tail
    gate: float
    """Anomaly from which the appearance is asked for."""
    second: float
    """Score of anomaly and appearance from which a frame gets the second forward."""
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
    appearance: float = 0.0
    """Surprise of the place's look, on the benign scale; 0 where it was not asked for."""


class ObjectGuard:
    """A guarded detector. Used by one thread only."""

    def __init__(self, settings: FinderSettings, reference: GuardReference) -> None:
        """Raises `ModelError`, `DeviceError`; `CalibrationError` where the reference is of another model."""
        if reference.model_hash != file_hash(Path(settings.path)):
            raise CalibrationError(f"{settings.path}: its reference belongs to another model; learn it anew")
        self.reference = reference
        self.finder = ObjectFinder(settings, extend=lambda proto: with_distances(proto, reference.layers))
        self._appearance = _appearance_of(self.finder, settings)
        self.looked = 0
        """Frames that got the second forward."""

    def __call__(self, image: Picture) -> Guarded:
        """Find objects in a blue-green-red picture, and judge it. Raises `BadFrame`, `InferenceError`."""
        finder, reference = self.finder, self.reference
        pixels = finder.preprocessing.pixels(image)
        outputs = finder.run(finder.preprocessing.normalise(pixels)[None])
        peak = peak_of(_distances(outputs, len(reference.layers)), reference.scales, finder.preprocessing.size)
        score, look, change = _surprise(reference.anomaly, peak.value), 0.0, None
        if peak.value >= reference.gate:
            look = _surprise(reference.appearance, self._appearance(pixels, peak.box))
            score += _APPEARANCE_WEIGHT * look
            if score >= reference.second:
                self.looked += 1
                change = look_again(finder, pixels, outputs, peak)
                score += _surprise(reference.change, change.size)
        return Guarded(finder.objects(outputs, image.shape), score, peak.value, peak.box, change, look)

    @property
    def threshold(self) -> float:
        """Score above which a frame is suspicious."""
        return self.reference.threshold


def _surprise(tail: Tail, value: float) -> float:
    return float(tail.surprise(np.array([value]))[0])


def _appearance_of(finder: ObjectFinder, settings: FinderSettings) -> PlaceAppearance:
    session = SessionSettings(device=settings.device, threads=settings.threads)
    return PlaceAppearance(finder.preprocessing.order, session)


def look_again(finder: ObjectFinder, pixels: Picture, outputs: dict[str, NDArray[Any]], peak: Peak) -> Change:
    """Fill the place in (H, W, 3) input pixels, run the detector again, and return what changed most elsewhere."""
    again = finder.run_plain(finder.preprocessing.normalise(filled(pixels, peak.box))[None])
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
    values, looks, changes = _measured(finder, settings, calibration, scales, len(layers), steps)
    gate = float(np.quantile(values[of_site], _GATE))
    anomaly, appearance, change = fit_tail(values), fit_tail(looks), fit_tail(changes)
    seen = values >= gate
    scores = anomaly.surprise(values) + np.where(seen, _APPEARANCE_WEIGHT * appearance.surprise(looks), 0.0)
    second = float(np.quantile(scores[of_site], _SECOND))
    scores += np.where(seen & (scores >= second), change.surprise(changes), 0.0)
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
    finder: ObjectFinder, settings: FinderSettings, pictures: Sequence[Picture], scales: PlaceScales, layers: int,
    steps: _Steps,
) -> tuple[NDArray[np.float64], ...]:  # fmt: skip
    """Return anomaly, appearance and change of every picture, (pictures,) each."""
    ask = _appearance_of(finder, settings)
    found = []
    for picture in steps.over(iter(pictures)):
        pixels = finder.preprocessing.pixels(picture)
        outputs = finder.run(finder.preprocessing.normalise(pixels)[None])
        peak = peak_of(_distances(outputs, layers), scales, finder.preprocessing.size)
        found.append((peak.value, ask(pixels, peak.box), look_again(finder, pixels, outputs, peak).size))
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


def write_guard(reference: GuardReference, path: Path) -> None:
    """Write a reference whole or not at all. Raises `CalibrationError`."""
    layers, arrays = layers_out(reference.layers)
    arrays |= {
        "centre": reference.scales.centre, "spread": reference.scales.spread,
        **{name: getattr(reference, name).levels for name in _TAILS},
    }  # fmt: skip
    head = {
        "format": _FORMAT, "model_hash": reference.model_hash, "layers": layers, "gate": reference.gate,
        "second": reference.second, "threshold": reference.threshold, "target_fpr": reference.target_fpr,
        **{f"{name}_scale": getattr(reference, name).scale for name in _TAILS},
    }  # fmt: skip
    write_archive(path, head, arrays)


def read_guard(path: Path) -> GuardReference:
    """Read a reference. Raises `CalibrationError`."""
    return read_archive(path, _FORMAT, "taintwatch calibrate objects", _build)


def _build(head: dict[str, Any], stored: Archive) -> GuardReference:
    scales = PlaceScales(finite(stored["centre"]), finite(stored["spread"]))
    anomaly, appearance, change = tails = [Tail(finite(stored[name]), number(head[f"{name}_scale"])) for name in _TAILS]
    if min(float(np.min(scales.spread)), *(tail.scale for tail in tails)) <= 0:
        raise ValueError("a scale is not above 0")
    return GuardReference(
        str(head["model_hash"]), layers_in(head["layers"], stored), scales, anomaly, appearance, change,
        *(number(head[name]) for name in ("gate", "second", "threshold", "target_fpr")),
    )  # fmt: skip
