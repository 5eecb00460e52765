"""Whether a detector can raise at all, tried before it is trusted: with a calibration that blinds it, it is refused.

A calibration may hold plausible numbers and still see nothing. So each detector judges the strongest evidence that an
attack on this very model could give, and the weakest; what was learnt is held against the benign pictures in it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from taintwatch_models.calibration_file import Calibration, PaperCalibration
from taintwatch_models.classifier import Classifier
from taintwatch_models.cmag.joint import joint_score
from taintwatch_models.cmag.limits import LOW_IS_SUSPICIOUS, StatisticLimit, exceedance
from taintwatch_models.detection.reference import FREE, LABEL, SECOND, Reference, combine, surprises_of
from taintwatch_models.errors import CalibrationError, ModelError
from taintwatch_models.preprocessing import Preprocessing
from taintwatch_models.records import Detector, Frame, Prediction, RadarStatistics, Verdict, read_only

__all__ = ["plain_pictures", "require_fit", "require_sight", "strongest", "weakest"]

PICTURES = 2
HOSTS = 3
SURPRISE = 40.0
"""-ln p of the strongest evidence in each statistic: no benign frame in 10^17 reaches it."""
BEYOND_LOGITS = 20.0
"""No margin is wider than so many times the range of the model's own logits."""
BEYOND_BENIGN = 3.0
"""A benign picture's statistic lies within so many times the benign range (90% of it) of that range."""
BEYOND_RECONSTRUCTION = 100.0
"""No reconstruction is worse than so many times that of noise."""


def plain_pictures(size: tuple[int, int]) -> tuple[NDArray[np.uint8], ...]:
    """Return a few benign pictures without anything in them: coarse noise, (H, W, 3) uint8, always the same."""
    rng = np.random.default_rng(7)
    height, width = size
    coarse = rng.integers(40, 215, (PICTURES, 8, 8, 3), np.uint8)
    return tuple(
        np.asarray(cv2.resize(each, (width, height), interpolation=cv2.INTER_CUBIC), np.uint8) for each in coarse
    )


def require_sight(classifier: Classifier, detectors: Sequence[Detector], calibration: Calibration) -> tuple[str, ...]:
    """Raise `CalibrationError` where a detector cannot raise whatever it sees, or calls everything an attack.

    One detector of several may be blind by its default threshold, which nobody chose (`paper`'s 2 ranks, of a model
    with 3 labels): that is returned, one sentence each. Raises `ModelError` where the model gives nothing usable for
    plain pictures, `InferenceError`.
    """
    frames = [_frame(picture) for picture in plain_pictures(classifier.card.input_size)]
    found = [outcome for frame in frames for outcome in classifier([frame])]
    predictions = [outcome for outcome in found if isinstance(outcome, Prediction)]
    if not predictions:
        raise ModelError(f"{classifier.card.name}: gives no usable answer even for plain pictures")
    reach = BEYOND_LOGITS * max(1.0, max(float(np.ptp(prediction.logits)) for prediction in predictions))
    blind: dict[str, CalibrationError] = {}
    for detector in detectors:
        try:
            _require_one(detector, predictions, calibration, reach)
        except CalibrationError as error:
            blind[detector.name] = error
    chosen = [error for name, error in blind.items() if _is_chosen(name, calibration)]
    if chosen or len(blind) == len(detectors):
        raise (chosen or [*blind.values()])[0]
    gate = calibration.gate
    if gate is not None and gate.threshold > reach * (1.0 + abs(gate.swing_weight)) + abs(gate.anomaly_weight):
        raise CalibrationError(
            f"the gate lets everything pass unchecked: its threshold is {gate.threshold:g}, which this model's logits "
            "never reach. Calibrate it again with `taintwatch calibrate gate`"
        )
    return tuple(str(error) for error in blind.values())


def _is_chosen(name: str, calibration: Calibration) -> bool:
    """Whether somebody chose this detector's threshold."""
    if name == "paper":
        return calibration.paper.held_out is not None or calibration.paper.rank_change != PaperCalibration().rank_change
    return calibration.calibrated


def _require_one(detector: Detector, predictions: Sequence[Prediction], calibration: Calibration, reach: float) -> None:
    if detector.name in ("cmag", "joint"):
        _require_reconstruction(detector, predictions, calibration, reach)
        return
    verdicts = [detector(strongest(prediction, reach)) for prediction in predictions]
    if not any(verdict.suspicious for verdict in verdicts):
        raise _blind(detector.name, verdicts[0].threshold)
    if all(detector(weakest(prediction, reach)).suspicious for prediction in predictions):
        raise CalibrationError(
            f"the detector '{detector.name}' calls everything an attack: its threshold is {verdicts[0].threshold:g}. "
            "Calibrate this model again"
        )


