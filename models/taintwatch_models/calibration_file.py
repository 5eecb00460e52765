"""The calibration of one model: how regions are found and filled, and the thresholds, from benign images only."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from taintwatch_models.cmag.limits import StatisticLimit
from taintwatch_models.errors import CalibrationError
from taintwatch_models.storage import write_atomically

__all__ = [
    "Calibration",
    "CmagCalibration",
    "CombinationCalibration",
    "GateCalibration",
    "HeldOut",
    "PaperCalibration",
    "TightCalibration",
    "read_calibration",
    "write_calibration",
]

FORMAT = "taintwatch-calibration/1"


@dataclass(frozen=True, slots=True)
class HeldOut:
    """False-positive rate on benign frames that the threshold was not chosen on, with its 95% Wilson interval."""

    frames: int
    alarms: int
    rate: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class TightCalibration:
    """Settings of `tight`: see `detectors.tight_score` for what the weights are."""

    saliency_threshold: float = 0.8
    fill: str = "mean"
    swing_weight: float = 0.5
    threshold: float = 0.0
    held_out: HeldOut | None = None
    concentration_weight: float = 0.0
    anomaly_weight: float = 0.0
    """0: the graph's anomaly does not count, or it has none."""


@dataclass(frozen=True, slots=True)
class PaperCalibration:
    """Settings of `paper`: K labels, and the largest rank change that is still benign (dR)."""

    saliency_threshold: float = 0.15
    fill: str = "noise"
    labels: int = 9
    rank_change: int = 2
    held_out: HeldOut | None = None


@dataclass(frozen=True, slots=True)
class CmagCalibration:
    """Thresholds of `cmag`: suspicious where any statistic exceeds its own. Together they use up the target rate."""

    limits: tuple[StatisticLimit, ...]
    target_fpr: float
    rule: str = "quantile"
    """How they were chosen: `quantile` of benign values, or the paper's `extreme` benign value."""
    benign: str = ""
    benign_frames: int = 0
    held_out: HeldOut | None = None


@dataclass(frozen=True, slots=True)
class CombinationCalibration:
    """`tight` and `cmag` as one detector: scores on their benign scales, joined by `rule`, and one threshold."""

    rule: str
    """`either`, `both` or `score` (the sum)."""
    threshold: float
    target_fpr: float
    """Of the whole."""
    tight_centre: float
    tight_spread: float
    cmag_centre: float
    cmag_spread: float
    held_out: HeldOut | None = None


@dataclass(frozen=True, slots=True)
class GateCalibration:
    """Which frames the gate has checked: those whose score exceeds the threshold.

    The score is `tight`'s, with its weights, of the margin without the best window of the last maps.
    """

    threshold: float
    target_share: float
    """Of benign frames, that may be checked."""
    swing_weight: float = 0.5
    anomaly_weight: float = 0.0
    benign: str = ""
    benign_frames: int = 0
    held_out: HeldOut | None = None
    """The share that is checked on frames that the threshold was not chosen on (`alarms`: frames checked)."""


@dataclass(frozen=True, slots=True)
class Calibration:
    """Everything that was calibrated for one model. The defaults are those of an uncalibrated run."""

    model_hash: str | None = None
    """SHA-256 (hex) of the model file; None in an uncalibrated run."""
    model_name: str = ""
    created: str = ""
    """UTC, ISO 8601."""
    target_fpr: float | None = None
    """The target false-positive rate per frame."""
    benign: str = ""
    """What it was calibrated on, for people."""
    benign_frames: int = 0
    tight: TightCalibration = field(default_factory=TightCalibration)
    paper: PaperCalibration = field(default_factory=PaperCalibration)
    cmag: CmagCalibration | None = None
    combination: CombinationCalibration | None = None
    gate: GateCalibration | None = None

    @property
    def calibrated(self) -> bool:
        return self.model_hash is not None


def write_calibration(calibration: Calibration, path: Path) -> None:
    """Write a calibration whole or not at all. Raises `CalibrationError`."""
    document = {"format": FORMAT, **dataclasses.asdict(calibration)}
    try:
        write_atomically(path, (json.dumps(document, indent=2) + "\n").encode())
    except OSError as error:
        raise CalibrationError(f"{path}: cannot be written ({error.strerror or error})") from None


def read_calibration(path: Path, *, model_hash: str | None = None) -> Calibration:
    """Read a calibration. Raises `CalibrationError`: unreadable, wrong, or of another model than `model_hash`."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise CalibrationError(
            f"{path}: no such calibration; make one with `taintwatch calibrate thresholds`"
        ) from None
    except (OSError, ValueError) as error:
        raise CalibrationError(f"{path}: not a readable calibration ({error})") from None
    if not isinstance(document, dict) or document.pop("format", None) != FORMAT:
        raise CalibrationError(
            f"{path}: not a calibration of this version (its format is not '{FORMAT}'); calibrate again"
        )
    calibration = _build(Calibration, document, str(path))
    if not isinstance(calibration, Calibration):  # pragma: no cover - narrows the type
        raise CalibrationError(f"{path}: not a calibration")
    if model_hash is not None and calibration.model_hash != model_hash:
        raise CalibrationError(
            f"{path}: belongs to another model ('{calibration.model_name}', hash {str(calibration.model_hash)[:12]}; "
            f"this one's is {model_hash[:12]}); calibrate this model with `taintwatch calibrate thresholds`"
        )
    return calibration


_NESTED: dict[str, type] = {
    "tight": TightCalibration,
    "paper": PaperCalibration,
    "cmag": CmagCalibration,
    "combination": CombinationCalibration,
    "gate": GateCalibration,
    "held_out": HeldOut,
}


def _build(kind: type, values: Any, where: str) -> Any:
    """Build a dataclass from parsed JSON, checking every key and type. Raises `CalibrationError`."""
    if not isinstance(values, dict):
        raise CalibrationError(f"{where}: expected a table, found {values!r}")
    names = {f.name: f for f in dataclasses.fields(kind)}
    built = {}
    for key, value in values.items():
        if key not in names:
            raise CalibrationError(f"{where}: unknown key '{key}'; calibrate again with this version")
        if key in _NESTED and value is not None:
            built[key] = _build(_NESTED[key], value, f"{where}: {key}")
            continue
        if key == "limits":
            if not isinstance(value, list) or not value:
                raise CalibrationError(f"{where}: limits must be a list of at least one table, found {value!r}")
            built[key] = tuple(_build(StatisticLimit, item, f"{where}: limits") for item in value)
            continue
        annotation = str(names[key].type)
        allowed = {"float": (int, float), "int": (int,), "str": (str,)}.get(annotation.split(" ")[0])
        optional = "None" in annotation
        if isinstance(value, bool) or (allowed and not isinstance(value, allowed) and not (optional and value is None)):
            raise CalibrationError(f"{where}: {key} has value {value!r}, expected {annotation}")
        built[key] = value
    try:
        return kind(**built)
    except TypeError as error:
        raise CalibrationError(f"{where}: incomplete ({error})") from None
