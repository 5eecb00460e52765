"""From settings to a classifier and its detectors: the one place that decides which backend runs."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from taintwatch_models.calibration_file import Calibration, read_calibration
from taintwatch_models.classifier import Classifier
from taintwatch_models.detectors import make_detectors, require_anomaly
from taintwatch_models.errors import ConfigError, ModelError
from taintwatch_models.preprocessing import ModelDescription, Preprocessing, read_description, read_labels
from taintwatch_models.records import Detector

if TYPE_CHECKING:
    from taintwatch_models.cmag.runner import CmagRunner
    from taintwatch_models.onnx_classifier import Radar
    from taintwatch_models.radar_file import RadarFile, RadarInfo

__all__ = [
    "LoadedModel",
    "ModelSettings",
    "calibration_path",
    "cmag_path",
    "describe",
    "load_model",
    "load_radar_file",
    "radar_variants",
]

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ModelSettings:
    """Which model, how it is run, and what is asked of it."""

    path: str | None = None
    """An ONNX file (plain or prepared), a TorchScript or state_dict file, `torchvision:<name>`; None: the bundled."""
    preprocessing: str | None = None
    """The TOML that describes the model; None: the one beside it, `<model>.toml`, where there is one."""
    labels: str | None = None
    calibration: str | None = None
    """None: the one beside the model, `<model>.calibration.json`, where there is one."""
    cmag: str | None = None
    """CMAG's reconstructors; None: those beside the model, `<model>.cmag.onnx`."""
    device: str = "auto"
    require_device: bool = False
    providers: tuple[str, ...] = ()
    threads: int = 0
    variants: tuple[str, ...] = ("tight",)
    fill: str | None = None
    """Overrides the calibration's fill of every variant (which then no longer holds)."""
    batches: tuple[int, ...] = (1,)
    """Batch sizes to warm up."""
    precision: str = "float32"
    """Or float16, which is checked against float32."""
    cuda_graph: bool = False
    """Record the work once, for the largest of `batches`, and replay it."""
    gate_random_share: float | None = None
    """None: every frame is checked. Else the gate decides, and this share of what it would let pass is checked too."""


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
    """Load, calibrate and warm up a model. Raises `ModelError`, `CalibrationError`, `DeviceError`, `ConfigError`."""
    if not settings.variants:
        raise ConfigError("no detector is switched on; name at least one of tight, paper")
    if _is_torch(settings.path):
        from taintwatch_models.torch_backend import load_torch_radar  # torch only where it is asked for

        if settings.gate_random_share is not None:
            raise ConfigError("the gate needs a model that runs on ONNX Runtime; switch [gate] off for a Torch model")
        info, make = load_torch_radar(replace(settings, variants=radar_variants(settings.variants)))
        calibration, warnings = _calibration(settings, info.source_sha256)
        _require_fit(settings, calibration, anomaly=False)
        radar: Radar = make(calibration)
    else:
        from taintwatch_models.graph.anomaly import gives_anomaly

        file = load_radar_file(settings)
        info = file.info
        calibration, warnings = _calibration(settings, info.source_sha256)
        _require_fit(settings, calibration, anomaly=gives_anomaly(file))
        radar = _onnx_radar(file, settings, calibration)
    from taintwatch_models.onnx_classifier import RadarClassifier

    if not info.declared:
        warnings.append(
            f"{info.name}: no preprocessing is declared (no {info.name}.toml beside it); RGB in [-1, 1] is assumed"
        )
    classifier = RadarClassifier(radar)
    classifier.warm_up(settings.batches)
    cmag = _cmag_runner(settings, calibration, info) if _wants_cmag(settings.variants) else None
    detectors = make_detectors(settings.variants, calibration, info.labels, info.preprocessing, cmag)
    for warning in warnings:
        _log.warning(warning)
    return LoadedModel(classifier, detectors, calibration, info.preprocessing, tuple(warnings))


def _require_fit(settings: ModelSettings, calibration: Calibration, *, anomaly: bool) -> None:
    """Raise `CalibrationError` at the start, not at the first frame, where `tight` weighs what it is not given."""
    if "tight" in radar_variants(settings.variants):
        require_anomaly(calibration.tight, given=anomaly)


def _onnx_radar(file: RadarFile, settings: ModelSettings, calibration: Calibration) -> Radar:
    """Open what runs a prepared model, with the gate before it where that is wanted."""
    from taintwatch_models.gated import GatedRadar

    place: dict[str, Any] = {
        "device": settings.device,
        "require_device": settings.require_device,
        "providers": settings.providers,
        "threads": settings.threads,
    }
    variants, features = radar_variants(settings.variants), _wants_cmag(settings.variants)
    if settings.gate_random_share is None:
        return _fast_radar(file, variants, calibration, features, settings, place)
    if "joint" in settings.variants:
        raise ConfigError("the detector 'joint' needs every frame checked; switch [gate] off, or judge by tight alone")
    return GatedRadar(file, variants, calibration, random_share=settings.gate_random_share, features=features, **place)


