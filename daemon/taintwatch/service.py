"""The daemon itself: drives the pipeline, publishes, reports, and stops cleanly."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Protocol

from taintwatch.alerts.lifecycle import AlertBook
from taintwatch.alerts.messages import MessageError
from taintwatch.alerts.publisher import Publisher
from taintwatch.cameras import CameraSet, CameraState, CameraStatus
from taintwatch.pipeline import Step, watch
from taintwatch.records import Alert
from taintwatch.status import Ending, Meter, RunStatus, Summary
from taintwatch.vote.voter import Voter
from taintwatch_models.classifier import Classifier, ModelCard, Rejected
from taintwatch_models.records import Detector, Frame

__all__ = ["Parts", "Plan", "Reporter", "Service"]

_log = logging.getLogger(__name__)

WAIT_S = 0.2  # how soon a signal is noticed while no frame comes
LOOK_S = 0.2  # how often the cameras' states are looked at


class Reporter(Protocol):
    """Whatever tells a person, or a program that reads our output, what happens."""

    def started(self, card: ModelCard, cameras: Sequence[CameraStatus], endpoint: str | None) -> None:
        """All is loaded and the cameras are about to start."""
        ...

    def alert(self, alert: Alert) -> None:
        """An alert was raised, updated or cleared."""
        ...

    def progress(self, status: RunStatus) -> None:
        """Some time has passed; called a few times a second."""
        ...

    def finished(self, summary: Summary) -> None:
        """The run is over."""
        ...


@dataclass(frozen=True, slots=True)
class Parts:
    """What a service drives, ready made."""

    cameras: CameraSet
    classifier: Classifier
    detectors: tuple[Detector, ...]
    voter: Voter
    book: AlertBook
    publisher: Publisher | None


@dataclass(frozen=True, slots=True)
class Plan:
    """The limits and intervals of a run."""

    max_batch: int = 4
    max_frames: int | None = None
    status_s: float = 5.0
    stop_s: float = 2.0
    config_hash: str = ""


class Service:
    """Watches until the sources end, the limit is reached, or `stopping()` holds. Runs once, in one thread."""

    def __init__(
        self,
        parts: Parts,
        reporter: Reporter,
        plan: Plan,
        *,
        stopping: Callable[[], bool],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._parts = parts
        self._reporter = reporter
        self._plan = plan
        self._stopping = stopping
        self._clock = clock
        self._meter = Meter(clock)
        self._supply = _Limited(parts.cameras, plan.max_frames)
        self._next_look = self._next_status = clock()
        self._reconnects: dict[str, int] = {}
        self._closed: set[str] = set()

    def run(self) -> Summary:
        """Watch to the end and return the summary; open alerts are cleared, sockets and cameras closed, come what may.

        Raises `SourceError` where no source could be opened at all.
        """
        parts, plan = self._parts, self._plan
        endpoint = None if parts.publisher is None else parts.publisher.endpoint
        self._reporter.started(parts.classifier.card, parts.cameras.statuses(), endpoint)
        card = parts.classifier.card
        _log.info("watching with %s on %s, alerts on %s", card.name, card.provider, endpoint)
        parts.cameras.start()
        try:
            for steps in watch(
                self._supply,
                parts.classifier,
                parts.detectors,
                parts.voter,
                parts.book,
                max_batch=plan.max_batch,
                wait_s=WAIT_S,
                stopping=self._stopping,
            ):
                for step in steps:
                    self._take(step)
                self._do_what_is_due()
        finally:
            self._close()
        summary = self._summary()
        _log.info("%s after %d frames with %d alerts", summary.ending.value, summary.frames, summary.alerts)
        self._reporter.finished(summary)
        return summary

    def _take(self, step: Step) -> None:
        self._meter.see(step)
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
            self._tell(step.alert)

    def _tell(self, alert: Alert) -> None:
        self._meter.see_alert(alert)
        _log.info("camera %s, alert %s %s: %s", alert.camera, alert.event_id, alert.state.value, alert.label_name)
        if self._parts.publisher is not None:
            try:
                self._parts.publisher.publish_alert(alert)
            except MessageError as error:
                _log.error("alert %s was not published: %s", alert.event_id, error)
        self._reporter.alert(alert)

    def _do_what_is_due(self) -> None:
        now = self._clock()
        if now < self._next_look:
            return
        self._next_look = now + LOOK_S
        cameras = self._parts.cameras.statuses()
        for camera in cameras:
            self._follow(camera)
        status = self._meter.status(cameras, len(self._parts.book.open_alerts()))
        self._reporter.progress(status)
        if now >= self._next_status:
            self._next_status = now + self._plan.status_s
            self._publish_status(status)

    def _follow(self, camera: CameraStatus) -> None:
        """Tell the vote of a reconnection, and clear the alert of a source that has given everything."""
        if camera.reconnects > self._reconnects.get(camera.name, 0):
            self._reconnects[camera.name] = camera.reconnects
            _log.info("camera %s is back (%s)", camera.name, camera.description)
            self._parts.voter.gap(camera.name)
        given = camera.delivered + camera.dropped + camera.skipped
        if camera.state is CameraState.ENDED and given >= camera.captured and camera.name not in self._closed:
            self._closed.add(camera.name)
            alert = self._parts.book.close(camera.name)
            self._parts.voter.forget(camera.name)
            if alert is not None:
                self._tell(alert)

    def _publish_status(self, status: RunStatus) -> None:
        if self._parts.publisher is not None:
            for camera in status.cameras:
                self._parts.publisher.publish_status(camera)

    def _close(self) -> None:
        """Clear what is open, stop the cameras, say the last of each, and close the socket, within `stop_s`.

        Each is done even where one before it fails.
        """
        give_up = self._clock() + self._plan.stop_s
        with ExitStack() as closing:  # called back in reverse
            closing.callback(self._close_publisher, give_up)
            closing.callback(self._stop_cameras)
            for alert in self._parts.book.close_all():
                self._tell(alert)

    def _stop_cameras(self) -> None:
        if not self._parts.cameras.stop(self._plan.stop_s / 2):
            _log.warning("a camera did not stop in time and was left behind")
        self._publish_status(self._meter.status(self._parts.cameras.statuses(), 0))

    def _close_publisher(self, give_up: float) -> None:
        if self._parts.publisher is not None:
            self._parts.publisher.close(max(0.1, min(0.5, give_up - self._clock())))

    def _summary(self) -> Summary:
        card = self._parts.classifier.card
        limit = self._supply.reached
        ending = Ending.LIMIT if limit else Ending.STOPPED if self._stopping() else Ending.ENDED
        return self._meter.summary(
            self._parts.cameras.statuses(),
            ending,
            provider=card.provider,
            model=card.name,
            config_hash=self._plan.config_hash,
        )


class _Limited:
    """Cameras that are finished after so many frames."""

    def __init__(self, cameras: CameraSet, limit: int | None) -> None:
        self._cameras = cameras
        self._left = limit

    @property
    def reached(self) -> bool:
        return self._left == 0

    @property
    def finished(self) -> bool:
        return self.reached or self._cameras.finished

    def next_batch(self, max_batch: int, wait_s: float) -> list[Frame]:
        room = max_batch if self._left is None else min(max_batch, self._left)
        batch = self._cameras.next_batch(room, wait_s)
        if self._left is not None:
            self._left -= len(batch)
        return batch


def _is_round(count: int) -> bool:
    """Whether `count` is 1, 10, 100, ..."""
    return count == int(10 ** (len(str(count)) - 1))
