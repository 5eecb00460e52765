"""From settings to a classifier and its detectors: read the model, prepare, calibrate, open, make the detectors."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from taintwatch_models.calibration_file import Calibration, read_calibration
from taintwatch_models.classifier import Classifier
from taintwatch_models.detection.detector import COMBINED, CombinedDetector
from taintwatch_models.detection.reference import Reference, read_reference
from taintwatch_models.detectors import make_detectors, require_anomaly
from taintwatch_models.errors import ConfigError, ModelError
from taintwatch_models.model_files import (
    ModelSettings,
    calibration_path,
    chosen_fpr,
    cmag_path,
    read_model,
    reference_path,
)
from taintwatch_models.preprocessing import Preprocessing
from taintwatch_models.radar_file import RadarFile, RadarInfo
from taintwatch_models.records import Detector
from taintwatch_models.self_test import require_fit, require_sight

if TYPE_CHECKING:
    from taintwatch_models.cmag.runner import CmagRunner
    from taintwatch_models.onnx_classifier import Radar

__all__ = ["LoadedModel", "load_model", "load_radar_file", "open_model", "radar_variants"]

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, eq=False)
class LoadedModel:
    """A classifier with the detectors that judge its predictions."""

    classifier: Classifier
    detectors: tuple[Detector, ...]
    calibration: Calibration
    preprocessing: Preprocessing
    warnings: tuple[str, ...] = ()
    """What the user should know before trusting it, one sentence each."""


@dataclass(frozen=True, slots=True, eq=False)
class _Chosen:
    """What was chosen from benign pictures, and what is to be said of it."""

    calibration: Calibration
    reference: Reference | None
    """For `combined` alone."""
    warnings: tuple[str, ...]


def load_model(settings: ModelSettings) -> LoadedModel:
    """Load, calibrate and warm up a model. Raises what `load_radar_file` and `open_model` raise."""
    return open_model(load_radar_file(settings), settings)


def load_radar_file(settings: ModelSettings) -> RadarFile:
    """Return the prepared model that the settings name, preparing a plain one in memory. Raises `ModelError`."""
    model = read_model(settings)
    if isinstance(model, RadarFile):
        return model
    from taintwatch_models.graph.prepare import prepare_source
    from taintwatch_models.preparation_process import prepare_apart

    source, description = model
    if not settings.apart:
        return prepare_source(source, description, output=settings.output, size=settings.size).radar
    radar = prepare_apart(settings)
    if radar.info.source_sha256 != source.sha256:
        raise ModelError(f"{source.where}: it was changed while it was loaded; load it again")
    return radar


def open_model(file: RadarFile, settings: ModelSettings, reference: Reference | None = None) -> LoadedModel:
    """Calibrate and warm up a prepared model, and try its detectors (`self_test`).

    `file`: from `load_radar_file` with settings that name the same model. `reference`: what was just learnt, for
    `combined`; None: the file that the settings name. Raises `ModelError`, `CalibrationError` (also for detectors that
    could not raise an alarm), `DeviceError`, `ConfigError`.
    """
    if not settings.variants:
        raise ConfigError("no detector is switched on; name at least one of combined, tight, paper")
    chosen = _calibrated(file, settings, reference)
    radar, classifier = _opened(file, settings, chosen)
    detectors = _detectors(file, settings, chosen)
    if chosen.reference is not None:
        require_fit(chosen.reference, file.info.preprocessing, radar, str(reference_path(settings)))
    warnings = (*chosen.warnings, *require_sight(classifier, detectors, chosen.calibration))
    for warning in warnings:
        _log.warning(warning)
    return LoadedModel(classifier, detectors, chosen.calibration, file.info.preprocessing, warnings)


def radar_variants(detectors: Sequence[str]) -> tuple[str, ...]:
    """Return which of TaintRadar's variants these detectors judge by (`cmag` alone needs none)."""
    others = (name for name in detectors if name not in ("cmag", COMBINED))
    return tuple(dict.fromkeys("tight" if name == "joint" else name for name in others))


