"""What the page shows of a run: the newest step of each camera, statistics, alarm rates, the status, the alerts."""

from __future__ import annotations

import math
import threading
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from taintwatch.alarm_rates import AlarmRates
from taintwatch.cameras.camera_status import CameraStatus
from taintwatch.pipeline import Step
from taintwatch.records import Alert
from taintwatch.status import RunStatus, Summary
from taintwatch.vote.voter import OVERALL
from taintwatch_models.classifier import ModelCard
from taintwatch_models.records import Prediction, Verdict

__all__ = ["LiveState", "Point", "finite"]

POINTS = 600  # of each camera: a minute at 10 frames a second
ALERTS = 200  # records kept in memory, for viewers to catch up with


@dataclass(frozen=True, slots=True)
class Point:
    """The statistics of one frame. JSON-ready."""

    number: int
    """Counts the points of the camera from 1."""
    frame: int
    wall_ms: int
    scores: dict[str, tuple[float | None, float | None, bool]]
    """Detector -> score, threshold, suspicious; None for what is not finite."""
    level: float
    raised: bool


@dataclass(slots=True)
class _Camera:
    step: Step
    points: deque[Point]
    count: int = 0


class LiveState:
    """Written by the service's thread, which never waits; read by any other. A `Reporter`, and an observer of steps.

    Holds one frame for each camera, whether or not anybody looks.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()  # held for as long as it takes to copy a few references
        self._cameras: dict[str, _Camera] = {}
        self._alerts: deque[tuple[int, Alert]] = deque(maxlen=ALERTS)
        self._alert_count = 0
        self._under_alert: dict[str, str] = {}  # event id to camera
        self._status: tuple[int, RunStatus | None] = (0, None)
        self.rates = AlarmRates()
        self.card: ModelCard | None = None

    def observe(self, step: Step) -> None:
        """Take in one step: microseconds, no pixels touched."""
        name = step.frame.camera
        with self._lock:
            camera = self._cameras.get(name)
            if camera is None:
                camera = self._cameras[name] = _Camera(step, deque(maxlen=POINTS))
            camera.step = step
            if isinstance(step.outcome, Prediction):
                camera.count += 1
                camera.points.append(_point(step, camera.count))
            quiet = name not in self._under_alert.values()
        if quiet and not any(vote.raised for vote in step.votes):
            self.rates.see(step.verdicts, step.frame.wall_ns)

    def newest(self, camera: str) -> Step | None:
        """Return the newest step of a camera, where there is one."""
        with self._lock:
            known = self._cameras.get(camera)
            return None if known is None else known.step

    def points_since(self, camera: str, number: int) -> list[Point]:
        """Return the points of a camera after the one with this number, as far as they are still held."""
        with self._lock:
            known = self._cameras.get(camera)
            return [] if known is None else [point for point in known.points if point.number > number]

    def alerts_since(self, number: int) -> list[tuple[int, Alert]]:
        """Return the alert records after the one with this number, with their numbers, oldest first."""
        with self._lock:
            return [(count, alert) for count, alert in self._alerts if count > number]

    @property
    def alert_number(self) -> int:
        """The number of the last alert record; 0 before the first."""
        return self._alert_count

    @property
    def status(self) -> tuple[int, RunStatus | None]:
        """The last status and its number."""
        return self._status

    def started(self, card: ModelCard, cameras: Sequence[CameraStatus], endpoint: str | None) -> None:
        """Note what runs."""
        self.card = card

    def alert(self, alert: Alert) -> None:
        """Note an alert's record."""
        with self._lock:
            self._alert_count += 1
            self._alerts.append((self._alert_count, alert))
            if alert.state in ("raised", "updated"):
                self._under_alert[alert.event_id] = alert.camera
            else:
                self._under_alert.pop(alert.event_id, None)

    def progress(self, status: RunStatus) -> None:
        """Note how it stands, and forget cameras that were taken away."""
        self._status = (self._status[0] + 1, status)
        names = {camera.camera for camera in status.cameras}
        with self._lock:
            for name in [name for name in self._cameras if name not in names]:
                del self._cameras[name]

    def finished(self, summary: Summary) -> None:
        """Nothing changes any more."""


def finite(value: Any) -> Any:
    """Return `value` as strict JSON can say it: None for a number that is not finite."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _statistic(verdict: Verdict) -> tuple[float | None, float | None, bool]:
    """Score, threshold and whether that is suspicious; a frame that the gate let pass has neither number."""
    if not verdict.checked:
        return None, None, False
    return finite(float(verdict.score)), finite(float(verdict.threshold)), bool(verdict.suspicious)


def _point(step: Step, number: int) -> Point:
    combined = next((vote for vote in step.votes if vote.detector == OVERALL), None)
    return Point(
        number,
        step.frame.index,
        step.frame.wall_ns // 1_000_000,
        {verdict.detector: _statistic(verdict) for verdict in step.verdicts},
        0.0 if combined is None else float(combined.level),
        combined is not None and combined.raised,
    )
