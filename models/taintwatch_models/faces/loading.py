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
from taintwatch_models.onnx_session import open_session, run_session
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
    info, path = radar.info, Path(settings.path)
    face_file = read_face_file(settings_path(path), model_sha256=info.source_sha256)
    mean = path.parent / face_file.fill
    criteria = Criteria(
        tuple(name for name in settings.detectors if name != "face"),
        Calibration(
            model_hash=info.source_sha256,
            model_name=info.name,
            target_fpr=face_file.target_fpr,
            tight=TightCalibration(saliency_threshold=face_file.saliency_threshold, fill=str(mean)),
        ),
    )
    bands = _bands(radar, settings, mean)
    wanted = tuple(dict.fromkeys(["tight", *criteria.variants]))
    faces = RadarClassifier(OnnxRadar(radar, wanted, criteria.calibration, settings.session))
    faces.warm_up(settings.batches)
    classifier = StrangerClassifier(faces, face_file.stranger_below)
    judge = FaceDetector(face_file, bands, info.labels, info.preprocessing)
    others = make_detectors(criteria, info)
    detectors = _in_order(settings.detectors, (judge, *(KnownFaces(other) for other in others)))
    warnings = require_sight(classifier, detectors, criteria.calibration)
    return LoadedModel(classifier, detectors, criteria.calibration, info.preprocessing, warnings)


def _bands(radar: RadarFile, settings: ModelSettings, mean: Path) -> Bands:
    """Open what looks at bands of a face; `mean` is the picture of the mean face. Raises `ModelError`."""
    try:
        picture = read_image(mean)
    except BadFrame as error:
        raise ModelError(f"the mean face {error}; run `taintwatch face train` again") from None
    graph = keep_outputs(radar.proto, ["logits"]).SerializeToString()
    session, provider = open_session(graph, settings.session)

    def logits(inputs: NDArray[np.float32]) -> NDArray[np.float32]:
        found: NDArray[np.float32] = run_session(session, ["logits"], {radar.info.input: inputs}, provider)[0]
        return found

    return Bands(logits, radar.info.preprocessing([picture]))


def _nameless(radar: RadarFile) -> RadarFile:
    labels = tuple(f"person {number}" for number in range(1, radar.info.classes + 1))
    return RadarFile(radar.proto, replace(radar.info, labels=labels))


def _in_order(names: Sequence[str], detectors: Sequence[Detector]) -> tuple[Detector, ...]:
    made = {detector.name: detector for detector in detectors}
    return tuple(made[name] for name in names)
