"""Counts of a run, their records, and the reporters that are told. The only place that counts."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Protocol

from taintwatch.cameras.camera_status import CameraStatus
from taintwatch.pipeline import Step
from taintwatch.records import Alert, AlertState
from taintwatch_models.classifier import ModelCard, Rejected

__all__ = ["Ending", "Meter", "Rate", "Reporter", "Reporters", "RunStatus", "Summary"]

OF_LATE = 120  # frames over which a rate "of late" is taken
SMOOTHING = 0.1  # weight of the newest frame in a time "of late"


class Ending(StrEnum):
    """Why a run ended."""

    ENDED = "ended"
    """Every source gave all it had."""
    STOPPED = "stopped"
    """It was told to, by a signal."""
    LIMIT = "limit"
    """It had watched as many frames as were asked for."""


@dataclass(frozen=True, slots=True)
class RunStatus:
    """A run at one moment. JSON-ready; counters run from the start."""

    frames: int
    """Frames taken up, rejected ones included."""
    seconds: float
    fps: float
    """Frames a second of late."""
    alerts: int
    """Alerts raised."""
    open_alerts: int
    drops: int
    """Live frames that a newer one replaced."""
    bad_frames: int
    """Pictures that could not be decoded or used."""
    rejected: int
    """Frames for which the model gave no usable answer."""
    inference_ms: float | None
    """Inference time of one frame, of late."""
    delay_ms: float | None
    """From a frame's capture to its verdict, of late."""
    media_s: float | None
    """Position in the file, where there is one."""
    cameras: tuple[CameraStatus, ...]
    provider: str = ""
    """What runs the model now."""
    degraded: str | None = None
    """Why the model does not run as it should, as one sentence."""
    unchecked: int = 0
    """Frames that the gate let pass, of which nothing is known, or whose second look waits."""
    notice: str | None = None
    """What somebody should know, and see to, though all runs; one sentence."""


@dataclass(frozen=True, slots=True)
class Summary:
    """A whole run. JSON-ready."""

    frames: int
    seconds: float
    """From the first frame to the last, so that the rate says nothing about loading."""
    fps: float
    alerts: int
    drops: int
    bad_frames: int
    rejected: int
    provider: str
    model: str
    config_hash: str
    ending: Ending
    unchecked: int = 0
    """Frames that the gate let pass, or whose second look waited."""
    skipped: int = 0
    """Frames left out by the `fps` limit."""


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


class Reporters:
    """Several reporters as one."""

    def __init__(self, *reporters: Reporter) -> None:
        self._reporters = reporters

    def started(self, card: ModelCard, cameras: Sequence[CameraStatus], endpoint: str | None) -> None:
        for reporter in self._reporters:
            reporter.started(card, cameras, endpoint)

    def alert(self, alert: Alert) -> None:
        for reporter in self._reporters:
            reporter.alert(alert)

    def progress(self, status: RunStatus) -> None:
        for reporter in self._reporters:
            reporter.progress(status)

    def finished(self, summary: Summary) -> None:
        for reporter in self._reporters:
            reporter.finished(summary)


class Rate:
    """Frames a second over the last ones; falls by itself when none come any more."""

    def __init__(self) -> None:
        self._times: deque[float] = deque(maxlen=OF_LATE)

    def count(self, now: float) -> None:
        self._times.append(now)

    def at(self, now: float) -> float:
        """Return the rate at `now`; 0 before the second frame."""
        if len(self._times) < 2 or now <= self._times[0]:
            return 0.0
        return (len(self._times) - 1) / (now - self._times[0])


@dataclass(slots=True)
class _CameraCount:
    frames: int = 0
    rejected: int = 0
    rate: Rate = field(default_factory=Rate)


class Meter:
    """Counts steps and alerts. Used by one thread only."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._cameras: dict[str, _CameraCount] = {}
        self._rate = Rate()
        self._first = self._last = clock()
        self._started = False
        self._inference_ms: float | None = None
        self._delay_ms: float | None = None
        self._media_s: float | None = None
        self.frames = 0
        self.rejected = 0
        self.unchecked = 0
        self.alerts = 0

    def see(self, step: Step) -> None:
        """Count one step."""
        now = self._clock()
        if not self._started:
            self._started, self._first = True, now
        self._last = now
        camera = self._cameras.setdefault(step.frame.camera, _CameraCount())
        if step.first:
            self.frames += 1
            camera.frames += 1
            self._rate.count(now)
            camera.rate.count(now)
        self._media_s = step.frame.media_s
        if isinstance(step.outcome, Rejected):
            self.rejected += 1
            camera.rejected += 1
            return
        self.unchecked += any(not verdict.checked for verdict in step.verdicts)
        if step.outcome is not None:
            self._inference_ms = _smooth(self._inference_ms, step.outcome.latency_ms)
        self._delay_ms = _smooth(self._delay_ms, now * 1e3 - step.frame.captured_ns / 1e6)

    def see_alert(self, alert: Alert) -> None:
        """Count an alert when it is raised."""
        self.alerts += alert.state is AlertState.RAISED

    def status(
        self,
        cameras: Sequence[CameraStatus],
        open_alerts: int,
        provider: str = "",
        degraded: str | None = None,
        notice: str | None = None,
    ) -> RunStatus:
        """Return how the run stands."""
        now = self._clock()
        return RunStatus(
            frames=self.frames,
            seconds=now - self._first,
            fps=self._rate.at(now),
            alerts=self.alerts,
            open_alerts=open_alerts,
            drops=sum(camera.dropped for camera in cameras),
            bad_frames=sum(camera.bad for camera in cameras),
            rejected=self.rejected,
            inference_ms=self._inference_ms,
            delay_ms=self._delay_ms,
            media_s=self._media_s,
            cameras=tuple(self._judged(camera, now) for camera in cameras),
            provider=provider,
            degraded=degraded,
            unchecked=self.unchecked,
            notice=notice,
        )

    def summary(
        self, cameras: Sequence[CameraStatus], ending: Ending, *, provider: str, model: str, config_hash: str
    ) -> Summary:
        """Return the whole run, as of the last frame."""
        # One frame takes no time between the first and the last: then its own inference is all that is known.
        seconds = max(self._last - self._first, (self._inference_ms or 0.0) / 1e3)
        return Summary(
            frames=self.frames,
            seconds=round(seconds, 3),
            fps=round(self.frames / seconds, 2) if seconds > 0 else 0.0,
            alerts=self.alerts,
            drops=sum(camera.dropped for camera in cameras),
            bad_frames=sum(camera.bad for camera in cameras),
            rejected=self.rejected,
            provider=provider,
            model=model,
            config_hash=config_hash,
            ending=ending,
            unchecked=self.unchecked,
            skipped=sum(camera.skipped for camera in cameras),
        )

    def _judged(self, camera: CameraStatus, now: float) -> CameraStatus:
        """Return the camera's status with what is counted here: the frames judged and rejected, and their rate."""
        count = self._cameras.get(camera.camera, _CameraCount())
        return replace(
            camera, frames=count.frames, rejected=count.rejected + camera.bad, fps=round(count.rate.at(now), 2)
        )


def _smooth(old: float | None, new: float) -> float:
    return new if old is None else (1 - SMOOTHING) * old + SMOOTHING * new
