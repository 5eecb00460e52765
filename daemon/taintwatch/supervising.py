"""Everything around a service that runs for months: the service manager, the watchdog, reloads and metrics."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING

from taintwatch.cameras.camera_status import CameraState, CameraStatus
from taintwatch.config.outputs import MetricsSection
from taintwatch.pipeline import Step
from taintwatch.records import Alert
from taintwatch.runtime import Runtime
from taintwatch.service_manager import Notifier, Watchdog
from taintwatch.status import Reporter, RunStatus, Summary
from taintwatch_models.classifier import ModelCard

if TYPE_CHECKING:
    from taintwatch.metrics.collector import Snapshot
    from taintwatch.metrics.instruments import Instruments
    from taintwatch.metrics.server import Page
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
    """The metrics and their server, where they are switched on."""

    def __init__(
        self,
        section: MetricsSection,
        manager: ServiceManagerReporter,
        watchdog: Watchdog,
        audience: Callable[[], AudienceStats | None] = lambda: None,
    ) -> None:
        """`audience`: who looks at the page, where one is served."""
        self._audience = audience
        self._section = section
        self._manager = manager
        self._watchdog = watchdog
        self._instruments: Instruments | None = None

    def start(self, runtime: Runtime, stack: ExitStack) -> None:
        """Start to serve until `stack` is closed. Raises `ConfigError`."""
        if not self._section.enabled:
            return
        # Imported here: a run without metrics needs neither.
        from taintwatch.metrics.instruments import Instruments
        from taintwatch.metrics.server import MetricsServer
        from taintwatch.tokens import read_token

        file = self._section.token_file
        token = None if file is None else read_token(Path(file), "metrics.token_file")
        self._instruments = Instruments(lambda: self._snapshot(runtime))
        pages = {"/healthz": self._health, "/metrics": self._metrics, "/readyz": self._readiness}
        stack.enter_context(MetricsServer(self._section.bind, pages, token))

    def reporters(self) -> tuple[Reporter, ...]:
        """Return the reporter that counts, where there is one."""
        return () if self._instruments is None else (self._instruments,)

    def observe(self, step: Step) -> None:
        """Count one step."""
        if self._instruments is not None:
            self._instruments.see(step)

    def _snapshot(self, runtime: Runtime) -> Snapshot:
        from taintwatch.metrics.collector import Snapshot

        publisher = None if runtime.publisher is None else runtime.publisher.stats()
        evidence = None if runtime.evidence is None else runtime.evidence.stats()
        late = tuple(late.worker for late in self._watchdog.overdue)
        return Snapshot(publisher, evidence, late, self._audience())

    def _health(self) -> Page:
        late = ", ".join(late.worker for late in self._watchdog.overdue)
        return _page(f"hanging: {late}" if late else None)

    def _readiness(self) -> Page:
        if not self._manager.ready:
            return _page("not ready")
        return _page(None if self._manager.degraded is None else f"degraded: {self._manager.degraded}")

    def _metrics(self) -> Page:
        from taintwatch.metrics.server import Page

        text = b"" if self._instruments is None else self._instruments.render()
        return Page(text, content_type="text/plain; version=0.0.4; charset=utf-8")


def _page(problem: str | None) -> Page:
    from taintwatch.metrics.server import Page

    if problem is None:
        return Page(b"ok\n")
    return Page(problem.encode() + b"\n", HTTPStatus.SERVICE_UNAVAILABLE)
