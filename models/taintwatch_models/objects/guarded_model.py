"""A guarded object detector in the place of a classifier: a frame's surest object, and whether its boxes are true."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from taintwatch_models.calibration_file import Calibration
from taintwatch_models.classifier import ModelCard, Rejected
from taintwatch_models.errors import BadFrame, ConfigError
from taintwatch_models.loading import LoadedModel
from taintwatch_models.objects.finder import FinderSettings, FoundObject
from taintwatch_models.objects.guard import Guarded, ObjectGuard, read_guard
from taintwatch_models.preprocessing import Preprocessing
from taintwatch_models.records import Frame, Prediction, Verdict, read_only
from taintwatch_models.regions import region_of
from taintwatch_models.self_test import require_sight

__all__ = ["NOTHING", "GuardedModel", "ObjectsDetector", "load_guarded_model"]

NOTHING = "nothing"
"""The label of a frame in which no object is found."""
_TOLD = 0.25  # a score that rose or fell by less is not told: an object need not be there


class GuardedModel:
    """Runs the guard on each frame. The label is the surest object's."""

    def __init__(self, guard: ObjectGuard, name: str) -> None:
        self._guard = guard
        finder, reference = guard.finder, guard.reference
        self.card = ModelCard(
            name, reference.model_hash, finder.provider, (*finder.labels, NOTHING), finder.preprocessing.size
        )

    def __call__(self, frames: Sequence[Frame]) -> list[Prediction | Rejected]:
        """Guard each frame, one after the other: detectors are exported for one picture. Raises `InferenceError`."""
        return [self._predict(frame) for frame in frames]

    def _predict(self, frame: Frame) -> Prediction | Rejected:
        start = time.perf_counter()
        try:
            guarded = self._guard(frame.image)
        except BadFrame as error:
            return Rejected(frame, str(error))
        best = guarded.objects[0] if guarded.objects else None
        label = len(self.card.labels) - 1 if best is None else best.label
        return Prediction(
            frame,
            read_only(_logits(guarded.objects, len(self.card.labels))),
            label,
            self.card.labels[label],
            1.0 if best is None else best.score,
            (time.perf_counter() - start) * 1e3,
            guarded=guarded,
        )


def _logits(objects: Sequence[FoundObject], count: int) -> NDArray[np.float32]:
    """Return the log odds of each class's surest object, (classes + 1,); 0 for `nothing`."""
    scores = np.full(count, 1e-3)
    for each in objects:
        scores[each.label] = max(scores[each.label], min(each.score, 1 - 1e-3))
    scores[-1] = 0.5
    return np.asarray(np.log(scores / (1 - scores)), np.float32)


class ObjectsDetector:
    """Suspicious where a place is anomalous and boxes change once it is filled; says which."""

    name = "objects"

    def __init__(self, threshold: float, labels: Sequence[str], preprocessing: Preprocessing) -> None:
        self._threshold, self._labels, self._preprocessing = threshold, labels, preprocessing

    def __call__(self, prediction: Prediction) -> Verdict:
        """Judge a guarded frame. Raises `ConfigError` where it comes from another classifier."""
        guarded = prediction.guarded
        if guarded is None:
            raise ConfigError("the detector 'objects' needs the guarded object detector; set objects.reference")
        frame, suspicious = prediction.frame, guarded.score > self._threshold
        change = guarded.change
        told = suspicious and change is not None and change.size >= _TOLD
        height, width = frame.image.shape[:2]
        mask = _mask(guarded, self._preprocessing.size)
        return Verdict.of(
            prediction,
            self.name,
            suspicious=suspicious,
            score=guarded.score,
            threshold=self._threshold,
            recovered_label=change.label if told and change is not None else None,
            recovered_name=f"{self._labels[change.label]} {change.kind}" if told and change is not None else None,
            region=region_of(mask, self._preprocessing.place(height, width), (height, width)) if suspicious else None,
            statistics={
                "anomaly": guarded.anomaly,
                "appearance": guarded.appearance,
                "change": 0.0 if change is None else change.size,
            },
        )


def _mask(guarded: Guarded, size: tuple[int, int]) -> NDArray[np.bool_]:
    x, y, width, height = guarded.place
    mask = np.zeros(size, np.bool_)
    mask[y : y + height, x : x + width] = True
    return mask


def load_guarded_model(settings: FinderSettings, reference: str | None) -> LoadedModel:
    """Load a detector and what its guard learnt. Raises `ModelError`, `CalibrationError`, `DeviceError`."""
    path = Path(settings.path)
    learnt = read_guard(path.with_suffix(".objects.npz") if reference is None else Path(reference))
    guard = ObjectGuard(settings, learnt)
    model = GuardedModel(guard, path.stem)
    calibration = Calibration(model_hash=learnt.model_hash, model_name=path.stem, target_fpr=learnt.target_fpr)
    preprocessing = guard.finder.preprocessing
    detectors = (ObjectsDetector(guard.threshold, guard.finder.labels, preprocessing),)
    require_sight(model, detectors, calibration)
    return LoadedModel(model, detectors, calibration, preprocessing)