def _fast_radar(
    file: RadarFile, variants: Sequence[str], calibration: Calibration, features: bool, settings: ModelSettings,
    place: dict[str, Any],
) -> Radar:  # fmt: skip
    """Open a radar in the wanted precision. Raises `ModelError` where float16 says something else than float32."""
    from taintwatch_models.onnx_classifier import OnnxRadar

    radar = OnnxRadar(
        file, variants, calibration, features=features, precision=settings.precision, cuda_graph=settings.cuda_graph,
        batch=max(settings.batches), **place,
    )  # fmt: skip
    if settings.precision == "float16":
        from taintwatch_models.graph.precision import check_parity
        from taintwatch_models.graph.verify import check_pixels

        pixels = check_pixels(file.info.preprocessing, 16)
        full = OnnxRadar(file, variants, calibration, pixels=True, **place)(pixels)
        given = pixels if radar.takes_pixels else file.info.preprocessing.normalise(pixels)
        parts = [radar(given[start : start + 1]) for start in range(len(given))]
        half = {name: np.concatenate([part[name] for part in parts]) for name in ("label", "logits")}
        check_parity(half, full)
    return radar


def radar_variants(detectors: Sequence[str]) -> tuple[str, ...]:
    """Return which of TaintRadar's variants these detectors judge by (`cmag` alone needs none)."""
    return tuple(dict.fromkeys("tight" if name == "joint" else name for name in detectors if name != "cmag"))


def _wants_cmag(detectors: Sequence[str]) -> bool:
    return "cmag" in detectors or "joint" in detectors


def calibration_path(settings: ModelSettings) -> Path:
    """Return where the model's thresholds are, or should be."""
    return _beside(settings.path, "calibration.json") if settings.calibration is None else Path(settings.calibration)


def cmag_path(settings: ModelSettings) -> Path:
    """Return where the model's reconstructors are, or should be."""
    return _beside(settings.path, "cmag.onnx") if settings.cmag is None else Path(settings.cmag)


def _beside(model: str | None, suffix: str) -> Path:
    """Return what belongs to a model, prepared or plain: it has the same name and another suffix."""
    if model is None:
        from taintwatch_models.bundled import bundled_path

        return bundled_path(f"signs.{suffix}")
    return Path(f"{model.removesuffix('.onnx').removesuffix('.radar')}.{suffix}")


def _cmag_runner(settings: ModelSettings, calibration: Calibration, info: RadarInfo) -> CmagRunner:
    """Open the reconstructors. Raises `ModelError` where they are missing or another model's."""
    from taintwatch_models.cmag.file import check_fit, read_cmag
    from taintwatch_models.cmag.runner import CmagRunner

    path = cmag_path(settings)
    file = read_cmag(path)
    check_fit(file.info, info, str(path))
    limits = calibration.cmag.limits if calibration.cmag is not None else ()
    return CmagRunner(file, ("reconstruction", *(limit.statistic for limit in limits)))


def load_radar_file(settings: ModelSettings) -> RadarFile:
    """Return the prepared model that the settings name, preparing a plain one in memory. Raises `ModelError`."""
    from taintwatch_models.graph.prepare import prepare
    from taintwatch_models.radar_file import file_hash, from_proto, is_radar, read_radar

    if settings.path is None:
        from taintwatch_models.bundled import bundled_radar

        return bundled_radar()
    path = Path(settings.path)
    if not path.is_file():
        raise ModelError(f"{path}: no such model file")
    beside = path.with_name(path.name.removesuffix(".onnx") + ".radar.onnx")
    if beside != path and beside.is_file() and not (settings.preprocessing or settings.labels):
        prepared = read_radar(beside)
        if prepared.info.source_sha256 == file_hash(path):
            return prepared
        _log.warning("%s was prepared from another version of %s and is not used", beside, path.name)
    import onnx

    try:
        proto = onnx.load(str(path))
    except Exception as error:
        raise ModelError(f"{path}: not a valid ONNX model ({type(error).__name__})") from None
    if is_radar(proto):
        return from_proto(proto, str(path))
    return prepare(path, describe(path, settings.preprocessing, settings.labels)).radar


def describe(path: Path, preprocessing: str | None, labels: str | None) -> ModelDescription | None:
    """Read the TOML that was named, or the one beside the model; None where there is neither. Raises `ModelError`."""
    beside = path.with_suffix(".toml")
    description = None
    if preprocessing is not None or beside.is_file():
        description = read_description(Path(preprocessing) if preprocessing is not None else beside)
    if labels is not None:
        description = replace(description or ModelDescription(None), labels=read_labels(Path(labels)))
    return description


def _is_torch(path: str | None) -> bool:
    return path is not None and (path.startswith("torchvision:") or Path(path).suffix in (".pt", ".pth", ".ts"))


def _calibration(settings: ModelSettings, model_hash: str) -> tuple[Calibration, list[str]]:
    """Find the calibration; say so where there is none."""
    warnings: list[str] = []
    path = calibration_path(settings)
    if settings.calibration is None and settings.path is not None and not path.is_file():
        warnings.append(
            "not calibrated: thresholds are rough defaults, expect false alarms; run `taintwatch calibrate thresholds`"
        )
        calibration = Calibration()
    else:
        calibration = read_calibration(path, model_hash=model_hash)
    if settings.fill is not None and settings.fill != calibration.tight.fill:
        if calibration.calibrated:
            warnings.append(f"fill '{settings.fill}' replaces the calibrated one, so the thresholds no longer hold")
        calibration = replace(
            calibration,
            tight=replace(calibration.tight, fill=settings.fill),
            paper=replace(calibration.paper, fill=settings.fill),
        )
    return calibration, warnings
