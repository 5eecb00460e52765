"""From a trained face model to a classifier of aligned faces and its detector."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from taintwatch_models.calibration_file import Calibration, TightCalibration
from taintwatch_models.criteria import Criteria
from taintwatch_models.detectors import make_detectors
from taintwatch_models.errors import BadFrame, ConfigError, ModelError
from taintwatch_models.faces.bands import Bands
from taintwatch_models.faces.detector import FaceDetector, KnownFaces, StrangerClassifier
from taintwatch_models.faces.face_file import read_face_file, settings_path
from taintwatch_models.graph.transforms import keep_outputs
from taintwatch_models.image_file import read_image
from taintwatch_models.loading import LoadedModel, load_radar_file
from taintwatch_models.model_files import ModelSettings
from taintwatch_models.onnx_radar import OnnxRadar
from taintwatch_models.onnx_session import open_session
from taintwatch_models.radar_classifier import RadarClassifier
from taintwatch_models.radar_file import RadarFile
from taintwatch_models.records import Detector
from taintwatch_models.self_test import require_sight

__all__ = ["load_face_model"]


def load_face_model(settings: ModelSettings, *, names: bool = True) -> LoadedModel:
    """Load what `taintwatch face train` wrote. `names=False` calls the people `person 1`, `person 2`, ...

    Raises `ModelError`, `CalibrationError`, `DeviceError`, `ConfigError`.
    """
    if settings.path is None:
        raise ConfigError("a face camera needs model.path: the faces.onnx that `taintwatch face train` wrote")
    radar = load_radar_file(settings)
    if not names:
        radar = _nameless(radar)
    info = radar.info
    path = Path(settings.path)
    face_file = read_face_file(settings_path(path), model_sha256=info.source_sha256)
    fill = path.parent / face_file.fill
    try:
        picture = read_image(fill)
    except BadFrame as error:
        raise ModelError(f"the mean face {error}; run `taintwatch face train` again") from None
    calibration = Calibration(
        model_hash=info.source_sha256,
        model_name=info.name,
        target_fpr=face_file.target_fpr,
        tight=TightCalibration(saliency_threshold=face_file.saliency_threshold, fill=str(fill)),
    )
    variants = tuple(dict.fromkeys(["tight", *(name for name in settings.variants if name != "face")]))
    engine = OnnxRadar(
        radar,
        variants,
        calibration,
        session=settings.session,
    )
    faces = RadarClassifier(engine)
    faces.warm_up(settings.batches)
    classifier = StrangerClassifier(faces, face_file.stranger_below)
    bands = _bands(radar, settings, np.asarray(picture, np.uint8))
    judge = FaceDetector(face_file, bands, info.labels, info.preprocessing)
    others = make_detectors(Criteria(tuple(name for name in settings.variants if name != "face"), calibration), info)
    detectors = _in_order(settings.variants, (judge, *(KnownFaces(other) for other in others)))
    warnings = require_sight(classifier, detectors, calibration)
    return LoadedModel(classifier, detectors, calibration, info.preprocessing, warnings)


def _bands(radar: RadarFile, settings: ModelSettings, mean: NDArray[np.uint8]) -> Bands:
    graph = keep_outputs(radar.proto, ["logits"]).SerializeToString()
    session, _ = open_session(graph, settings.session)
    return Bands(lambda inputs: session.run(None, {radar.info.input: inputs})[0], radar.info.preprocessing([mean]))


def _nameless(radar: RadarFile) -> RadarFile:
    labels = tuple(f"person {number}" for number in range(1, radar.info.classes + 1))
    return RadarFile(radar.proto, replace(radar.info, labels=labels))


def _in_order(names: Sequence[str], detectors: Sequence[Detector]) -> tuple[Detector, ...]:
    made = {detector.name: detector for detector in detectors}
    return tuple(made[name] for name in names)
