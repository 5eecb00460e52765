"""All outlets of a daemon as one reporter: what the service tells goes to each of them, and none holds it up."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from taintwatch.cameras.camera_status import CameraState, CameraStatus
from taintwatch.notify.outlet import Departure, Item, Notice, Outlet, OutletStats
from taintwatch.pipeline import Step
from taintwatch.records import Alert
from taintwatch.status import RunStatus, Summary
from taintwatch_models.classifier import ModelCard
from taintwatch_models.records import Frame

__all__ = ["Notifications"]


class Notifications:
    """A `Reporter`, and an observer of steps. Told by the service's thread; any thread may ask for `stats`."""

    def __init__(self, outlets: Sequence[Outlet], closing: Sequence[Callable[[float], None]] = ()) -> None:
        """`closing`: called after the outlets have sent what waits, each with the seconds it may take."""
        self._outlets, self._closing = tuple(outlets), tuple(closing)
        self._frame: tuple[str, Frame] | None = None
        self._running: dict[str, bool] = {}

    def observe(self, step: Step) -> None:
        """Keep the frame that gave rise to an alert until the alert is told."""
        self._frame = None if step.alert is None else (step.alert.event_id, step.frame)

    def started(self, card: ModelCard, cameras: Sequence[CameraStatus], endpoint: str | None) -> None:
        """Tell of each camera."""
        self._tell_cameras(cameras)

    def alert(self, alert: Alert) -> None:
        """Tell of an alert."""
        frame = self._frame[1] if self._frame is not None and self._frame[0] == alert.event_id else None
        self._frame = None
        self._offer(Notice(alert, frame))

    def progress(self, status: RunStatus) -> None:
        """Tell of cameras that came, went, or are lost."""
        self._tell_cameras(status.cameras)

    def finished(self, summary: Summary) -> None:
        """Nothing more comes; `close` sends what waits."""

    def stats(self) -> tuple[OutletStats, ...]:
        """Return the counts of each outlet."""
        return tuple(outlet.stats() for outlet in self._outlets)

    def close(self, timeout_s: float = 2.0) -> None:
        """Send what waits, within about `timeout_s` for each outlet."""
        for outlet in self._outlets:
            outlet.close(timeout_s)
        for close in self._closing:
            close(timeout_s)

    def _tell_cameras(self, cameras: Sequence[CameraStatus]) -> None:
        running = {status.camera: status.state is CameraState.RUNNING for status in cameras}
        for status in cameras:
            if self._running.get(status.camera) is not running[status.camera]:
                self._offer(status)
        for camera in self._running.keys() - running.keys():
            self._offer(Departure(camera))
        self._running = running

    def _offer(self, item: Item) -> None:
        for outlet in self._outlets:
            outlet.offer(item)
