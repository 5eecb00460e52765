"""From a prediction to a verdict: TaintRadar's two variants as detectors, and all detectors by name."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from taintwatch_models.calibration_file import GateCalibration, PaperCalibration, TightCalibration
from taintwatch_models.cmag.detector import CmagDetector
from taintwatch_models.cmag.joint import JointDetector
from taintwatch_models.cmag.runner import CmagRunner
from taintwatch_models.criteria import Criteria
from taintwatch_models.detection.detector import COMBINED, CombinedDetector
from taintwatch_models.errors import CalibrationError, ConfigError
from taintwatch_models.graph.anomaly import ANOMALY
from taintwatch_models.preprocessing import Preprocessing
from taintwatch_models.radar_file import RadarInfo
from taintwatch_models.records import Detector, Prediction, RadarStatistics, Verdict
from taintwatch_models.regions import region_of

__all__ = [
    "DETECTOR_NAMES",
    "PaperDetector",
    "TightDetector",
    "make_detectors",
    "tight_score",
    "tight_scores_of",
]

Settings = TypeVar("Settings", TightCalibration, PaperCalibration)

DETECTOR_NAMES = (COMBINED, "tight", "paper", "cmag", "joint")


def tight_score(
    margin: float,
    swing: float,
    swing_weight: float,
    *,
    concentration: float = 1.0,
    concentration_weight: float = 0.0,
    anomaly: float = 0.0,
    anomaly_weight: float = 0.0,
) -> float:
    """Return the margin, with the swing, the log of the concentration and the anomaly score added as weighed.

    `margin - swing_weight * margin before + concentration_weight * log concentration + anomaly_weight * anomaly`.
    Written with the swing: a weight of 0 is the margin, 1 the swing. `concentration` is the region map's maximum over
    its mean: an attack's evidence is concentrated where it lies, a benign object's is spread over it. `anomaly` is what
    `graph.anomaly` gives: it tells of patches that hide all that could be recovered, where no margin can.
    """
    swung = (1.0 - swing_weight) * margin + swing_weight * swing
    return swung + concentration_weight * math.log(max(concentration, 1.0)) + anomaly_weight * anomaly


def tight_scores_of(outputs: Mapping[str, NDArray[Any]], settings: TightCalibration) -> NDArray[np.float64]:
    """Return `tight`'s scores (B,) of a radar's outputs. Raises `CalibrationError` where a statistic is missing."""
    anomaly = outputs.get(ANOMALY)
    settings.require_anomaly(given=anomaly is not None)
    if anomaly is None:
        anomaly = np.zeros(len(outputs["tight_margin"]))
    rows = zip(outputs["tight_margin"], outputs["tight_swing"], outputs["saliency_concentration"], anomaly, strict=True)
    return np.array([_weighed(settings, *(float(value) for value in row)) for row in rows], np.float64)


def _weighed(settings: TightCalibration, margin: float, swing: float, concentration: float, anomaly: float) -> float:
    return tight_score(
        margin, swing, settings.swing_weight, concentration=concentration,
        concentration_weight=settings.concentration_weight, anomaly=anomaly, anomaly_weight=settings.anomaly_weight,
    )  # fmt: skip


@dataclass(frozen=True, slots=True, eq=False)
class _Filled:
    """What came of filling a region."""

    score: float
    threshold: float
    mask: NDArray[np.bool_] | None
    label: int | None
    """On top afterwards."""


class _RadarDetector(Generic[Settings]):
    """What `tight` and `paper` share: the model's names, and verdicts in them."""

    name: str

    def __init__(
        self,
        settings: Settings,
        labels: Sequence[str],
        preprocessing: Preprocessing,
        gate: GateCalibration | None = None,
    ) -> None:
        self._settings: Settings = settings
        self._labels, self._preprocessing, self._gate = labels, preprocessing, gate

    def __call__(self, prediction: Prediction) -> Verdict:
        """Judge a prediction. Raises `ConfigError` where it lacks what this detector judges by."""
        radar = prediction.radar
        if radar is None:
            raise ConfigError(
                f"the detector '{self.name}' needs TaintRadar's statistics, which this classifier does not give"
            )
        return self._judged(prediction, radar) if radar.checked else self._passed(prediction, radar)

    def _judged(self, prediction: Prediction, radar: RadarStatistics) -> Verdict:
        raise NotImplementedError

    def _verdict(self, prediction: Prediction, filled: _Filled, statistics: Mapping[str, float]) -> Verdict:
        frame = prediction.frame
        suspicious = filled.score > filled.threshold
        height, width = frame.image.shape[:2]
        region = None
        if suspicious and filled.mask is not None:  # polygons cost time that a benign frame need not spend
            region = region_of(filled.mask, self._preprocessing.place(height, width), (height, width))
        recovered = filled.label if filled.label != prediction.label else None
        return Verdict.of(
            prediction,
            self.name,
            suspicious=suspicious,
            score=filled.score,
            threshold=filled.threshold,
            recovered_label=recovered,
            recovered_name=None if recovered is None else self._labels[recovered],
            region=region,
            statistics=statistics,
        )

    def _passed(self, prediction: Prediction, radar: RadarStatistics) -> Verdict:
        """The verdict on a frame that the gate let pass: not suspicious, and not checked either."""
        if self._gate is None or radar.gate is None:
            raise ConfigError(f"the detector '{self.name}' was given a frame that a gate let pass and knows of no gate")
        passed = _Filled(radar.gate, self._gate.threshold, None, None)
        verdict = self._verdict(prediction, passed, {"gate": radar.gate})
        return replace(verdict, suspicious=False, checked=False)


