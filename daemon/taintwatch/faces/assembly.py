"""From a configuration to what watches and judges faces."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from taintwatch.config.sections import Config
from taintwatch.deadlines import Deadlines
from taintwatch.faces.watching import FaceBook, FaceVoter, FaceWatch
from taintwatch.recovery import RecoveringClassifier
from taintwatch.runtime import DetectionStack
from taintwatch.vote.hold import Hold
from taintwatch.vote.settings import policy_from_settings
from taintwatch_models.classifier import Classifier
from taintwatch_models.errors import ConfigError
from taintwatch_models.faces.detect import make_detector
from taintwatch_models.faces.face_file import read_face_file, settings_path
from taintwatch_models.faces.loading import load_face_model
from taintwatch_models.loading import LoadedModel, ModelSettings

__all__ = ["make_face_detection"]


def make_face_detection(
    config: Config, settings: ModelSettings, deadlines: Deadlines
) -> tuple[LoadedModel, DetectionStack]:
    """Load the face model and make what judges with it.

    Raises `ModelError`, `CalibrationError`, `DeviceError`, `ConfigError`.
    """
    if settings.path is None:
        raise ConfigError("a face camera needs model.path: the faces.onnx that `taintwatch face train` wrote")
    if settings.fill is not None:
        raise ConfigError("a face camera fills with the mean face of its people; leave detect.fill out")
    path, names = Path(settings.path), config.faces.names
    find = make_detector(config.faces.finder, smallest=config.faces.smallest)
    voter = _voter(config)
    model = load_face_model(settings, names=names)
    card = model.classifier.card
    face_file = read_face_file(settings_path(path), model_sha256=card.model_hash)
    watch = FaceWatch(find, people=len(card.labels), stranger_below=face_file.stranger_below, size=card.input_size[0])
    deadline = deadlines.add("model")

    def load(wanted: ModelSettings) -> Classifier:
        return load_face_model(wanted, names=names).classifier

    on_cpu = replace(settings, device="cpu", providers=(), require_device=False)
    classifier = RecoveringClassifier(
        model.classifier,
        lambda: load(settings),
        (lambda: load(on_cpu)) if config.model.fallback == "cpu" else None,
        deadline=deadline,
    )

    def release() -> None:
        classifier.close()
        deadlines.remove(deadline)

    tracker = FaceBook(update_every_s=config.publish.update_s)
    return model, DetectionStack(
        classifier, model.detectors, voter, tracker, classifier.degraded, release, model, watch
    )


def _voter(config: Config) -> FaceVoter:
    section = config.vote
    return FaceVoter(
        policy_from_settings(section.policy, **section.options()),
        combine=section.combine,
        detectors=section.detectors or config.detect.detectors,
        hold=Hold(section.minimum_hold_s, section.cool_down_s),
        gap_s=section.gap_s,
    )
