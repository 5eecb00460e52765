"""Everything around a service that runs for months: the service manager, the watchdog, reloads and metrics."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from taintwatch.cameras.camera_status import CameraState, CameraStatus
from taintwatch.records import Alert
from taintwatch.runtime import Runtime
from taintwatch.service_manager import Notifier, Watchdog
from taintwatch.status import RunStatus, Summary
from taintwatch_models.classifier import ModelCard

if TYPE_CHECKING:
    from taintwatch.metrics import Instruments
    from taintwatch.web.stream import AudienceStats

__all__ = ["Monitoring", "ServiceManagerReporter", "status_line"]

TELL_EVERY_S = 5.0  # the status line goes to the service manager, unless a camera's state changed


class ServiceManagerReporter:
    """Tells systemd that the service is ready, how each camera is, and that it stops."""

    def __init__(self, notifier: Notifier, watchdog: Watchdog, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._notifier = notifier
        self._watchdog = watchdog
        self._clock = clock
        self._told: tuple[object, ...] = ()
        self._next = 0.0
        self.ready = False
        """Whether the model is loaded and the socket bound. The cameras may still be away: they are retried."""
        self.degraded: str | None = None
        self.refusal: Callable[[], str | None] = lambda: None
        """Why the last reload changed nothing: told for as long as that holds."""

    def started(self, card: ModelCard, cameras: Sequence[CameraStatus], endpoint: str | None) -> None:
        """The model is loaded and warm and the socket is bound: all that can fail for good has not."""
        self.ready = True
        self._watchdog.started()
        self._notifier.ready(f"connecting {len(cameras)} cameras")

    def alert(self, alert: Alert) -> None:
        """An alert is no matter of the service manager's."""

    def progress(self, status: RunStatus) -> None:
        """Tell the status line when something changed in it, or now and then."""
        self.degraded = status.degraded
        refusal = self.refusal()
        cameras = ((camera.camera, camera.state) for camera in status.cameras)
        states = (refusal, status.degraded, status.open_alerts, *cameras)
        if states != self._told or self._clock() >= self._next:
            self._told = states
            self._next = self._clock() + TELL_EVERY_S
            self._notifier.status(status_line(status, refusal))

    def finished(self, summary: Summary) -> None:
        """The run is over."""
        self.ready = False


def status_line(status: RunStatus, refusal: str | None = None) -> str:
    """Return how the run stands on one line, what is wrong first. `refusal`: why a reload changed nothing."""
    running = sum(camera.state is CameraState.RUNNING for camera in status.cameras)
    words = [] if status.degraded is None else [f"degraded: {status.degraded}"]
    words += [] if refusal is None else [f"reload refused: {refusal}"]
    words.append(f"{running} of {len(status.cameras)} cameras running")
    words += [
        f"{camera.camera} {camera.state.value}" + (f" ({camera.reason})" if camera.reason is not None else "")
        for camera in status.cameras
        if camera.state is not CameraState.RUNNING
    ]
    words.append(f"{status.fps:.1f} frames/s")
    words.append(f"{status.open_alerts} open alerts")
    return "; ".join(words)


class Monitoring:
    """The metrics and the health of a service, where they are switched on. Read by the web server."""

    def __init__(self, manager: ServiceManagerReporter, watchdog: Watchdog, instruments: Instruments) -> None:
        self._manager = manager
        self._watchdog = watchdog
        self._instruments = instruments
        self.audience: Callable[[], AudienceStats | None] = lambda: None
        """Who looks at the page, where one is served."""

    @classmethod
    def of(cls, runtime: Runtime, manager: ServiceManagerReporter, watchdog: Watchdog) -> Monitoring | None:
        """Return the monitoring that the configuration asks for, if any."""
        if not runtime.config.metrics.enabled:
            return None
        # Imported here: a run without metrics needs neither.
        from taintwatch.metrics import Instruments, Snapshot

        def snapshot() -> Snapshot:
            publisher = None if runtime.publisher is None else runtime.publisher.stats()
            evidence = None if runtime.evidence is None else runtime.evidence.stats()
            overdue = tuple(each.worker for each in watchdog.overdue)
            return Snapshot(publisher, evidence, overdue, monitoring.audience())

        monitoring = cls(manager, watchdog, Instruments(snapshot))
        return monitoring

    @property
    def instruments(self) -> Instruments:
        """What counts: a reporter, and an observer of steps."""
        return self._instruments

    def health(self) -> str | None:
        """Return what hangs; None where all is well."""
        overdue = ", ".join(each.worker for each in self._watchdog.overdue)
        return f"hanging: {overdue}" if overdue else None

    def readiness(self) -> str | None:
        """Return why the service is not ready, or degraded; None where all is well."""
        if not self._manager.ready:
            return "not ready"
        return None if self._manager.degraded is None else f"degraded: {self._manager.degraded}"

    def render(self) -> bytes:
        """Return the metrics in Prometheus' text format."""
        return self._instruments.render()
