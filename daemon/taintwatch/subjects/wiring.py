"""From a configuration to what in each frame is judged by itself."""

from __future__ import annotations

from taintwatch.config.sections import Config
from taintwatch.config.subjects import MaskSection, ObjectsSection, RegionSection
from taintwatch.subjects.expander import Expander
from taintwatch.subjects.faces import FaceExpander
from taintwatch.subjects.objects import CropLimits, ObjectExpander
from taintwatch.subjects.regions import Masked, Outline, RegionExpander
from taintwatch.subjects.tracking import BoxTracker
from taintwatch_models.errors import ConfigError
from taintwatch_models.faces.finder import FaceFinder, make_finder
from taintwatch_models.objects.finder import FinderSettings, ObjectFinder

__all__ = ["make_expander", "make_face_finder"]


def make_expander(config: Config, find_faces: FaceFinder | None, size: int) -> Expander:
    """Return what expands frames. `size`: side of the classifier's input, pixels. Raises `ModelError`, `DeviceError`.

    `find_faces`: from `make_face_finder`; None where faces are not what is judged.
    """
    regions = {camera.name: tuple(_outline(region) for region in camera.region) for camera in config.camera}
    masks = {camera.name: tuple(_outline(mask) for mask in camera.mask) for camera in config.camera}
    if find_faces is not None:
        expander: Expander = FaceExpander(find_faces, size=size)
    elif config.objects.model is not None:
        expander = _object_expander(config.objects, config.objects.model, config, regions)
    else:
        expander = RegionExpander(regions)
    return Masked(expander, masks)


def _object_expander(
    section: ObjectsSection, model: str, config: Config, regions: dict[str, tuple[Outline, ...]]
) -> ObjectExpander:
    settings = FinderSettings(
        path=model,
        labels=section.labels,
        preprocessing=section.preprocessing,
        decoder=section.decoder,
        classes=section.classes,
        confidence=section.confidence,
        overlap=section.overlap,
        device=config.model.device,
        threads=config.model.threads,
    )
    return ObjectExpander(
        ObjectFinder(settings),
        limits=CropLimits(section.smallest, section.margin),
        tracker=BoxTracker(patience_s=section.patience_s, most=section.most),
        regions=regions,
    )


def _outline(section: MaskSection) -> Outline:
    name = section.name if isinstance(section, RegionSection) else ""
    if section.box is not None:
        return Outline.of_box(section.box, name)
    return Outline(section.polygon or (), name)


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