def strongest(prediction: Prediction, reach: float) -> Prediction:
    """Return what an attack could show at most: the label lost as far as logits can, everything anomalous.

    `reach`: the widest margin, in logits.
    """
    window = prediction.window
    if window is not None:
        names = (*FREE, *SECOND, *((LABEL,) if LABEL in window.values else ()))
        window = replace(window, score=float(combine({name: np.array([SURPRISE]) for name in names})[0]))
    guarded = prediction.guarded
    return replace(
        prediction,
        confidence=1.0,
        radar=_radar(prediction.radar, reach, len(prediction.logits) - 1, 1.0),
        window=window,
        guarded=None if guarded is None else replace(guarded, score=2.0 * SURPRISE),
    )


def weakest(prediction: Prediction, reach: float) -> Prediction:
    """Return what a frame shows in which nothing is unusual and nothing is lost."""
    window, guarded = prediction.window, prediction.guarded
    return replace(
        prediction,
        radar=_radar(prediction.radar, -reach, 0, 0.0),
        window=None if window is None else replace(window, score=0.0),
        guarded=None if guarded is None else replace(guarded, score=0.0),
    )


def _radar(radar: RadarStatistics | None, margin: float, rank: int, anomaly: float) -> RadarStatistics | None:
    if radar is None:
        return None
    run = radar.tight_margin is not None
    return replace(
        radar,
        checked=True,
        saliency_concentration=1e3 if margin > 0 else 1.0,
        tight_rank=rank if run else None,
        tight_margin=margin if run else None,
        tight_swing=2.0 * margin if run else None,
        paper_rank=None if radar.paper_rank is None else rank,
        anomaly=None if radar.anomaly is None else anomaly * SURPRISE,
    )


def _require_reconstruction(
    detector: Detector, predictions: Sequence[Prediction], calibration: Calibration, reach: float
) -> None:
    """CMAG: a reconstruction far worse than that of noise exceeds some limit; and so does `joint`'s score."""
    if calibration.cmag is None:
        return
    verdicts = [detector(strongest(prediction, reach)) for prediction in predictions]
    most = max(_exceedance(limit, verdict) for verdict in verdicts for limit in calibration.cmag.limits)
    if detector.name == "cmag" and most <= 0.0:
        raise _blind("cmag", calibration.cmag.limits[0].threshold)
    combination = calibration.combination
    if detector.name == "joint" and combination is not None:
        tight = max(verdict.statistics["tight"] for verdict in verdicts)
        if joint_score(combination, tight, most) <= combination.threshold:
            raise _blind("joint", combination.threshold)


def _exceedance(limit: StatisticLimit, verdict: Verdict) -> float:
    """Return how far a limit is exceeded by far worse than what these pictures gave."""
    name = limit.statistic
    measured = verdict.statistics[name if name in verdict.statistics else f"cmag_{name}"]
    worst = -1.0 if name in LOW_IS_SUSPICIOUS else BEYOND_RECONSTRUCTION * max(measured, 1e-6)
    return exceedance(limit, worst, verdict.label)


def require_fit(
    reference: Reference,
    preprocessing: Preprocessing,
    run: Callable[[NDArray[np.float32]], Mapping[str, NDArray[Any]]],
    where: str,
) -> None:
    """Raise `CalibrationError` where a reference does not know its own benign pictures, or nothing could exceed it.

    `run`: the combined radar, (B, 3, H, W) inputs in. `where` names the reference for people.
    """
    extreme = {name: tail.levels[-1:] + SURPRISE * tail.scale for name, tail in reference.tails.items()}
    highest = float(combine(surprises_of(reference.tails, extreme))[0])
    for point in reference.points:
        if not 0.0 < point.threshold < highest:
            raise CalibrationError(
                f"{where}: its threshold for {point.target_fpr:g} is {point.threshold:g}; no evidence scores above "
                f"{highest:.0f}, and none below 0. Learn this model again with `taintwatch calibrate learn`"
            )
    seen = [
        run(preprocessing.normalise(reference.hosts[row : row + 1])) for row in range(HOSTS)[: len(reference.hosts)]
    ]
    for name in (*FREE, LABEL):
        if name not in reference.tails:
            continue
        tail = reference.tails[name]
        room = BEYOND_BENIGN * max(float(np.ptp(tail.levels)), tail.scale)
        values = np.concatenate([outputs[f"combined_{name}"] for outputs in seen])
        inside = (values >= tail.levels[0] - room) & (values <= tail.levels[-1] + room)
        if not inside.any() or (len(values) > 1 and np.ptp(values) == 0.0):
            raise CalibrationError(
                f"{where}: does not know its own benign pictures ({name} is {values.min():.3g} to {values.max():.3g}, "
                f"for benign ones {tail.levels[0]:.3g} to {tail.levels[-1]:.3g}). It is damaged; learn this model "
                "again with `taintwatch calibrate learn`"
            )


def _blind(name: str, threshold: float) -> CalibrationError:
    return CalibrationError(
        f"the detector '{name}' is blind: with its threshold of {threshold:g} nothing that this model could show is "
        "called suspicious. Calibrate this model again"
    )


def _frame(picture: NDArray[np.uint8]) -> Frame:
    return Frame("self-test", 0, read_only(picture), 0, 0)
