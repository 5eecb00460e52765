"""Everything that is measured for Prometheus, in a registry of its own. docs/metrics.md lists it.

What the service's thread shows is counted; what others know is asked for then (`metric_families`).
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from prometheus_client import CollectorRegistry, Counter, Histogram, disable_created_metrics
from prometheus_client.exposition import generate_latest
from prometheus_client.process_collector import ProcessCollector

from taintwatch.cameras.camera_status import CameraStatus
from taintwatch.metric_families import Snapshot, StateCollector
from taintwatch.pipeline import Step
from taintwatch.records import Alert, AlertState
from taintwatch.status import RunStatus, Summary
from taintwatch_models.classifier import ModelCard, Rejected
from taintwatch_models.records import SecondLook

__all__ = ["Instruments", "resident_bytes"]

BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class Instruments:
    """Counts what it is shown. A `Reporter`, and an observer of steps; both are told by the service's thread.

    `render` may be called by any thread.
    """

    def __init__(
        self,
        snapshot: Callable[[], Snapshot] = Snapshot,
        *,
        detectors: Callable[[], Sequence[str]] = tuple,
        clock_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        """`snapshot` gives what only others know, when it is asked for; `detectors` names those in use."""
        self._clock_ns, self._detectors = clock_ns, detectors
        self._begun: set[str] = set()
        disable_created_metrics()  # a series beside each counter that says when it began: nobody asks for it
        self._registry = CollectorRegistry()
        self._state = StateCollector(snapshot)
        self._registry.register(self._state)
        ProcessCollector(registry=self._registry)
        camera = ("camera",)
        self._frames = self._counter("frames", "Frames that were judged.", camera)
        self._rejected = self._counter("frames_rejected", "Frames that gave no usable prediction.", camera)
        self._unchecked = self._counter(
            "frames_unchecked", "Judged frames that the gate let pass unchecked, or whose second look waits.", camera
        )
        self._second = self._counter("second_looks", "What became of combined's second looks.", (*camera, "outcome"))
        self._dismissed = self._counter("verdicts_dismissed", "Verdicts of what a person dismissed.", camera)
        self._verdicts = self._counter("verdicts", "Verdicts.", (*camera, "detector", "suspicious"))
        self._alerts = self._counter("alerts", "Alert records by state: raised, updated, cleared.", (*camera, "state"))
        self._stages = Histogram(
            "taintwatch_stage_seconds",
            "Time of one frame. inference: its share of its batch; delay: from its capture to its verdict.",
            ("stage",),
            buckets=BUCKETS_S,
            registry=self._registry,
        )

    def see(self, step: Step) -> None:
        """Count one step."""
        camera = step.frame.camera
        self._stages.labels("delay").observe(max(0.0, (self._clock_ns() - step.frame.captured_ns) / 1e9))
        if isinstance(step.outcome, Rejected):
            self._rejected.labels(camera).inc()
            return
        if step.first:
            self._frames.labels(camera).inc()
        if step.outcome is None:
            return
        self._stages.labels("inference").observe(step.outcome.latency_ms / 1e3)
        if any(not verdict.checked for verdict in step.verdicts):
            self._unchecked.labels(camera).inc()
        window = step.outcome.window
        if window is not None and window.second_look is not SecondLook.NOT_NEEDED:
            self._second.labels(camera, window.second_look.value).inc()
        for verdict in step.verdicts:
            suspicious = str(verdict.suspicious).lower() if verdict.checked else "unchecked"
            self._verdicts.labels(camera, verdict.detector, suspicious).inc()
            if verdict.dismissal is not None:
                self._dismissed.labels(camera).inc()

    def started(self, card: ModelCard, cameras: Sequence[CameraStatus], endpoint: str | None) -> None:
        """Note what runs the model."""
        self._state.started(card)
        self._begin(cameras)

    def alert(self, alert: Alert) -> None:
        """Count an alert record."""
        self._alerts.labels(alert.camera, alert.state.value).inc()

    def progress(self, status: RunStatus) -> None:
        """Note how it stands."""
        self._state.progress(status)
        self._begin(status.cameras)

    def finished(self, summary: Summary) -> None:
        """Nothing is left to be asked."""

    def render(self) -> bytes:
        """Return everything in Prometheus' text format."""
        return generate_latest(self._registry)

    def _begin(self, cameras: Sequence[CameraStatus]) -> None:
        """Let the counters of new cameras stand at 0: what appears with its first count has no rate before it."""
        for camera in [one.camera for one in cameras if one.camera not in self._begun]:
            self._begun.add(camera)
            for counter in (self._frames, self._rejected, self._unchecked, self._dismissed):
                counter.labels(camera)
            for state in AlertState:
                self._alerts.labels(camera, state.value)
            for detector in self._detectors():
                for suspicious in ("true", "false"):
                    self._verdicts.labels(camera, detector, suspicious)
        for stage in ("delay", "inference"):
            self._stages.labels(stage)

    def _counter(self, name: str, what: str, labels: Sequence[str]) -> Counter:
        return Counter(f"taintwatch_{name}", what, labels, registry=self._registry)


def resident_bytes() -> float:
    """Return the process's resident set size (Linux)."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return float(pages * os.sysconf("SC_PAGE_SIZE"))
