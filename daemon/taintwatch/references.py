"""What was learnt at this site: a reference for each camera, kept in the state folder, and a model that judges by them.

Cameras see different scenes, so each is judged by what was learnt before it. One that was not learnt yet is judged by
the general reference, which knows general pictures alone.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from taintwatch.config.sections import Config
from taintwatch_models.classifier import Classifier, ModelCard, Rejected
from taintwatch_models.detection.detector import COMBINED
from taintwatch_models.detection.general import general_pictures
from taintwatch_models.detection.learning import learn
from taintwatch_models.detection.reference import version, write_reference
from taintwatch_models.errors import CalibrationError, ConfigError
from taintwatch_models.loading import LoadedModel, open_model
from taintwatch_models.model_files import ModelSettings, calibration_path, default_detectors, is_torch
from taintwatch_models.radar_file import RadarFile
from taintwatch_models.records import Detector, Frame, Prediction, Verdict

__all__ = ["GENERAL", "References", "StoppedError", "make_general", "open_learnt", "state_folder", "wants_learning"]

GENERAL = "general"
"""What stands for the general reference where a camera's name would."""


def wants_learning(config: Config, settings: ModelSettings) -> bool:
    """Whether the model is to be learnt before each camera: it has no calibration, and nobody said how to judge.

    `settings`: the model's, from `config`. The bundled model is calibrated.
    """
    return (
        config.learn.enabled
        and not config.detect.detectors
        and not config.gate.enabled
        and config.detect.fill is None
        and settings.path is not None
        and not is_torch(settings.path)
        and settings.calibration is None
        and settings.reference is None
        and default_detectors(settings) != (COMBINED,)
        and not calibration_path(settings).is_file()
    )


def state_folder(config: Config) -> Path:
    """Return where what is learnt is kept: as configured, systemd's state folder, or the user's."""
    if config.learn.folder is not None:
        return Path(config.learn.folder)
    given = os.environ.get("STATE_DIRECTORY", "").partition(":")[0]
    if given:
        return Path(given)
    home = os.environ.get("XDG_STATE_HOME") or "~/.local/state"
    return Path(home).expanduser() / "taintwatch"


@dataclass(frozen=True, slots=True)
class References:
    """The references of one model in the state folder.

    Those of an earlier version of Taintwatch lie beside them, untouched for the way back; cameras are learnt anew.
    """

    folder: Path
    model_hash: str

    def path(self, camera: str) -> Path:
        """Return where a camera's reference is, or should be; of `GENERAL` the general one."""
        own = self.folder / "references" / f"v{version()}" / self.model_hash[:16]
        return own / "general.npz" if camera == GENERAL else own / "cameras" / f"{camera}.npz"

    def learnt(self, camera: str) -> bool:
        """Whether this camera was learnt."""
        return self.path(camera).is_file()

    def age_s(self, camera: str) -> float:
        """Return how long ago a camera was learnt; 0 where it was not."""
        try:
            return max(0.0, time.time() - self.path(camera).stat().st_mtime)
        except OSError:
            return 0.0

    def used(self, camera: str) -> Path:
        """Return what a camera is judged by now."""
        return self.path(camera if self.learnt(camera) else GENERAL)


class StoppedError(Exception):
    """Learning was told to stop; nothing was kept."""


def make_general(
    references: References,
    radar: RadarFile,
    threads: int,
    progress: Callable[[int, int], None],
    stopped: Callable[[], bool] = lambda: False,
) -> None:
    """Learn the general reference where it is missing: general pictures alone, which takes a minute or so.

    `stopped` is asked after each batch. Raises `StoppedError` where it says so, `ConfigError` where the state folder
    cannot be written.
    """

    def step(done: int, total: int) -> None:
        if stopped():
            raise StoppedError
        progress(done, total)

    if references.learnt(GENERAL):
        return
    pictures = general_pictures(radar.info.preprocessing)
    own, others = pictures[::2], pictures[1::2]
    reference = learn(radar, own, others, description="general pictures", threads=threads, progress=step)
    store(references.path(GENERAL), lambda path: write_reference(reference, path))


def store(path: Path, write: Callable[[Path], None]) -> None:
    """Write below the state folder, which is made. Raises `ConfigError` where that cannot be."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        write(path)
    except (OSError, CalibrationError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise ConfigError(f"what is learnt cannot be kept in {path.parent}: {reason}; set learn.folder") from error


def open_learnt(
    radar: RadarFile, settings: ModelSettings, references: References, cameras: Sequence[str]
) -> LoadedModel:
    """Open the model once for each reference that one of the cameras is judged by. Raises what `open_model` raises."""
    paths = {camera: references.used(camera) for camera in cameras}
    needed = dict.fromkeys([references.path(GENERAL), *paths.values()])
    limits = settings.second_looks
    if limits is not None and limits.share is not None:  # each has its own budget
        limits = replace(limits, share=limits.share / max(1, len(set(paths.values()))))
    models = {
        path: open_model(radar, replace(settings, reference=str(path), detectors=(COMBINED,), second_looks=limits))
        for path in needed
    }
    general = models[references.path(GENERAL)]
    if len(models) == 1:
        return general
    own = {camera: models[path] for camera, path in paths.items()}
    classifier = _RoutedClassifier(general.classifier, {name: model.classifier for name, model in own.items()})
    detector = _RoutedDetector(general.detectors[0], {name: model.detectors[0] for name, model in own.items()})
    return replace(general, classifier=classifier, detectors=(detector,))


class _RoutedClassifier:
    """Gives each camera's frames to the classifier with that camera's reference."""

    def __init__(self, default: Classifier, own: Mapping[str, Classifier]) -> None:
        self._default, self._own = default, own

    @property
    def card(self) -> ModelCard:
        return self._default.card

    def __call__(self, frames: Sequence[Frame]) -> list[Prediction | Rejected]:
        outcomes: dict[int, Prediction | Rejected] = {}
        for camera in dict.fromkeys(frame.camera for frame in frames):
            rows = [row for row, frame in enumerate(frames) if frame.camera == camera]
            found = self._own.get(camera, self._default)([frames[row] for row in rows])
            outcomes |= dict(zip(rows, found, strict=True))
        return [outcomes[row] for row in range(len(frames))]


class _RoutedDetector:
    """Judges each camera's frames by that camera's threshold."""

    def __init__(self, default: Detector, own: Mapping[str, Detector]) -> None:
        self._default, self._own = default, own

    @property
    def name(self) -> str:
        return self._default.name

    def __getattr__(self, name: str) -> Any:
        return getattr(self._default, name)

    def __call__(self, prediction: Prediction) -> Verdict:
        return self._own.get(prediction.frame.camera, self._default)(prediction)
