"""The metrics and the health of a service, where they are switched on."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from taintwatch.runtime import Runtime
from taintwatch.service_manager import ServiceManagerReporter, Watchdog

if TYPE_CHECKING:
    from taintwatch.metrics import Instruments
    from taintwatch.notify.outlet import OutletStats
    from taintwatch.web.stream import AudienceStats

__all__ = ["Monitoring"]


class Monitoring:
    """The metrics and the health of a service, where they are switched on. Read by the web server."""

    def __init__(self, manager: ServiceManagerReporter, watchdog: Watchdog, instruments: Instruments) -> None:
        self._manager = manager
        self._watchdog = watchdog
        self._instruments = instruments
        self.audience: Callable[[], AudienceStats | None] = lambda: None
        """Who looks at the page, where one is served."""
        self.notified: Callable[[], tuple[OutletStats, ...]] = lambda: ()
        """What became of the notices, where somebody is notified."""

    @classmethod
    def of(cls, runtime: Runtime, manager: ServiceManagerReporter, watchdog: Watchdog) -> Monitoring | None:
        """Return the monitoring that the configuration asks for, if any."""
        if not runtime.config.metrics.enabled:
            return None
        # Imported here: a run without metrics needs neither.
        from taintwatch.metric_families import Snapshot
        from taintwatch.metrics import Instruments

        def snapshot() -> Snapshot:
            publisher = None if runtime.publisher is None else runtime.publisher.stats()
            evidence = None if runtime.evidence is None else runtime.evidence.stats()
            overdue = tuple(each.worker for each in watchdog.overdue)
            return Snapshot(publisher, evidence, overdue, monitoring.audience(), monitoring.notified())

        def detectors() -> list[str]:
            return [detector.name for detector in runtime.detection.detectors]

        monitoring = cls(manager, watchdog, Instruments(snapshot, detectors=detectors))
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
