"""The daemon itself: drives the pipeline, publishes, reports, and stops cleanly."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Protocol

from taintwatch.alerts.messages import MessageError
from taintwatch.cameras.camera import Camera
from taintwatch.cameras.camera_set import CameraSet
from taintwatch.cameras.camera_status import CameraState, CameraStatus
from taintwatch.config.digest import config_hash
from taintwatch.deadlines import Deadlines
from taintwatch.detection_stack import ConfigurationChange
from taintwatch.evidence.media import picture_of
from taintwatch.pipeline import Step, watch
from taintwatch.records import Alert, AlertState
from taintwatch.review.reviewer import Reviewer
from taintwatch.runtime import Runtime
from taintwatch.status import Ending, Meter, Reporter, RunStatus, Summary
from taintwatch_models.classifier import Rejected
from taintwatch_models.records import Frame

__all__ = ["Changes", "Service"]

_log = logging.getLogger(__name__)

WAIT_S = 0.2  # how soon a signal is noticed while no frame comes
LOOK_S = 0.2  # how often the cameras' states are looked at
CLOSE_GRACE_S = 30.0  # beyond `stop_s`: closing that takes longer hangs


class Changes(Protocol):
    """Whatever brings a new configuration: a `Reloader`."""

    def poll(self) -> ConfigurationChange | None:
        """Return what is to be exchanged, where there is something."""
        ...

    def done(self) -> None:
        """It was exchanged."""
        ...


class Service:
    """Watches until the sources end, the limit is reached, or `stopping()` holds. Runs once, in one thread."""

    def __init__(
        self,
        runtime: Runtime,
        reporter: Reporter,
        *,
        stopping: Callable[[], bool],
        changes: Sequence[Changes] = (),
        deadlines: Deadlines | None = None,
        observe: Callable[[Step], None] = lambda step: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`observe` is shown every step. `deadlines` learns that the inference hangs, and forgets removed cameras."""
        self._runtime = runtime
        self._reporter = reporter
        self._stopping = stopping
        self._changes = changes
        self._deadlines = deadlines or Deadlines()
        self._deadline = self._deadlines.add("inference")
        self._observe = observe
        self._clock = clock
        self._meter = Meter(clock)
        self._reviewer = None if runtime.evidence is None else Reviewer(runtime.evidence.dismissals.of)
        self._supply = _FrameLimit(runtime.cameras, runtime.config.limits.max_frames)
        self._next_look = self._next_status = clock()
        self._reconnects: dict[str, int] = {}
        self._closed: set[str] = set()

    def run(self) -> Summary:
        """Watch to the end and return the summary; open alerts are cleared, sockets and cameras closed, come what may.

        Raises `SourceError` where no source could be opened at all.
        """
        runtime, card = self._runtime, self._runtime.detection.classifier.card
        self._reporter.started(card, runtime.cameras.statuses(), runtime.endpoint)
        _log.info("watching with %s on %s, alerts on %s", card.name, card.provider, runtime.endpoint)
        try:
            self._end_what_was_left_open()
            runtime.cameras.start()
            while not self._stopping() and not self._supply.finished:
                self._watch_until_changed()
        finally:
            self._close()
        summary = self._summary()
        _log.info("%s after %d frames with %d alerts", summary.ending.value, summary.frames, summary.alerts)
        self._reporter.finished(summary)
        return summary

    def _end_what_was_left_open(self) -> None:
        """Publish the end of the alerts during which the last start of the daemon was killed."""
        if self._runtime.evidence is not None:
            for alert in self._runtime.evidence.interrupted():
                self._tell(alert)

    def _watch_until_changed(self) -> None:
        """Watch to the end, or until what judges was exchanged: a generator that has begun keeps what it was given."""
        detection = self._runtime.detection
        self._arm_deadline()
        for steps in watch(
            self._supply, detection.classifier, detection.detectors, detection.voter, detection.tracker,
            detection.expander, self._reviewer, max_batch=self._runtime.config.limits.max_batch, wait_s=WAIT_S,
            stopping=self._stopping,
        ):  # fmt: skip
            self._arm_deadline()
            for step in steps:
                self._take(step)
            self._do_what_is_due()
            if self._apply_change():
                return

    def _arm_deadline(self) -> None:
        """Say until when the next batch must have come and been judged."""
        self._deadline.arm(WAIT_S + self._runtime.config.limits.inference_s)

    def _take(self, step: Step) -> None:
        self._meter.see(step)
        self._observe(step)
        if isinstance(step.outcome, Rejected) and _is_round(self._meter.rejected):
            # Every frame may fail in the same way: the first tells, the tenth, the hundredth and so on remind.
            _log.warning(
                "camera %s, frame %d skipped (%d so far): %s",
                step.frame.camera,
                step.frame.index,
                self._meter.rejected,
                step.outcome.reason,
            )
        if step.alert is not None:
            self._tell(step.alert, step.frame)
        if self._runtime.evidence is not None:
            self._runtime.evidence.offer(step.frame, step.alert, step.verdicts)

    def _tell(self, alert: Alert, frame: Frame | None = None) -> None:
        self._meter.see_alert(alert)
        _log.info("camera %s, alert %s %s: %s", alert.camera, alert.event_id, alert.state.value, alert.label_name)
        if self._runtime.publisher is not None:
            self._runtime.identify()
            try:
                self._runtime.publisher.publish_alert(alert, self._picture(alert, frame))
            except MessageError as error:
                _log.error("alert %s was not published: %s", alert.event_id, error)
        self._reporter.alert(alert)

    def _picture(self, alert: Alert, frame: Frame | None) -> bytes | None:
        """Return the picture that goes with the raising of an alert, where one is asked for."""
        if frame is None or alert.state is not AlertState.RAISED or not self._runtime.config.publish.pictures:
            return None
        return picture_of(alert, frame.image)

    def _apply_change(self) -> bool:
        """Take what a reload, or learning, brought into use; return whether there was something."""
        found = next(((source, change) for source in self._changes if (change := source.poll()) is not None), None)
        if found is None:
            return False
        source, change = found
        if change.detection is not None:
            for alert in self._runtime.detection.tracker.close_all():
                self._tell(alert)
        for name in change.removed:
            self._end_alert(name)
            self._reconnects.pop(name, None)
            self._closed.discard(name)
        for camera in self._runtime.apply(change):
            self._retire(camera)
        source.done()
        return True

    def _retire(self, camera: Camera) -> None:
        """Forget a camera that a reload removed, and say the last of it."""
        self._deadlines.remove(camera.deadline)
        if self._runtime.publisher is not None:
            self._publish_status(self._meter.status((camera.status(),), 0))
            self._runtime.publisher.retire(camera.name)

    def _do_what_is_due(self) -> None:
        now = self._clock()
        if now < self._next_look:
            return
        self._next_look = now + LOOK_S
        cameras = self._runtime.camera_statuses()
        for camera in cameras:
            self._follow(camera)
        self._runtime.identify()
        detection = self._runtime.detection
        provider = detection.classifier.card.provider
        opened = len(detection.tracker.open_alerts())
        status = self._meter.status(cameras, opened, provider, detection.degraded(), self._runtime.notice)
        self._reporter.progress(status)
        if now >= self._next_status:
            self._next_status = now + self._runtime.config.publish.status_s
            self._publish_status(status)

    def _follow(self, status: CameraStatus) -> None:
        """Log a reconnection, and clear the alert of a source that has given everything.

        The vote is not told: it sees by the frames' times how long the camera was away (`gap_s`).
        """
        camera = status.camera
        if status.reconnects > self._reconnects.get(camera, 0):
            self._reconnects[camera] = status.reconnects
            _log.info("camera %s is back (%s)", camera, status.source)
        given = status.delivered + status.dropped + status.skipped
        if status.state is CameraState.ENDED and given >= status.captured and camera not in self._closed:
            self._closed.add(camera)
            self._end_alert(camera)

    def _end_alert(self, camera: str) -> None:
        """Clear the alerts of a camera that gives nothing more, and forget its votes and subjects."""
        for alert in self._runtime.detection.tracker.close(camera):
            self._tell(alert)
        self._runtime.detection.voter.forget(camera)
        self._runtime.detection.expander.forget(camera)

    def _publish_status(self, status: RunStatus) -> None:
        if self._runtime.publisher is not None:
            for camera in status.cameras:
                self._runtime.publisher.publish_status(camera)

    def _close(self) -> None:
        """Clear what is open, stop the cameras, say the last of each, and close the socket, within `stop_s`.

        Each is done even where one before it fails.
        """
        give_up = self._clock() + self._runtime.config.limits.stop_s
        self._deadline.arm(self._runtime.config.limits.stop_s + CLOSE_GRACE_S)
        with ExitStack() as closing:  # called back in reverse
            closing.callback(self._deadline.disarm)
            closing.callback(self._runtime.detection.release)
            closing.callback(self._close_evidence)
            closing.callback(self._close_publisher, give_up)
            closing.callback(self._stop_cameras)
            for alert in self._runtime.detection.tracker.close_all():
                self._tell(alert)

    def _stop_cameras(self) -> None:
        if not self._runtime.cameras.stop(self._runtime.config.limits.stop_s / 2):
            _log.warning("a camera did not stop in time and was left behind")
        self._publish_status(self._meter.status(self._runtime.cameras.statuses(), 0))

    def _close_publisher(self, give_up: float) -> None:
        if self._runtime.publisher is not None:
            self._runtime.publisher.close(max(0.1, min(0.5, give_up - self._clock())))

    def _close_evidence(self) -> None:
        if self._runtime.evidence is not None:
            self._runtime.evidence.close(self._runtime.config.limits.stop_s)

    def _summary(self) -> Summary:
        card = self._runtime.detection.classifier.card
        limit = self._supply.reached
        ending = Ending.LIMIT if limit else Ending.STOPPED if self._stopping() else Ending.ENDED
        return self._meter.summary(
            self._runtime.cameras.statuses(),
            ending,
            provider=card.provider,
            model=card.name,
            config_hash=config_hash(self._runtime.config),
        )


class _FrameLimit:
    """Cameras that are finished after so many frames."""

    def __init__(self, cameras: CameraSet, limit: int | None) -> None:
        self._cameras = cameras
        self._left = limit

    @property
    def reached(self) -> bool:
        """Whether the limit was reached."""
        return self._left == 0

    @property
    def finished(self) -> bool:
        """Whether there will be no further frame."""
        return self.reached or self._cameras.finished

    def next_batch(self, max_batch: int, wait_s: float) -> list[Frame]:
        """Return what the cameras give, but never more than is left."""
        room = max_batch if self._left is None else min(max_batch, self._left)
        batch = self._cameras.next_batch(room, wait_s)
        if self._left is not None:
            self._left -= len(batch)
        return batch


def _is_round(count: int) -> bool:
    """Whether `count` is 1, 10, 100, ..."""
    return count == int(10 ** (len(str(count)) - 1))
