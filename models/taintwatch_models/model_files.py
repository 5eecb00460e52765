"""Which files make up a model: its graph and weights, what is declared of it, its calibration and reconstructors."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from pathlib import Path

from taintwatch_models.bundled import bundled_path
from taintwatch_models.detection.operating_points import LOW_FPR
from taintwatch_models.model_description import ModelDescription, describe
from taintwatch_models.model_source import ModelSource, file_hash, read_light, source_of
from taintwatch_models.onnx_session import SessionSettings
from taintwatch_models.radar_file import RadarFile, from_proto, is_radar, read_radar

__all__ = [
    "ModelSettings",
    "SecondLookLimits",
    "calibration_path",
    "chosen_fpr",
    "cmag_path",
    "default_detectors",
    "is_torch",
    "read_model",
    "reference_path",
]

_TORCH_SUFFIXES = (".pt", ".pth", ".pt2", ".ts")
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class SecondLookLimits:
    """How `combined` shares its second looks among the frames of one event, and what they may take."""

    renew_s: float = 1.0
    """A look at an event is taken again after so long."""
    share: float | None = 0.3
    """Of the time, in (0, 1], that looks may take; None: all that they need."""


@dataclass(frozen=True, slots=True)
class ModelSettings:
    """Which model, how it is run, and what is asked of it."""

    path: str | None = None
    """An ONNX file (plain or prepared), a TorchScript file, `torchvision:<name>[@weights.pth]`; None: the bundled."""
    preprocessing: str | None = None
    """The TOML that describes the model; None: the one beside it, `<model>.toml`, where there is one."""
    labels: str | None = None
    output: str | None = None
    """Name of the logits, where the model has several outputs."""
    size: tuple[int, int] | None = None
    """(height, width) of the model's pictures, where neither it nor its TOML says so."""
    apart: bool = False
    """Prepare a plain model in a process of its own, so that whoever runs beside goes on whatever is in the file."""
    calibration: str | None = None
    """None: the one beside the model, `<model>.calibration.json`, where there is one."""
    cmag: str | None = None
    """CMAG's reconstructors; None: those beside the model, `<model>.cmag.onnx`."""
    reference: str | None = None
    """What `combined` knows of benign pictures; None: the one beside the model, `<model>.reference.npz`."""
    target_fpr: float | None = None
    """Per frame: which of the reference's thresholds `combined` judges by; None: 0.001."""
    session: SessionSettings = field(default_factory=SessionSettings)
    detectors: tuple[str, ...] = ("tight",)
    """What judges, by name, in order."""
    fill: str | None = None
    """Overrides the calibration's fill of every variant (which then no longer holds)."""
    batches: tuple[int, ...] = (1,)
    """Batch sizes to warm up; a CUDA graph is recorded for the largest."""
    second_looks: SecondLookLimits | None = None
    """How `combined` shares and bounds its second looks on frames in time; None: every frame is judged by itself."""
    gate_random_share: float | None = None
    """None: every frame is checked. Else the gate decides, and this share of what it would let pass is checked too."""


def read_model(settings: ModelSettings) -> RadarFile | tuple[ModelSource, ModelDescription]:
    """Read the model: a prepared one, or a plain one with what is declared of it.

    Raises `ModelError` naming what is missing or unreadable.
    """
    if settings.path is None:
        return read_radar(bundled_path("signs.radar.onnx"))
    path, torch = Path(settings.path), is_torch(settings.path)
    beside = not (settings.preprocessing or settings.labels or settings.output)
    model = None if torch else _read_onnx(path, beside=beside)
    if isinstance(model, RadarFile):
        return model
    description = describe(path, settings.preprocessing, settings.labels)
    if model is not None:
        return model, description
    from taintwatch_models.torch_models import read_torch  # torch only where it is asked for

    return read_torch(settings.path, description)


def _read_onnx(path: Path, *, beside: bool) -> RadarFile | ModelSource:
    """Read an ONNX file, or what was prepared from this very file and lies beside it."""
    prepared = path.with_name(path.name.removesuffix(".onnx") + ".radar.onnx")
    if beside and prepared != path and prepared.is_file() and path.is_file():
        radar = read_radar(prepared)
        if radar.info.source_sha256 == file_hash(path):
            return radar
        _log.warning("%s was prepared from another version of %s and is not used", prepared, path.name)
    proto = read_light(path)
    return from_proto(proto, str(path)) if is_radar(proto) else source_of(proto, path)


def is_torch(path: str) -> bool:
    """Say whether a model is named that Torch reads."""
    return path.startswith("torchvision:") or Path(path).suffix in _TORCH_SUFFIXES


def calibration_path(settings: ModelSettings) -> Path:
    """Return where the model's thresholds are, or should be."""
    return _beside(settings.path, "calibration.json") if settings.calibration is None else Path(settings.calibration)


def reference_path(settings: ModelSettings) -> Path:
    """Return where the model's reference is, or should be."""
    return _beside(settings.path, "reference.npz") if settings.reference is None else Path(settings.reference)


def chosen_fpr(settings: ModelSettings) -> float:
    """Return the target false-positive rate per frame whose threshold counts."""
    return LOW_FPR if settings.target_fpr is None else settings.target_fpr


def default_detectors(settings: ModelSettings) -> tuple[str, ...]:
    """Return what judges where nothing else is said: `combined` where the model was learnt, else `tight`."""
    learnt = settings.reference is not None or reference_path(settings).is_file()
    return ("combined",) if learnt else ("tight",)


def cmag_path(settings: ModelSettings) -> Path:
    """Return where the model's reconstructors are, or should be."""
    return _beside(settings.path, "cmag.onnx") if settings.cmag is None else Path(settings.cmag)


def _beside(model: str | None, suffix: str) -> Path:
    """Return what belongs to a model, prepared or plain: it has the same name and another suffix."""
    if model is None:
        return bundled_path(f"signs.{suffix}")
    return Path(f"{model.removesuffix('.onnx').removesuffix('.radar')}.{suffix}")