class TightDetector(_RadarDetector[TightCalibration]):
    """Suspicious when the label loses too much once its tight critical region is filled."""

    name = "tight"

    def _judged(self, prediction: Prediction, radar: RadarStatistics) -> Verdict:
        if radar.tight_margin is None or radar.tight_swing is None or radar.tight_rank is None:
            raise ConfigError("the detector 'tight' is on, but the classifier was loaded without its variant")
        self._settings.require_anomaly(given=radar.anomaly is not None)
        margin, swing, anomaly = radar.tight_margin, radar.tight_swing, radar.anomaly or 0.0
        score = _weighed(self._settings, margin, swing, radar.saliency_concentration, anomaly)
        statistics = {
            "rank": float(radar.tight_rank),
            "margin": radar.tight_margin,
            "swing": radar.tight_swing,
            "saliency_concentration": radar.saliency_concentration,
        }
        if radar.anomaly is not None:
            statistics["anomaly"] = radar.anomaly
        filled = _Filled(score, self._settings.threshold, radar.tight_mask, radar.tight_label)
        return self._verdict(prediction, filled, statistics)


class PaperDetector(_RadarDetector[PaperCalibration]):
    """Suspicious when the label's rank change exceeds dR (Li et al., INFOCOM 2021)."""

    name = "paper"

    def _judged(self, prediction: Prediction, radar: RadarStatistics) -> Verdict:
        if radar.paper_rank is None:
            raise ConfigError("the detector 'paper' is on, but the classifier was loaded without its variant")
        rank = float(radar.paper_rank)
        filled = _Filled(rank, float(self._settings.rank_change), radar.paper_mask, radar.paper_label)
        return self._verdict(prediction, filled, {"rank": rank})


def make_detectors(criteria: Criteria, info: RadarInfo) -> tuple[Detector, ...]:
    """Return the detectors that judge by these criteria, in order.

    Raises `ConfigError` for an unknown name or one without what it needs, `CalibrationError` where thresholds were
    never chosen.
    """
    calibration, labels, preprocessing = criteria.calibration, info.labels, info.preprocessing
    tight = TightDetector(calibration.tight, labels, preprocessing, calibration.gate)
    paper = PaperDetector(calibration.paper, labels, preprocessing, calibration.gate)
    made: dict[str, Detector] = {
        "tight": tight,
        "paper": paper,
        **_reconstruction_detectors(criteria, tight, preprocessing.order),
    }
    if criteria.reference is not None:
        made[COMBINED] = CombinedDetector(criteria.reference, criteria.target_fpr, labels, preprocessing)
    unknown = [name for name in criteria.detectors if name not in made]
    if unknown:
        raise ConfigError(f"there is no detector '{unknown[0]}'; there are {', '.join(DETECTOR_NAMES)}")
    return tuple(made[name] for name in criteria.detectors)


def _reconstruction_detectors(criteria: Criteria, tight: TightDetector, order: str) -> dict[str, Detector]:
    """Open the reconstructors, and return those detectors that judge by them."""
    wanted = {"cmag", "joint"}.intersection(criteria.detectors)
    if not wanted:
        return {}
    if criteria.reconstructors is None:
        raise ConfigError("the detector 'cmag' needs reconstructors; train them with `taintwatch cmag train`")
    settings, combination = criteria.calibration.cmag, criteria.calibration.combination
    if settings is None:
        raise CalibrationError(
            "the detector 'cmag' has no thresholds for this model; choose them with `taintwatch cmag calibrate`"
        )
    if "joint" in wanted and combination is None:
        raise CalibrationError(
            "the detector 'joint' was never calibrated for this model; run `taintwatch cmag calibrate` with --combine"
        )
    runner = CmagRunner(criteria.reconstructors, ("reconstruction", *(limit.statistic for limit in settings.limits)))
    cmag = CmagDetector(runner, settings, order)
    return {"cmag": cmag} if combination is None else {"cmag": cmag, "joint": JointDetector(tight, cmag, combination)}
