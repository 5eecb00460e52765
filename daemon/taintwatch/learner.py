"""Learning as a state of the daemon: it takes frames of each camera that was not learnt yet, learns, and arms it."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable

import numpy as np

from taintwatch.alarm_rates import AlarmRates
from taintwatch.arming import ArmingState, CameraLearning, LearningPlan
from taintwatch.deadlines import Deadline
from taintwatch.detection_stack import ConfigurationChange
from taintwatch.evidence.audit import AuditLog
from taintwatch.frame_sample import FrameSample
from taintwatch.pipeline import Step
from taintwatch.records import AlertState
from taintwatch.recovery import LOAD_LIMIT_S
from taintwatch.references import References, store
from taintwatch.refits import Refits
from taintwatch_models.detection.detector import COMBINED
from taintwatch_models.detection.general import general_pictures
from taintwatch_models.detection.learning import learn
from taintwatch_models.detection.reference import write_reference
from taintwatch_models.errors import TaintwatchError
from taintwatch_models.radar_file import RadarFile
from taintwatch_models.records import Frame, Prediction

__all__ = ["Learner"]

_log = logging.getLogger(__name__)

TOLD_EVERY = 0.1  # of the frames, between two lines in the log
LOOK_S = 2.0  # between two looks for what is asked
MOST_ALERTED = 5  # frames that raised an alert while a camera is learnt, kept to be judged by what was learnt
SCHEDULE = "schedule"


class Learner:
    """Takes frames of cameras that are not learnt yet, thinned in time, and learns them in a thread of its own.

    `see`, `poll` and `done` are called by the service's thread; any thread may ask `unarmed` and `states`. What comes
    of it is a `ConfigurationChange` with a detection stack that judges the camera by its own reference.

    Frames that come while an alert stands, and just before and after it, are left out: what is learnt raises nothing
    any more. A camera that was learnt is learnt again where `refits` asks for it or the plan's time is over, and judged
    by what was learnt before until then. For that, every frame that looks suspicious is left out, too.
    """

    def __init__(
        self,
        radar: RadarFile,
        references: References,
        cameras: tuple[str, ...],
        plan: LearningPlan,
        prepare: Callable[[], ConfigurationChange],
        *,
        refits: Refits | None = None,
        audit: AuditLog | None = None,
        deadline: Deadline | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`prepare` loads the model again, with the references that there are then; it may take long.

        `audit` is told what was learnt, of how many frames, and who asked.
        """
        self.refits = refits or Refits(references.folder)
        self._radar, self._references, self._plan, self._prepare = radar, references, plan, prepare
        self._deadline, self._clock, self._audit = deadline or Deadline("learning"), clock, audit or AuditLog(None)
        self._samples = {camera: self._sample() for camera in cameras if not references.learnt(camera)}
        self._asked: dict[str, str] = {}
        """The cameras that are learnt again, and who asked."""
        self._told: dict[str, float] = {}
        self._rest_until: dict[str, float] = {}
        self._fitting: str | None = None
        self._thread: threading.Thread | None = None
        self._result: ConfigurationChange | str | None = None
        self._armed: set[str] = set(cameras) - set(self._samples)
        self._rates = {camera: AlarmRates() for camera in cameras}
        self._drifting: frozenset[str] = frozenset()
        self._held_up: set[str] = set()  # of which that was said
        self._alerted: dict[str, deque[Frame]] = {}
        self._next_look = clock()

    @property
    def unarmed(self) -> frozenset[str]:
        """The cameras that are still judged by the general reference."""
        return frozenset(self._samples.keys() - self._asked.keys())

    def states(self) -> dict[str, CameraLearning]:
        """Return how far each camera is."""
        drifting = self._drifting
        found = {
            camera: CameraLearning(ArmingState.DRIFTING if camera in drifting else ArmingState.ARMED, 1.0)
            for camera in tuple(self._armed)
        }
        for camera, sample in list(self._samples.items()):
            state = ArmingState.FITTING if camera == self._fitting else ArmingState.COLLECTING
            found[camera] = CameraLearning(ArmingState.REFITTING if camera in self._asked else state, sample.share)
        return found

    def see(self, step: Step) -> None:
        """Take what was classified where it is time for another frame."""
        camera, now_ns = step.frame.camera, step.frame.captured_ns
        if not isinstance(step.outcome, Prediction) or camera not in self._rates:
            return
        stands = step.alert is not None or any(vote.raised for vote in step.votes)
        if camera in self._armed and not stands:
            self._rates[camera].see(step.verdicts, step.frame.wall_ns)
        sample = self._samples.get(camera)
        if sample is None or camera == self._fitting:
            return
        if sample.began_ns is None:
            self._begin(camera)
        if stands:
            sample.disturb(now_ns)
        if step.alert is not None and step.alert.state is AlertState.RAISED:
            self._alerted.setdefault(camera, deque(maxlen=MOST_ALERTED)).append(step.outcome.frame)
        if not sample.due(now_ns):
            return
        suspicious = any(verdict.suspicious for verdict in step.verdicts)
        if suspicious and camera in self._asked:
            sample.leave_out(now_ns)
        elif sample.take(now_ns, step.outcome.frame.image, self._radar.info.preprocessing, suspicious=suspicious):
            self._tell(camera, sample)

    def poll(self) -> ConfigurationChange | None:
        """Begin to learn a camera whose frames are taken; return the change that arms one. Then call `done`."""
        if self._thread is not None and not self._thread.is_alive():
            self._thread = None
            return self._take()
        if self._clock() >= self._next_look:
            self._next_look = self._clock() + LOOK_S
            self._look()
        if self._thread is None:
            ready = next((name for name, each in self._samples.items() if each.full), None)
            if ready is not None:
                self._fitting = ready
                self._thread = threading.Thread(target=self._fit, args=(ready,), name="learning", daemon=True)
                self._thread.start()
        return None

    def done(self) -> None:
        """Say that the camera is armed."""
        if self._fitting is None:
            return
        camera, self._fitting = self._fitting, None
        sample, by = self._samples.pop(camera), self._asked.pop(camera, "daemon")
        self._armed.add(camera)
        self._rates[camera] = AlarmRates()
        self._alerted.pop(camera, None)
        self._write(self.refits.drop, camera)
        self._audit.write("learnt", by, camera=camera, **sample.counts())
        _log.warning("camera %s: armed", camera)

    def _sample(self) -> FrameSample:
        plan = self._plan
        return FrameSample(round(plan.seconds / plan.frames * 1e9), plan.frames, round(plan.margin_s * 1e9))

    def _begin(self, camera: str) -> None:
        again = f" again, as asked by {self._asked[camera]}" if camera in self._asked else ""
        minutes = self._plan.seconds / 60
        _log.warning("camera %s: learning%s for %.3g minutes; keep attacks away from it", camera, again, minutes)

    def _tell(self, camera: str, sample: FrameSample) -> None:
        if sample.share - self._told.get(camera, 0.0) >= TOLD_EVERY:
            self._told[camera] = sample.share
            _log.info("camera %s: %d of %d frames taken to learn", camera, len(sample.pixels), self._plan.frames)

    def _look(self) -> None:
        """Begin and end refits as they are asked for now, and propose them where a camera drifts."""
        if self._plan.refit_s is not None:
            self._schedule(self._plan.refit_s)
        wanted = {camera: asked.by for camera, asked in self.refits.all().items() if camera in self._rates}
        for camera in wanted.keys() & self._armed:
            self._armed.discard(camera)
            self._samples[camera], self._asked[camera], self._told[camera] = self._sample(), wanted[camera], 0.0
        for camera in [each for each in self._asked if each != self._fitting]:
            if camera not in wanted:
                self._leave(camera, "it was taken back")
            elif self._samples[camera].held_up(2 * self._plan.seconds):
                count = self._samples[camera].left_out
                self._leave(camera, f"{count} frames that were due looked suspicious; look at what is before it")
        for camera in self.unarmed - self._held_up:
            self._say_held_up(camera, self._samples[camera])
        self._propose()

    def _say_held_up(self, camera: str, sample: FrameSample) -> None:
        if sample.held_up(self._plan.seconds):
            self._held_up.add(camera)
            _log.warning(
                "camera %s is not learnt yet: %d frames that were due came with an alert; look at what is before "
                "it, and dismiss the alert where nothing is wrong", camera, sample.left_out,
            )  # fmt: skip

    def _schedule(self, refit_s: float) -> None:
        """Ask for what is older than the plan says; what came to nothing rests for a tenth of that time."""
        for camera in self._armed:
            if self._references.age_s(camera) >= refit_s and self._clock() >= self._rest_until.get(camera, 0.0):
                self._rest_until[camera] = self._clock() + refit_s / 10
                self._write(self.refits.ask, camera, SCHEDULE)

    def _leave(self, camera: str, reason: str) -> None:
        """End a refit; the camera is judged as before."""
        del self._samples[camera], self._asked[camera]
        self._armed.add(camera)
        self._write(self.refits.drop, camera)
        _log.warning("camera %s is not learnt again: %s", camera, reason)

    def _write(self, call: Callable[..., object], *arguments: str) -> None:
        """Write a request where that can be: a full disk must not stop the watch."""
        try:
            call(*arguments)
        except TaintwatchError as error:
            _log.error("%s", error)

    def _propose(self) -> None:
        target = self._plan.target_fpr
        found = {
            camera: rate
            for camera in self._armed
            for rate in self._rates[camera].now()
            if rate.detector == COMBINED and rate.drifted(target)
        }
        for camera in found.keys() - self._drifting:
            rate = found[camera]
            _log.warning(
                "camera %s: %d of its last %d frames without an alert look suspicious, clearly more than the %g that "
                "was accepted; if nothing is wrong there, learn it again (taintwatch calibrate refit %s, or the page)",
                camera, rate.alarms, rate.frames, target, camera,
            )  # fmt: skip
        self._drifting = frozenset(found)

    def _take(self) -> ConfigurationChange | None:
        result, self._result = self._result, None
        if isinstance(result, ConfigurationChange):
            return result
        camera, self._fitting = self._fitting or "", None
        reason = result or "it failed unexpectedly"
        if camera in self._asked:
            self._leave(camera, reason)
            return None
        self._samples[camera], self._told[camera] = self._sample(), 0.0
        _log.error("camera %s could not be learnt and is learnt anew: %s", camera, reason)
        return None

    # What follows runs in the thread.

    def _fit(self, camera: str) -> None:
        sample, path = self._samples[camera], self._references.path(camera)
        self._deadline.arm(LOAD_LIMIT_S)
        if sample.suspicious:
            _log.warning(
                "camera %s: %d of the %d frames that it learns from looked suspicious; if an attack was before it, "
                "remove %s and start again", camera, sample.suspicious, len(sample.pixels), path,
            )  # fmt: skip
        try:
            reference = learn(
                self._radar,
                np.stack(sample.pixels),
                general_pictures(self._radar.info.preprocessing),
                footage=True,
                description=f"camera {camera}",
                threads=self._plan.threads,
                progress=lambda done, total: self._deadline.arm(LOAD_LIMIT_S),
            )
            store(path, lambda target: write_reference(reference, target))
            change = self._prepare()
            self._look_back(camera, sample, change)
            self._result = change
        except TaintwatchError as error:
            self._result = str(error)
        finally:
            self._deadline.disarm()

    def _look_back(self, camera: str, sample: FrameSample, change: ConfigurationChange) -> None:
        """Judge what raised an alert meanwhile by what was learnt, and say what it does not see any more."""
        frames, detection = list(self._alerted.get(camera, ())), change.detection
        if detection is None or not frames:
            return
        outcomes = [outcome for frame in frames for outcome in detection.classifier([frame])]
        judged = [[detector(outcome) for detector in detection.detectors] for outcome in outcomes
                  if isinstance(outcome, Prediction)]  # fmt: skip
        sample.unseen = sum(not any(verdict.suspicious for verdict in verdicts) for verdicts in judged)
        if sample.unseen:
            _log.warning(
                "camera %s: of %d frames that raised an alert while it was learnt, %d are not suspicious by what was "
                "learnt; if they showed an attack, remove %s and start again",
                camera, len(judged), sample.unseen, self._references.path(camera),
            )  # fmt: skip
