"""The page's description of the daemon: configuration, calibration, alarm rates."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from taintwatch.alarm_rates import wilson_interval
from taintwatch.config.digest import canonical, config_hash
from taintwatch.config.sections import Config
from taintwatch.detection_stack import DetectionStack
from taintwatch.logs import redact
from taintwatch.web.live import LiveState
from taintwatch_models.calibration_file import Calibration, HeldOut
from taintwatch_models.detection.operating_points import OperatingPoint
from taintwatch_models.records import Detector

__all__ = ["Description"]


class Description:
    """Answers for the settings view. Any thread may ask."""

    def __init__(self, config: Callable[[], Config], detection: Callable[[], DetectionStack], live: LiveState) -> None:
        self._config = config
        self._detection = detection
        self._live = live

    def about(self) -> dict[str, Any]:
        """Return what the page needs to draw anything at all."""
        config, card = self._config(), self._detection().classifier.card
        return {
            "site": config.site,
            "model": card.name,
            "model_hash": card.model_hash,
            "provider": card.provider,
            "cameras": [camera.name for camera in config.camera],
            "detectors": [detector.name for detector in self._detection().detectors],
            "vote": config.vote.model_dump(mode="json", exclude_none=True) | _window(config),
            "cmag": not {"cmag", "joint"}.isdisjoint(config.detect.detectors),
            "config_hash": config_hash(config),
        }

    def config(self) -> dict[str, Any]:
        """Return the configuration, read-only: addresses without credentials, secrets as the names of their files."""
        shown = canonical(self._config())
        cameras = shown.pop("camera")  # their addresses have lost what is secret already
        redacted: dict[str, Any] = _redacted(shown)
        return redacted | {"camera": cameras}

    def calibration(self) -> dict[str, Any]:
        """Return when and on what the thresholds were chosen, and how often each detector alarms then and now."""
        model = self._detection().model
        calibration = Calibration() if model is None else model.calibration
        now = {rate.detector: rate for rate in self._live.rates.now()}
        detectors = []
        for detector in self._detection().detectors:
            name = detector.name
            target_fpr, then = _rates(calibration, detector)
            rate = now.get(name)
            detectors.append(
                {
                    "detector": name,
                    "target_fpr": target_fpr,
                    "then": None if then is None else asdict(then),
                    "now": None if rate is None else asdict(rate),
                    "drifted": rate is not None and rate.drifted(target_fpr),
                }
            )
        return {
            "calibrated": calibration.calibrated,
            "created": calibration.created,
            "benign": calibration.benign,
            "benign_frames": calibration.benign_frames,
            "target_fpr": calibration.target_fpr,
            "warnings": [] if model is None else list(model.warnings),
            "detectors": detectors,
        }


def _window(config: Config) -> dict[str, Any]:
    if config.vote.policy != "k-of-n":
        return {}
    return {"k": config.vote.k or 3, "n": config.vote.n or 5}


def _rates(calibration: Calibration, judge: Detector) -> tuple[float | None, HeldOut | None]:
    """Return the target false-positive rate of a detector, and the one that was measured then."""
    detector, point = judge.name, getattr(judge, "point", None)
    if isinstance(point, OperatingPoint):  # what was learnt has a threshold, and a rate, of its own
        rate = point.alarms / point.frames if point.frames else 0.0
        then = HeldOut(point.frames, point.alarms, rate, *wilson_interval(point.alarms, point.frames))
        return point.target_fpr, then if point.frames else None
    if detector == "cmag":
        cmag = calibration.cmag
        return (None, None) if cmag is None else (cmag.target_fpr, cmag.held_out)
    if detector == "joint":
        joint = calibration.combination
        return (None, None) if joint is None else (joint.target_fpr, joint.held_out)
    part = calibration.tight if detector == "tight" else calibration.paper
    return calibration.target_fpr, part.held_out


def _redacted(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _redacted(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_redacted(each) for each in value]
    return redact(value) if isinstance(value, str) else value
