"""Whether a calibration still holds: its detectors on new benign footage, their alarms against the target rate."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from taintwatch.alarm_rates import wilson_interval
from taintwatch_calibration.benign import BenignFrames
from taintwatch_models.classifier import Rejected
from taintwatch_models.detection.detector import CombinedDetector
from taintwatch_models.errors import CalibrationError
from taintwatch_models.loading import LoadedModel
from taintwatch_models.records import Frame, read_only

__all__ = ["Drift", "check_drift", "target_rates"]


@dataclass(frozen=True, slots=True)
class Drift:
    """One detector on new benign frames."""

    detector: str
    target_fpr: float
    frames: int
    alarms: int
    low: float
    high: float
    """95% Wilson interval of the false-positive rate."""

    @property
    def rate(self) -> float:
        return self.alarms / self.frames

    @property
    def holds(self) -> bool:
        """False where even the interval's lower end is above the target rate."""
        return self.low <= self.target_fpr

    @property
    def conclusion(self) -> str:
        """One sentence for people."""
        if not self.holds:
            return "no longer holds: more false alarms than the target; calibrate again on footage like this"
        if self.high > 2 * self.target_fpr and self.low < self.target_fpr:
            return "not contradicted, but the interval is wide: give more frames to be sure"
        if self.high < self.target_fpr:
            return "holds, with fewer false alarms than the target"
        return "holds"


def target_rates(model: LoadedModel) -> Mapping[str, float]:
    """Return the target false-positive rate of each detector that was calibrated."""
    calibration = model.calibration
    rates = {}
    if calibration.target_fpr is not None:
        rates = {"tight": calibration.target_fpr, "paper": calibration.target_fpr}
    if calibration.cmag is not None:
        rates["cmag"] = calibration.cmag.target_fpr
    if calibration.combination is not None:
        rates["joint"] = calibration.combination.target_fpr
    rates |= {each.name: each.point.target_fpr for each in model.detectors if isinstance(each, CombinedDetector)}
    return rates


_BATCH = 16


def check_drift(
    model: LoadedModel, frames: BenignFrames, *, progress: Callable[[int], None] = lambda done: None
) -> tuple[Drift, ...]:
    """Run the model's detectors on benign frames as the daemon does. Raises `CalibrationError` where none is usable."""
    rates = target_rates(model)
    detectors = [detector for detector in model.detectors if detector.name in rates]
    if not detectors:
        raise CalibrationError("this model was never calibrated; run `taintwatch calibrate learn` first")
    alarms = dict.fromkeys((detector.name for detector in detectors), 0)
    judged = 0
    for start in range(0, len(frames.pixels), _BATCH):
        for result in model.classifier([_frame(model, pixels) for pixels in frames.pixels[start : start + _BATCH]]):
            if isinstance(result, Rejected):
                continue
            judged += 1
            for detector in detectors:
                alarms[detector.name] += detector(result).suspicious
        progress(min(start + _BATCH, len(frames.pixels)))
    if not judged:
        raise CalibrationError(f"{frames.description}: the model gave no usable prediction for any frame")
    return tuple(
        Drift(name, rates[name], judged, count, *wilson_interval(count, judged)) for name, count in alarms.items()
    )


def _frame(model: LoadedModel, pixels: NDArray[np.uint8]) -> Frame:
    """Wrap a picture that already has the input's size: laying it onto the input again changes nothing."""
    image = pixels[:, :, ::-1] if model.preprocessing.order == "rgb" else pixels
    return Frame("benign", 0, read_only(np.ascontiguousarray(image)), 0, 0)
