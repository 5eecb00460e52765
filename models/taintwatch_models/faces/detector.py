"""A face model's detector: the region's statistics and the bands', on benign scales, of which the largest decides."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from taintwatch_models.classifier import Classifier, ModelCard, Rejected
from taintwatch_models.errors import ConfigError
from taintwatch_models.faces.bands import BandEvidence, Bands, band_rows, combined
from taintwatch_models.faces.face_file import FaceFile
from taintwatch_models.preprocessing import Preprocessing
from taintwatch_models.records import Detector, Frame, Prediction, RadarStatistics, Verdict
from taintwatch_models.regions import region_of

__all__ = ["STRANGER", "FaceDetector", "KnownFaces", "StrangerClassifier"]

STRANGER = "stranger"


class StrangerClassifier:
    """A face classifier that calls a face whose name has too little probability a stranger's."""

    def __init__(self, classifier: Classifier, below: float) -> None:
        self._classifier, self._below = classifier, below

    @property
    def card(self) -> ModelCard:
        return self._classifier.card

    def __call__(self, frames: Sequence[Frame]) -> list[Prediction | Rejected]:
        return [self._named(outcome) for outcome in self._classifier(frames)]

    def _named(self, outcome: Prediction | Rejected) -> Prediction | Rejected:
        if isinstance(outcome, Rejected) or outcome.confidence >= self._below:
            return outcome
        return replace(outcome, label_name=STRANGER)


class KnownFaces:
    """Another detector on faces: a stranger's is never suspicious, because nobody is let in by it."""

    def __init__(self, detector: Detector) -> None:
        self._detector = detector

    @property
    def name(self) -> str:
        return self._detector.name

    def __call__(self, prediction: Prediction) -> Verdict:
        verdict = self._detector(prediction)
        return replace(verdict, suspicious=verdict.suspicious and prediction.label_name != STRANGER)


class FaceDetector:
    """Suspicious when a known name does not survive the fill of its critical region, or of any band.

    A stranger's face is never suspicious: nobody is let in by it.
    """

    name = "face"

    def __init__(self, settings: FaceFile, bands: Bands, labels: Sequence[str], preprocessing: Preprocessing) -> None:
        self._settings, self._bands, self._labels = settings, bands, labels
        self._preprocessing = preprocessing

    def __call__(self, prediction: Prediction) -> Verdict:
        """Judge an aligned face. Raises `ConfigError` where its classifier was loaded without `tight`."""
        radar = prediction.radar
        if radar is None or radar.tight_margin is None or radar.tight_swing is None:
            raise ConfigError("the detector 'face' needs tight's statistics, which this classifier does not give")
        known = prediction.confidence >= self._settings.stranger_below
        bands = self._bands(self._preprocessing([prediction.frame.image]), prediction.logits[None])[0]
        statistics = {
            "margin": radar.tight_margin,
            "swing": radar.tight_swing,
            "saliency_concentration": radar.saliency_concentration,
            "band_margin": bands.margin,
            "band_swing": bands.swing,
        }
        score = combined(statistics, self._settings.scales)
        suspicious = known and score > self._settings.threshold
        recovered = _recovered(prediction.label, radar, bands) if suspicious else None
        size = prediction.frame.image.shape[:2]
        return Verdict.of(
            prediction,
            self.name,
            suspicious=suspicious,
            score=score,
            threshold=self._settings.threshold,
            recovered_label=recovered,
            recovered_name=None if recovered is None else self._labels[recovered],
            region=region_of(_mask(radar, bands), self._preprocessing.place(*size), (size[0], size[1]))
            if suspicious
            else None,
            statistics=statistics,
        )


def _recovered(label: int, radar: RadarStatistics, bands: BandEvidence) -> int:
    """Return whom the camera sees, next to the name, once what it rests on is filled."""
    if radar.tight_label is not None and radar.tight_label != label:
        return radar.tight_label
    return bands.runner_up


def _mask(radar: RadarStatistics, bands: BandEvidence) -> NDArray[np.bool_]:
    """Return the critical region where there is one, else the band whose fill changes most."""
    if radar.tight_mask is not None and radar.tight_mask.any():
        return radar.tight_mask
    size = (0, 0) if radar.tight_mask is None else radar.tight_mask.shape
    mask = np.zeros(size, np.bool_)
    mask[band_rows(size[0])[bands.band]] = True
    return mask
