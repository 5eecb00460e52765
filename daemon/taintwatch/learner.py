"""Learning as a state of the daemon: it takes frames of each camera that was not learnt yet, learns, and arms it."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from taintwatch.deadlines import Deadline
from taintwatch.detection_stack import ConfigurationChange
from taintwatch.pipeline import Step
from taintwatch.recovery import LOAD_LIMIT_S
from taintwatch.references import References, store
from taintwatch_models.detection.general import general_pictures
from taintwatch_models.detection.learning import learn
from taintwatch_models.detection.reference import write_reference
from taintwatch_models.errors import BadFrame, TaintwatchError
from taintwatch_models.radar_file import RadarFile
from taintwatch_models.records import Prediction

__all__ = ["ArmingState", "CameraLearning", "Learner", "LearningPlan"]

_log = logging.getLogger(__name__)

TOLD_EVERY = 0.1  # of the frames, between two lines in the log


class ArmingState(StrEnum):
    """What a camera is judged by."""

    COLLECTING = "learning"
    """The general reference, while its own frames are taken."""
    FITTING = "arming"
    """The same, while its own reference is made of them."""
    ARMED = "armed"
    """Its own reference, or the calibration that the model came with."""


@dataclass(frozen=True, slots=True)
class LearningPlan:
    """How much is learnt of each camera."""

    seconds: float
    frames: int
    threads: int = 0


@dataclass(slots=True)
class _Collection:
    """The frames of one camera so far."""

    pixels: list[NDArray[np.uint8]] = field(default_factory=list)
    began_ns: int | None = None
    next_ns: int = 0
    suspicious: int = 0
    told: float = 0.0


@dataclass(frozen=True, slots=True)
class CameraLearning:
    """How far a camera is."""

    state: ArmingState
    share: float
    """Of its frames that are taken, in [0, 1]."""


class Learner:
    """Takes frames of cameras that are not learnt yet, thinned in time, and learns them in a thread of its own.

    `see`, `poll` and `done` are called by the service's thread; any thread may ask `unarmed` and `states`. What comes
    of it is a `ConfigurationChange` with a detection stack that judges the camera by its own reference.
    """

    def __init__(
        self,
        radar: RadarFile,
        references: References,
        cameras: tuple[str, ...],
        plan: LearningPlan,
        prepare: Callable[[], ConfigurationChange],
        *,
        deadline: Deadline | None = None,
    ) -> None:
        """`prepare` loads the model again, with the references that there are then; it may take long."""
        self._radar, self._references, self._plan, self._prepare = radar, references, plan, prepare
        self._deadline = deadline or Deadline("learning")
        self._collections = {camera: _Collection() for camera in cameras if not references.learnt(camera)}
        self._fitting: str | None = None
        self._thread: threading.Thread | None = None
        self._result: ConfigurationChange | str | None = None
        self._armed: set[str] = set(cameras) - set(self._collections)

    @property
    def unarmed(self) -> frozenset[str]:
        """The cameras that are still judged by the general reference."""
        return frozenset(self._collections)

    def states(self) -> dict[str, CameraLearning]:
        """Return how far each camera is."""
        found = {camera: CameraLearning(ArmingState.ARMED, 1.0) for camera in self._armed}
        for camera, collection in list(self._collections.items()):
            state = ArmingState.FITTING if camera == self._fitting else ArmingState.COLLECTING
            found[camera] = CameraLearning(state, min(1.0, len(collection.pixels) / self._plan.frames))
        return found

    def see(self, step: Step) -> None:
        """Take what was classified where it is time for another frame."""
        collection = self._collections.get(step.frame.camera)
        if collection is None or step.frame.camera == self._fitting or not isinstance(step.outcome, Prediction):
            return
        now_ns = step.frame.captured_ns
        if collection.began_ns is None:
            collection.began_ns = collection.next_ns = now_ns
            _log.warning(
                "camera %s: learning for %.3g minutes; keep attacks away from it", step.frame.camera,
                self._plan.seconds / 60,
            )  # fmt: skip
        if now_ns < collection.next_ns or len(collection.pixels) >= self._plan.frames:
            return
        collection.next_ns = now_ns + round(self._plan.seconds / self._plan.frames * 1e9)
        try:
            collection.pixels.append(self._radar.info.preprocessing.pixels(step.outcome.frame.image))
        except BadFrame:
            return
        collection.suspicious += any(verdict.suspicious for verdict in step.verdicts)
        self._tell(step.frame.camera, collection)

    def poll(self) -> ConfigurationChange | None:
        """Begin to learn a camera whose frames are taken; return the change that arms one. Then call `done`."""
        if self._thread is not None and not self._thread.is_alive():
            self._thread = None
            return self._take()
        if self._thread is None:
            ready = next((name for name, each in self._collections.items() if self._is_ready(each)), None)
            if ready is not None:
                self._fitting = ready
                self._thread = threading.Thread(target=self._fit, args=(ready,), name="learning", daemon=True)
                self._thread.start()
        return None

    def done(self) -> None:
        """Say that the camera is armed."""
        if self._fitting is not None:
            camera, self._fitting = self._fitting, None
            del self._collections[camera]
            self._armed.add(camera)
            _log.warning("camera %s: armed", camera)

    def _is_ready(self, collection: _Collection) -> bool:
        return len(collection.pixels) >= self._plan.frames

    def _tell(self, camera: str, collection: _Collection) -> None:
        share = len(collection.pixels) / self._plan.frames
        if share - collection.told >= TOLD_EVERY:
            collection.told = share
            _log.info("camera %s: %d of %d frames taken to learn", camera, len(collection.pixels), self._plan.frames)

    def _take(self) -> ConfigurationChange | None:
        result, self._result = self._result, None
        if isinstance(result, ConfigurationChange):
            return result
        camera, self._fitting = self._fitting or "", None
        self._collections[camera] = _Collection()
        _log.error("camera %s could not be learnt and is learnt anew: %s", camera, result or "it failed unexpectedly")
        return None

    # What follows runs in the thread.

    def _fit(self, camera: str) -> None:
        collection = self._collections[camera]
        self._deadline.arm(LOAD_LIMIT_S)
        if collection.suspicious:
            _log.warning(
                "camera %s: %d of the %d frames that it learns from looked suspicious; if an attack was before it, "
                "remove %s and start again", camera, collection.suspicious, len(collection.pixels),
                self._references.path(camera),
            )  # fmt: skip
        try:
            reference = learn(
                self._radar,
                np.stack(collection.pixels),
                general_pictures(self._radar.info.preprocessing),
                footage=True,
                description=f"camera {camera}",
                threads=self._plan.threads,
                progress=lambda done, total: self._deadline.arm(LOAD_LIMIT_S),
            )
            store(self._references.path(camera), lambda path: write_reference(reference, path))
            self._result = self._prepare()
        except TaintwatchError as error:
            self._result = str(error)
        finally:
            self._deadline.disarm()
