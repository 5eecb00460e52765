"""The radar that runs a model: by itself, behind the gate, or in the two looks of `combined`."""

from __future__ import annotations

from dataclasses import replace

from taintwatch_models.calibration_file import GateCalibration
from taintwatch_models.criteria import Criteria
from taintwatch_models.detection.looks import CombinedRadar
from taintwatch_models.errors import CalibrationError, ConfigError
from taintwatch_models.model_files import ModelSettings
from taintwatch_models.onnx_radar import OnnxRadar
from taintwatch_models.onnx_session import SessionSettings
from taintwatch_models.radar_classifier import Radar
from taintwatch_models.radar_file import RadarFile
from taintwatch_models.shared_looks import SharedLooks

__all__ = ["open_radar"]


def open_radar(file: RadarFile, criteria: Criteria, settings: ModelSettings) -> Radar:
    """Open what runs a prepared model and gives what its detectors judge by.

    Raises `DeviceError`, `ModelError`, `ConfigError` (an unreadable fill, a gate before detectors that need every
    frame), `CalibrationError` (a gate that was never calibrated).
    """
    calibration, session = criteria.calibration, replace(settings.session, batch=max(settings.batches))
    if settings.gate_random_share is not None:
        return _behind_gate(file, criteria, session, settings.gate_random_share)
    wanted = (*criteria.variants, "features") if criteria.need_maps else criteria.variants
    if criteria.reference is None:
        radar = OnnxRadar(file, wanted, calibration, session)
        if session.precision == "float16":
            from taintwatch_models.graph.verification import check_half_precision  # and all that prepares a model

            check_half_precision(radar, file, calibration, session)
        return radar
    beside = OnnxRadar(file, wanted, calibration, session) if wanted else None
    combined = CombinedRadar(file, criteria.reference, session, beside)
    return combined if settings.second_looks is None else SharedLooks(combined, settings.second_looks)


def _behind_gate(file: RadarFile, criteria: Criteria, session: SessionSettings, share: float) -> Radar:
    from taintwatch_models.gated import GatedRadar, GateScorer, random_check  # and what transposes a head

    gate = _gate(criteria)
    session = replace(session, pixels=False, cuda_graph=False, precision="float32")
    check = OnnxRadar(file, criteria.variants, criteria.calibration, session, from_maps=True)
    return GatedRadar(GateScorer(file, session), check, gate, random_check(share), give_maps=criteria.need_maps)


def _gate(criteria: Criteria) -> GateCalibration:
    """Return the gate's threshold. Raises `ConfigError`, `CalibrationError` where these detectors can have no gate."""
    if criteria.reference is not None:
        raise ConfigError("the detector 'combined' looks twice only where a frame deserves it; switch [gate] off")
    if "joint" in criteria.detectors:
        raise ConfigError("the detector 'joint' needs every frame checked; switch [gate] off, or judge by tight alone")
    if criteria.calibration.gate is None:
        raise CalibrationError(
            "the gate has no threshold for this model; choose it with `taintwatch calibrate gate`, or switch [gate] off"
        )
    return criteria.calibration.gate
