"""An object detector that is guarded itself: is a place of its maps anomalous, and does its answer hang on that place?

1. Anomaly, from the first forward: `place_anomaly`.
2. Appearance, where the anomaly is high, or always where few layers say anything of it: which place of the picture
   looks most like an optimised pattern? `place_appearance`.
3. Necessity, a second forward for frames where both together are high: the place is filled; what appears, vanishes or
   changes its class elsewhere? `box_changes`.

All are put on the scale of benign tail probabilities and joined as a classifier's are. `guard_learning` learns.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
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
from taintwatch_models.detection.reference import combine, version
from taintwatch_models.detection.tail import Tail
from taintwatch_models.errors import CalibrationError
from taintwatch_models.model_source import file_hash
from taintwatch_models.objects.box_changes import Change, filled, largest_change
from taintwatch_models.objects.decoders import Decoded
from taintwatch_models.objects.finder import FinderSettings, FoundObject, ObjectFinder
from taintwatch_models.objects.place_anomaly import (
    PlaceScales,
    peak_of,
    with_distances,
)
from taintwatch_models.objects.place_appearance import PICTURE_FILE, Look, PlaceAppearance, box_in_input
from taintwatch_models.onnx_session import SessionSettings

__all__ = ["PATTERN_MARGIN", "WINDOW_MARGIN", "GuardReference", "Guarded", "ObjectGuard", "distances_in", "look_again",
           "looks_always", "place_of", "read_guard", "write_guard"]  # fmt: skip

CANDIDATE = 0.05
"""Score from which a candidate counts in what changes: an object need not be found to be weakened."""
_VERSION = 5
_TAILS = ("anomaly", "appearance", "change")
_ENOUGH_LAYERS = 3
WINDOW_MARGIN, PATTERN_MARGIN = 0.2, 0.1
"""By which share of its sides more is filled of an anomalous window, which is coarse, and of a pattern."""

Picture = NDArray[np.uint8]
Box = tuple[int, int, int, int]


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
    """Anomaly from which the picture's appearance is asked for."""
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
    place: Box
    """x, y, width and height of what was looked at most closely, pixels of the detector's input."""
    change: Change | None
    """None: the frame was not looked at again."""
    appearance: float = 0.0
    """Surprise of the picture's look, on the benign scale; 0 where it was not looked at."""


class ObjectGuard:
    """A guarded detector. Used by one thread only."""

    def __init__(self, settings: FinderSettings, reference: GuardReference) -> None:
        """Raises `ModelError`, `DeviceError`; `CalibrationError` where the reference is of another model."""
        if reference.model_hash != file_hash(Path(settings.path)):
            raise CalibrationError(f"{settings.path}: its reference belongs to another model; learn it anew")
        self.reference = reference
        self.finder = ObjectFinder(settings, extend=lambda proto: with_distances(proto, reference.layers))
        self._appearance = PlaceAppearance(SessionSettings(device=settings.device, threads=settings.threads))
        self.looked = 0
        """Frames that got the second forward."""

    def __call__(self, image: Picture) -> Guarded:
        """Find objects in a blue-green-red picture, and judge it. Raises `BadFrame`, `InferenceError`."""
        finder, reference = self.finder, self.reference
        pixels = finder.preprocessing.pixels(image)
        outputs = finder.run(finder.preprocessing.normalise(pixels)[None])
        peak = peak_of(distances_in(outputs, len(reference.layers)), reference.scales, finder.preprocessing.size)
        surprises = {"anomaly": _surprise(reference.anomaly, peak.value)}
        place, margin = peak.box, WINDOW_MARGIN
        if peak.value >= reference.gate or looks_always(reference.layers):
            look = self._appearance(image)
            surprises["appearance"] = _surprise(reference.appearance, look.answer)
            if surprises["appearance"][0] >= surprises["anomaly"][0]:
                place, margin = place_of(finder, look, image), PATTERN_MARGIN
        change = None
        score = float(combine(surprises)[0])
        if score >= reference.second:
            self.looked += 1
            change = look_again(finder, pixels, outputs, place, margin)
            surprises["change"] = _surprise(reference.change, change.size)
            score = float(combine(surprises)[0])
        appearance = float(surprises["appearance"][0]) if "appearance" in surprises else 0.0
        return Guarded(finder.objects(outputs, image.shape), score, peak.value, place, change, appearance)

    @property
    def threshold(self) -> float:
        """Score above which a frame is suspicious."""
        return self.reference.threshold


