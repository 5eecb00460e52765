"""What a model's detectors judge by: thresholds, a reference, reconstructors, read from the files beside it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from taintwatch_models.calibration_file import Calibration, learnt_calibration, read_calibration
from taintwatch_models.cmag.file import CmagFile, read_cmag
from taintwatch_models.detection.detector import COMBINED
from taintwatch_models.detection.operating_points import LOW_FPR
from taintwatch_models.detection.reference import Reference, read_reference
from taintwatch_models.errors import ConfigError
from taintwatch_models.graph.anomaly import gives_anomaly
from taintwatch_models.model_files import ModelSettings, calibration_path, chosen_fpr, cmag_path, reference_path
from taintwatch_models.radar_file import RadarFile

__all__ = ["Criteria", "read_criteria"]


@dataclass(frozen=True, slots=True, eq=False)
class Criteria:
    """What the detectors of one model judge by, chosen from benign pictures."""

    detectors: tuple[str, ...]
    """Their names, in order."""
    calibration: Calibration = field(default_factory=Calibration)
    reference: Reference | None = None
    """For `combined` alone."""
    reference_path: Path = Path()
    """Where it is, or should be."""
    target_fpr: float = LOW_FPR
    """Per frame: which of the reference's thresholds counts."""
    reconstructors: CmagFile | None = None
    """For `cmag` and `joint`."""
    warnings: tuple[str, ...] = ()
    """What is missing, one sentence each."""

    @property
    def variants(self) -> tuple[str, ...]:
        """Which of TaintRadar's variants are judged by (`cmag` alone needs none)."""
        return _variants(self.detectors)

    @property
    def need_maps(self) -> bool:
        """Whether the last maps are wanted of each frame."""
        return self.reconstructors is not None


def read_criteria(file: RadarFile, settings: ModelSettings, reference: Reference | None = None) -> Criteria:
    """Read what belongs to a prepared model, for the detectors that the settings name, and say what is missing.

    `reference`: what was just learnt; None: the file that the settings name. Raises `ConfigError` where no detector is
    named, `CalibrationError` and `ModelError` where a file cannot be read, or does not fit the model.
    """
    names = settings.detectors
    if not names:
        raise ConfigError("no detector is switched on; name at least one of combined, tight, paper")
    variants = _variants(names)
    thresholds, learnt, cmag = calibration_path(settings), reference_path(settings), cmag_path(settings)
    if COMBINED not in names:
        reference = None
    elif reference is None:
        reference = read_reference(learnt, file.info.source_sha256)
    warnings: list[str] = []
    required = settings.calibration is not None or settings.path is None
    if required or thresholds.is_file():
        calibration = read_calibration(thresholds, model_hash=file.info.source_sha256)
    elif reference is not None and not variants:
        calibration = learnt_calibration(reference, file.info.name, chosen_fpr(settings))
    else:
        calibration = Calibration()
        warnings.append(
            "not calibrated: thresholds are rough defaults, expect false alarms; run `taintwatch calibrate learn`"
        )
    if settings.fill is not None and settings.fill != calibration.tight.fill:
        if calibration.calibrated:
            warnings.append(f"fill '{settings.fill}' replaces the calibrated one, so the thresholds no longer hold")
        calibration = calibration.with_fill(settings.fill)
    if "tight" in variants:  # at the start, not at the first frame
        calibration.tight.require_anomaly(given=gives_anomaly(file))
    if not file.info.declared:
        name = file.info.name
        warnings.append(f"{name}: no preprocessing is declared (no {name}.toml beside it); RGB in [-1, 1] is assumed")
    reconstructors = read_cmag(cmag, file.info) if "cmag" in names or "joint" in names else None
    return Criteria(names, calibration, reference, learnt, chosen_fpr(settings), reconstructors, tuple(warnings))


def _variants(detectors: Sequence[str]) -> tuple[str, ...]:
    others = (name for name in detectors if name not in ("cmag", COMBINED))
    return tuple(dict.fromkeys("tight" if name == "joint" else name for name in others))
