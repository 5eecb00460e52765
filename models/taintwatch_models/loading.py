"""From settings to a classifier and its detectors: read, prepare, calibrate, open, make the detectors, try them."""

from __future__ import annotations

import logging
from dataclasses import dataclass

from taintwatch_models.calibration_file import Calibration
from taintwatch_models.classifier import Classifier
from taintwatch_models.criteria import read_criteria
from taintwatch_models.detection.reference import Reference
from taintwatch_models.detectors import make_detectors
from taintwatch_models.errors import ModelError
from taintwatch_models.model_files import ModelSettings, read_model
from taintwatch_models.preprocessing import Preprocessing
from taintwatch_models.radar_classifier import RadarClassifier
from taintwatch_models.radar_file import RadarFile
from taintwatch_models.radars import open_radar
from taintwatch_models.records import Detector
from taintwatch_models.self_test import require_fit, require_sight

__all__ = ["LoadedModel", "load_model", "load_radar_file", "open_model"]

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


def load_model(settings: ModelSettings) -> LoadedModel:
    """Load, calibrate and warm up a model. Raises what `load_radar_file` and `open_model` raise."""
    file = load_radar_file(settings)
    return open_model(file, settings)


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
    criteria = read_criteria(file, settings, reference)
    radar = open_radar(file, criteria, settings)
    classifier = RadarClassifier(radar)
    classifier.warm_up(settings.batches)
    detectors = make_detectors(criteria, file.info)
    preprocessing = file.info.preprocessing
    if criteria.reference is not None:
        require_fit(criteria.reference, preprocessing, radar, str(criteria.reference_path))
    warnings = (*criteria.warnings, *require_sight(classifier, detectors, criteria.calibration))
    for warning in warnings:
        _log.warning(warning)
    return LoadedModel(classifier, detectors, criteria.calibration, preprocessing, warnings)
