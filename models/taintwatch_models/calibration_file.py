"""The calibration of one model: how regions are found and filled, and the thresholds, from benign images only."""

from __future__ import annotations

import dataclasses
import functools
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError

from taintwatch_models.cmag.limits import StatisticLimit
from taintwatch_models.errors import CalibrationError
from taintwatch_models.storage import read_json, write_atomically

if TYPE_CHECKING:
    from taintwatch_models.detection.reference import Reference

__all__ = [
    "Calibration",
    "CmagCalibration",
    "CombinationCalibration",
    "GateCalibration",
    "HeldOut",
    "PaperCalibration",
    "TightCalibration",
    "learnt_calibration",
    "read_calibration",
    "write_calibration",
]

FORMAT = "taintwatch-calibration/1"
LARGEST = 4_000_000  # bytes
LARGEST_NUMBER = 1e9
_KNOWN_KEYS = ConfigDict(extra="forbid")
_SHARE, _COUNT, _SPREAD = (0.0, 1.0), (0, 10**9), (1e-12, LARGEST_NUMBER)
_RANGES = {
    "rate": _SHARE, "low": _SHARE, "high": _SHARE, "target_fpr": _SHARE, "target_share": _SHARE,
    "saliency_threshold": _SHARE, "frames": _COUNT, "alarms": _COUNT, "benign_frames": _COUNT, "labels": (1, 10_000),
    "rank_change": (0, 1_000_000), "tight_spread": _SPREAD, "cmag_spread": _SPREAD, "scale": _SPREAD,
    "threshold": (-1e6, 1e6), "tight_centre": (-1e6, 1e6), "cmag_centre": (-1e6, 1e6),
    "swing_weight": (-1e4, 1e4), "concentration_weight": (-1e4, 1e4), "anomaly_weight": (-1e4, 1e4),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class HeldOut:
    """False-positive rate on benign frames that the threshold was not chosen on, with its 95% Wilson interval."""

    __pydantic_config__ = _KNOWN_KEYS

    frames: int
    alarms: int
    rate: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class TightCalibration:
    """Settings of `tight`: see `detectors.tight_score` for what the weights are."""

    __pydantic_config__ = _KNOWN_KEYS

    saliency_threshold: float = 0.8
    fill: str = "mean"
    swing_weight: float = 0.5
    threshold: float = 0.0
    held_out: HeldOut | None = None
    concentration_weight: float = 0.0
    anomaly_weight: float = 0.0
    """0: the graph's anomaly does not count, or it has none."""

    def require_anomaly(self, *, given: bool) -> None:
        """Raise `CalibrationError` where the maps' anomaly score counts and is not given."""
        if self.anomaly_weight and not given:
            raise CalibrationError(
                "'tight' was calibrated with the maps' anomaly score, which this model's graph does not give; run the "
                "prepared model (.radar.onnx) that `taintwatch calibrate thresholds --learn` wrote, or calibrate this "
                "one again without --learn"
            )


@dataclass(frozen=True, slots=True)
class PaperCalibration:
    """Settings of `paper`: K labels, and the largest rank change that is still benign (dR)."""

    __pydantic_config__ = _KNOWN_KEYS

    saliency_threshold: float = 0.15
    fill: str = "noise"
    labels: int = 9
    rank_change: int = 2
    held_out: HeldOut | None = None


@dataclass(frozen=True, slots=True)
class CmagCalibration:
    """Thresholds of `cmag`: suspicious where any statistic exceeds its own. Together they use up the target rate."""

    __pydantic_config__ = _KNOWN_KEYS

    limits: Annotated[tuple[StatisticLimit, ...], Field(min_length=1)]
    target_fpr: float
    rule: str = "quantile"
    """How they were chosen: `quantile` of benign values, or the paper's `extreme` benign value."""
    benign: str = ""
    benign_frames: int = 0
    held_out: HeldOut | None = None


@dataclass(frozen=True, slots=True)
class CombinationCalibration:
    """`tight` and `cmag` as one detector: scores on their benign scales, joined by `rule`, and one threshold."""

    __pydantic_config__ = _KNOWN_KEYS

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

    __pydantic_config__ = _KNOWN_KEYS

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

    __pydantic_config__ = _KNOWN_KEYS

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

    def with_fill(self, fill: str) -> Calibration:
        """Return it with another fill for both variants, for which its thresholds were not chosen."""
        tight, paper = dataclasses.replace(self.tight, fill=fill), dataclasses.replace(self.paper, fill=fill)
        return dataclasses.replace(self, tight=tight, paper=paper)


def learnt_calibration(reference: Reference, name: str, target_fpr: float) -> Calibration:
    """Return what a calibration says of a model that was learnt: the thresholds are the reference's own."""
    about = reference.about
    return Calibration(
        model_hash=reference.model_hash,
        model_name=name,
        created=about.created,
        target_fpr=target_fpr,
        benign=about.site,
        benign_frames=about.site_frames,
    )


def write_calibration(calibration: Calibration, path: Path) -> None:
    """Write a calibration whole or not at all. Raises `CalibrationError`."""
    document = {"format": FORMAT, **dataclasses.asdict(calibration)}
    try:
        write_atomically(path, (json.dumps(document, indent=2) + "\n").encode())
    except OSError as error:
        raise CalibrationError(f"{path}: cannot be written ({error.strerror or error})") from None


def read_calibration(path: Path, *, model_hash: str | None = None) -> Calibration:
    """Read a calibration. Raises `CalibrationError`: unreadable, wrong, or of another model than `model_hash`.

    A number that is not finite, or that no calibration gives, is refused: a threshold of NaN would never alarm.
    """
    try:
        document = read_json(path, LARGEST)
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
    calibration = _validated(path, document)
    if model_hash is not None and calibration.model_hash != model_hash:
        raise CalibrationError(
            f"{path}: belongs to another model ('{calibration.model_name}', hash {str(calibration.model_hash)[:12]}; "
            f"this one's is {model_hash[:12]}); calibrate this model with `taintwatch calibrate thresholds`"
        )
    return calibration


def _validated(path: Path, document: dict[str, Any]) -> Calibration:
    try:
        calibration: Calibration = _adapter().validate_json(json.dumps(document), strict=True)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        where = ": ".join(str(part) for part in first["loc"])
        if first["type"] == "unexpected_keyword_argument":
            raise CalibrationError(f"{path}: unknown key '{where}'; calibrate again with this version") from None
        raise CalibrationError(
            f"{path}: {where} has value {str(first['input'])[:80]}: {first['msg']}; calibrate again"
        ) from None
    for where, value in _numbers(dataclasses.asdict(calibration), ""):
        low, high = _RANGES.get(where.rsplit(": ", 1)[-1], (-LARGEST_NUMBER, LARGEST_NUMBER))
        if not low <= value <= high:
            raise CalibrationError(
                f"{path}: {where} is {value:g}; it lies from {low:g} to {high:g} in a calibration. Calibrate again"
            )
    return calibration


@functools.cache
def _adapter() -> TypeAdapter[Calibration]:
    return TypeAdapter(Calibration)


def _numbers(values: Any, where: str) -> Iterator[tuple[str, float]]:
    """Yield every number of a nested document with its keys."""
    if isinstance(values, dict):
        for key, value in values.items():
            yield from _numbers(value, f"{where}: {key}" if where else str(key))
    elif isinstance(values, list | tuple):
        for value in values:
            yield from _numbers(value, where)
    elif isinstance(values, int | float):
        yield where, values
