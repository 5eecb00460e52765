"""Detectors under measurement: each learns from benign pictures alone, and gives a picture one score."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from taintwatch_calibration.benign import BenignFrames
from taintwatch_calibration.rates import threshold_for
from taintwatch_calibration.thresholds import calibrate
from taintwatch_models.detection.learning import learn
from taintwatch_models.detection.looks import CombinedRadar
from taintwatch_models.detection.reference import Reference, read_reference, write_reference
from taintwatch_models.detectors import tight_scores_of
from taintwatch_models.onnx_radar import OnnxRadar
from taintwatch_models.onnx_session import SessionSettings
from taintwatch_models.radar_file import RadarFile

__all__ = ["RATES", "CombinedScorer", "PeerScorer", "Scorer", "TightScorer"]

RATES = (0.02, 0.001)
"""Target false-positive rates per frame."""
_BATCH = 16

Pictures = NDArray[np.uint8]
"""(N, H, W, 3), in the model's channel order."""


class Scorer(Protocol):
    """A detector as the bench sees it."""

    name: str

    def fit(self, general: Pictures, benign: Pictures, *, footage: bool = False) -> Mapping[float, float]:
        """Learn from general pictures and a site's own; return the threshold of each of `RATES`."""
        ...

    def score(self, images: Pictures) -> NDArray[np.float64]:
        """Return a score for each picture, (N,); above the threshold it is suspicious."""
        ...


class CombinedScorer:
    """The product's default: anomaly, necessity and sufficiency, as `taintwatch calibrate learn` learns it."""

    name = "combined"

    def __init__(self, radar: RadarFile, *, threads: int = 1, seed: int = 0, stored: Path | None = None) -> None:
        """`stored`: where the reference of the site lies, or is written once it is learnt; footage is learnt anew."""
        self._radar, self._settings, self._seed = radar, SessionSettings(device="cpu", threads=threads), seed
        self._stored = stored
        self.reference: Reference | None = None
        self._run: CombinedRadar | None = None

    def fit(self, general: Pictures, benign: Pictures, *, footage: bool = False) -> Mapping[float, float]:
        """See `Scorer.fit`. Raises `CalibrationError` for too few pictures."""
        if self._stored is not None and not footage and self._stored.is_file():
            self.reference = read_reference(self._stored, self._radar.info.source_sha256)
        else:
            self.reference = learn(
                self._radar, benign, general, footage=footage, seed=self._seed, threads=self._settings.threads
            )
            if self._stored is not None and not footage:
                self._stored.parent.mkdir(parents=True, exist_ok=True)
                write_reference(self.reference, self._stored)
        self._run = CombinedRadar(self._radar, self.reference, self._settings)
        return {point.target_fpr: point.threshold for point in self.reference.points}

    def score(self, images: Pictures) -> NDArray[np.float64]:
        """See `Scorer.score`."""
        return np.concatenate([self.outputs(part)["combined_score"] for part in _batches(images)] or [np.zeros(0)])

    def outputs(self, images: Pictures) -> Mapping[str, NDArray[Any]]:
        """Return all outputs for one batch of pictures."""
        if self._run is None:
            raise ValueError("the scorer was not fitted yet")
        return self._run(self._radar.info.preprocessing.normalise(images))


class TightScorer:
    """TaintRadar's `tight` variant with calibrated thresholds: the default before, to compare with."""

    name = "tight"

    def __init__(self, radar: RadarFile, *, threads: int = 1) -> None:
        self._radar, self._settings = radar, SessionSettings(device="cpu", threads=threads)
        self._run: OnnxRadar | None = None

    def fit(self, general: Pictures, benign: Pictures, *, footage: bool = False) -> Mapping[float, float]:
        """See `Scorer.fit`; general pictures are not used."""
        frames = BenignFrames(benign, footage, 0, "site")
        calibration, _ = calibrate(self._radar, frames, target_fpr=max(RATES), variants=("tight",))
        self._calibration = calibration
        self._run = OnnxRadar(self._radar, ("tight",), calibration, self._settings)
        own = self.score(benign)
        return {rate: threshold_for(own, rate) for rate in RATES}

    def score(self, images: Pictures) -> NDArray[np.float64]:
        """See `Scorer.score`."""
        if self._run is None:
            raise ValueError("the scorer was not fitted yet")
        normalise = self._radar.info.preprocessing.normalise
        found = [tight_scores_of(self._run(normalise(part)), self._calibration.tight) for part in _batches(images)]
        return np.concatenate(found or [np.zeros(0)])


class PeerScorer:
    """A detector of the literature, of `benchmarks.peers`."""

    def __init__(self, name: str, make: Callable[..., Any], radar: RadarFile, *, threads: int = 1) -> None:
        self.name = name
        self._make, self._radar, self._threads = make, radar, threads

    def fit(self, general: Pictures, benign: Pictures, *, footage: bool = False) -> Mapping[float, float]:
        """See `Scorer.fit`; general pictures are not used."""
        self.peer = self._make(self._radar, benign, threads=self._threads, seed=0)
        own = self.score(benign)
        return {rate: threshold_for(own, rate) for rate in RATES}

    def score(self, images: Pictures) -> NDArray[np.float64]:
        """See `Scorer.score`."""
        return np.asarray(self.peer.scores(images), np.float64) if len(images) else np.zeros(0)


def _batches(images: Pictures) -> Sequence[Pictures]:
    return [images[start : start + _BATCH] for start in range(0, len(images), _BATCH)]