def _calibrated(file: RadarFile, settings: ModelSettings, reference: Reference | None) -> _Chosen:
    """Read what was chosen and say what is missing. Raises `CalibrationError` where it does not fit the graph."""
    from taintwatch_models.graph.anomaly import gives_anomaly

    warnings: list[str] = []
    if COMBINED not in settings.variants:
        reference = None
    elif reference is None:
        reference = read_reference(reference_path(settings), file.info.source_sha256)
    path, required = calibration_path(settings), settings.calibration is not None or settings.path is None
    if required or path.is_file():
        calibration = read_calibration(path, model_hash=file.info.source_sha256)
    elif reference is not None and not radar_variants(settings.variants):
        calibration = _learnt(file, settings, reference)
    else:
        calibration = Calibration()
        warnings.append(
            "not calibrated: thresholds are rough defaults, expect false alarms; run `taintwatch calibrate learn`"
        )
    if settings.fill is not None and settings.fill != calibration.tight.fill:
        if calibration.calibrated:
            warnings.append(f"fill '{settings.fill}' replaces the calibrated one, so the thresholds no longer hold")
        calibration = replace(
            calibration,
            tight=replace(calibration.tight, fill=settings.fill),
            paper=replace(calibration.paper, fill=settings.fill),
        )
    if "tight" in radar_variants(settings.variants):  # at the start, not at the first frame
        require_anomaly(calibration.tight, given=gives_anomaly(file))
    if not file.info.declared:
        name = file.info.name
        warnings.append(f"{name}: no preprocessing is declared (no {name}.toml beside it); RGB in [-1, 1] is assumed")
    return _Chosen(calibration, reference, tuple(warnings))


def _learnt(file: RadarFile, settings: ModelSettings, reference: Reference) -> Calibration:
    """Return what a calibration says of a model that was learnt: the thresholds are the reference's own."""
    about = reference.about
    return Calibration(
        model_hash=reference.model_hash,
        model_name=file.info.name,
        created=about.created,
        target_fpr=chosen_fpr(settings),
        benign=about.site,
        benign_frames=about.site_frames,
    )


def _opened(file: RadarFile, settings: ModelSettings, chosen: _Chosen) -> tuple[Radar, Classifier]:
    """Open what runs a prepared model, and warm it up."""
    from taintwatch_models.onnx_classifier import RadarClassifier

    radar = _radar(file, settings, chosen)
    classifier = RadarClassifier(radar)
    classifier.warm_up(settings.batches)
    return radar, classifier


def _radar(file: RadarFile, settings: ModelSettings, chosen: _Chosen) -> Radar:
    """Open a prepared model, with the gate before it where that is wanted."""
    from taintwatch_models.detection.looks import CombinedRadar
    from taintwatch_models.gated import GatedRadar, random_check
    from taintwatch_models.graph.verification import check_half_precision
    from taintwatch_models.onnx_classifier import OnnxRadar
    from taintwatch_models.shared_looks import SharedLooks

    calibration, reference = chosen.calibration, chosen.reference
    session = replace(settings.session, batch=max(settings.batches))
    wanted = (*radar_variants(settings.variants), *(("features",) if _wants_cmag(settings.variants) else ()))
    if reference is not None:
        if settings.gate_random_share is not None:
            raise ConfigError("the detector 'combined' looks twice only where a frame deserves it; switch [gate] off")
        other = OnnxRadar(file, wanted, calibration, session) if wanted else None
        combined = CombinedRadar(file, reference, session, other)
        return combined if settings.second_looks is None else SharedLooks(combined, settings.second_looks)
    if settings.gate_random_share is None:
        radar = OnnxRadar(file, wanted, calibration, session)
        if session.precision == "float16":
            check_half_precision(radar, file, calibration, session)
        return radar
    if "joint" in settings.variants:
        raise ConfigError("the detector 'joint' needs every frame checked; switch [gate] off, or judge by tight alone")
    return GatedRadar(file, wanted, calibration, session, spot_check=random_check(settings.gate_random_share))


def _wants_cmag(detectors: Sequence[str]) -> bool:
    return "cmag" in detectors or "joint" in detectors


def _detectors(file: RadarFile, settings: ModelSettings, chosen: _Chosen) -> tuple[Detector, ...]:
    """Return what judges the predictions, with what was chosen for each."""
    info, calibration = file.info, chosen.calibration
    cmag = _reconstructors(cmag_path(settings), calibration, info) if _wants_cmag(settings.variants) else None
    combined = None
    if chosen.reference is not None:
        combined = CombinedDetector(chosen.reference, chosen_fpr(settings), info.labels, info.preprocessing)
    return make_detectors(settings.variants, calibration, info.labels, info.preprocessing, cmag, combined)


def _reconstructors(path: Path, calibration: Calibration, info: RadarInfo) -> CmagRunner:
    """Open the reconstructors. Raises `ModelError` where they are missing or another model's."""
    from taintwatch_models.cmag.file import check_fit, read_cmag
    from taintwatch_models.cmag.runner import CmagRunner

    file = read_cmag(path)
    check_fit(file.info, info, str(path))
    limits = calibration.cmag.limits if calibration.cmag is not None else ()
    return CmagRunner(file, ("reconstruction", *(limit.statistic for limit in limits)))