def _surprise(tail: Tail, value: float) -> NDArray[np.float64]:
    """Return one frame's surprise, (1,)."""
    return tail.surprise(np.array([value]))


def looks_always(layers: Sequence[LayerCells]) -> bool:
    """Say whether every frame is looked at: where few layers have cells that are fine enough for anomaly.

    Small detectors' are blind to a patch. With three or more layers the anomaly finds it, and the look would cost a
    quarter of a forward of each frame.
    """
    return len(layers) < _ENOUGH_LAYERS


def place_of(finder: ObjectFinder, look: Look, image: Picture) -> Box:
    """Return the box of what looks like a pattern: x, y, width and height in pixels of the detector's input."""
    return box_in_input(look.box, finder.preprocessing.place(*image.shape[:2]), finder.preprocessing.size)


def look_again(
    finder: ObjectFinder, pixels: Picture, outputs: dict[str, NDArray[Any]], place: Box, margin: float
) -> Change:
    """Fill the place in (H, W, 3) input pixels, run the detector again, and return what changed most elsewhere."""
    again = finder.run_plain(finder.preprocessing.normalise(filled(pixels, place, margin))[None])
    before, after = (_candidates(finder, each) for each in (outputs, again))
    return largest_change(before, after, place)


def _candidates(finder: ObjectFinder, outputs: dict[str, NDArray[Any]]) -> Decoded:
    return finder.decode(outputs, CANDIDATE)


def distances_in(outputs: dict[str, NDArray[Any]], layers: int) -> list[NDArray[np.float32]]:
    """Return the distance maps among a guarded detector's outputs, by layer."""
    return [outputs[f"distances{index}"] for index in range(layers)]


def _format() -> str:
    return f"taintwatch-objects/{version(_VERSION, (PICTURE_FILE,))}"


def write_guard(reference: GuardReference, path: Path) -> None:
    """Write a reference whole or not at all. Raises `CalibrationError`."""
    layers, arrays = layers_out(reference.layers)
    arrays |= {
        "centre": reference.scales.centre, "spread": reference.scales.spread,
        **{name: getattr(reference, name).levels for name in _TAILS},
    }  # fmt: skip
    head = {
        "format": _format(), "model_hash": reference.model_hash, "layers": layers, "gate": reference.gate,
        "second": reference.second, "threshold": reference.threshold, "target_fpr": reference.target_fpr,
        **{f"{name}_scale": getattr(reference, name).scale for name in _TAILS},
    }  # fmt: skip
    write_archive(path, head, arrays)


def read_guard(path: Path) -> GuardReference:
    """Read a reference. Raises `CalibrationError`, also where another appearance network was learnt with."""
    return read_archive(path, _format(), "taintwatch calibrate objects", _build)


def _build(head: dict[str, Any], stored: Archive) -> GuardReference:
    scales = PlaceScales(finite(stored["centre"]), finite(stored["spread"]))
    anomaly, appearance, change = tails = [Tail(finite(stored[name]), number(head[f"{name}_scale"])) for name in _TAILS]
    if min(float(np.min(scales.spread)), *(tail.scale for tail in tails)) <= 0:
        raise ValueError("a scale is not above 0")
    return GuardReference(
        str(head["model_hash"]), layers_in(head["layers"], stored), scales, anomaly, appearance, change,
        *(number(head[name]) for name in ("gate", "second", "threshold", "target_fpr")),
    )  # fmt: skip
