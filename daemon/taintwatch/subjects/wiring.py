"""From a configuration to what in each frame is judged by itself."""

from __future__ import annotations

from dataclasses import replace

from taintwatch.config.sections import Config
from taintwatch.config.subjects import MaskSection, RegionSection
from taintwatch.subjects.expander import Expander
from taintwatch.subjects.faces import FaceExpander
from taintwatch.subjects.objects import CropLimits, ObjectExpander
from taintwatch.subjects.regions import Masked, Outline, RegionExpander
from taintwatch.subjects.tracking import BoxTracker
from taintwatch_models.bundled import BUNDLED_FINDER, bundled_path
from taintwatch_models.errors import ConfigError
from taintwatch_models.faces.finder import FaceFinder, make_finder
from taintwatch_models.faces.loading import load_face_model
from taintwatch_models.loading import LoadedModel, load_model
from taintwatch_models.model_files import ModelSettings
from taintwatch_models.objects.finder import FinderSettings, ObjectFinder
from taintwatch_models.objects.guarded_model import load_guarded_model

__all__ = ["BUNDLED", "finder_settings", "guards_objects", "load_subject_model", "make_expander", "make_face_finder"]


BUNDLED = "bundled:signs"
"""What `objects.model` says for the sign finder that comes with the package."""


def make_expander(config: Config, find_faces: FaceFinder | None, size: int) -> Expander:
    """Return what expands frames. `size`: side of the classifier's input, pixels. Raises `ModelError`, `DeviceError`.

    `find_faces`: from `make_face_finder`; None where faces are not what is judged.
    """
    regions = {camera.name: tuple(_outline(region) for region in camera.region) for camera in config.camera}
    masks = {camera.name: tuple(_outline(mask) for mask in camera.mask) for camera in config.camera}
    if find_faces is not None:
        expander: Expander = FaceExpander(find_faces, size=size)
    elif config.objects.model is not None and not guards_objects(config):
        expander = _object_expander(config, regions)
    else:
        expander = RegionExpander(regions)
    return Masked(expander, masks)


def guards_objects(config: Config) -> bool:
    """Whether the object detector is what is judged, not what stands before a classifier."""
    return "objects" in config.detect.detectors


def finder_settings(config: Config) -> FinderSettings:
    """Return which detector finds objects, and which. Raises `ConfigError` where none is named."""
    section = config.objects
    if section.model is None:
        raise ConfigError("objects.model is missing: an ONNX object detector")
    return FinderSettings(
        path=str(bundled_path(BUNDLED_FINDER)) if section.model == BUNDLED else section.model,
        labels=section.labels,
        preprocessing=section.preprocessing,
        decoder=section.decoder,
        classes=section.classes,
        confidence=section.confidence,
        overlap=section.overlap,
        device=config.model.device,
        threads=config.model.threads,
    )


def _object_expander(config: Config, regions: dict[str, tuple[Outline, ...]]) -> ObjectExpander:
    section = config.objects
    return ObjectExpander(
        ObjectFinder(finder_settings(config)),
        limits=CropLimits(section.smallest, section.margin),
        tracker=BoxTracker(patience_s=section.patience_s, most=section.most),
        regions=regions,
    )


def _outline(section: MaskSection) -> Outline:
    name = section.name if isinstance(section, RegionSection) else ""
    if section.box is not None:
        return Outline.of_box(section.box, name)
    return Outline(section.polygon or (), name)


def load_subject_model(config: Config, settings: ModelSettings) -> LoadedModel:
    """Load what judges the subjects: a classifier, a face model, or a guarded object detector.

    Raises `ModelError`, `CalibrationError`, `DeviceError`, `ConfigError`.
    """
    if guards_objects(config):
        finder = replace(finder_settings(config), device=settings.session.device)
        return load_guarded_model(finder, config.objects.reference)
    if "face" in config.detect.detectors:
        return load_face_model(settings, names=config.faces.names)
    return load_model(settings)


def make_face_finder(config: Config) -> FaceFinder | None:
    """Return what finds faces; None where faces are not what is judged. Raises `ConfigError`, `ModelError`."""
    if "face" not in config.detectors:
        return None
    if config.gate.enabled:
        raise ConfigError("the detector 'face' needs every face checked; switch [gate] off")
    if config.model.path is None:
        raise ConfigError("a face camera needs model.path: the faces.onnx that `taintwatch face train` wrote")
    if config.detect.fill is not None:
        raise ConfigError("a face camera fills with the mean face of its people; leave detect.fill out")
    return make_finder(config.faces.finder, smallest=config.faces.smallest)
