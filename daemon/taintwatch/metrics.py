"""Everything that is measured for Prometheus, in a registry of its own. docs/metrics.md lists it.

What the service's thread shows is counted; what others know (cameras, queue, provider, memory) is asked for then.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import generate_latest
from prometheus_client.registry import Collector

from taintwatch.alerts.publisher import PublisherStats
from taintwatch.cameras.camera_status import CameraState, CameraStatus
from taintwatch.delivery.forwarder import DeliveryStats
from taintwatch.evidence.evidence import EvidenceStats
from taintwatch.evidence.recorder import RecorderStats
from taintwatch.evidence.retention import Holdings
from taintwatch.pipeline import Step
from taintwatch.records import Alert
from taintwatch.status import RunStatus, Summary
from taintwatch_models.classifier import ModelCard, Rejected
from taintwatch_models.records import SecondLook

if TYPE_CHECKING:
    from taintwatch.web.stream import AudienceStats

__all__ = ["Instruments", "Snapshot", "StateCollector", "resident_bytes"]

BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What others than the service's thread know at one moment."""

    publisher: PublisherStats | None = None
    evidence: EvidenceStats | None = None
    late: tuple[str, ...] = ()
    """Workers that hang."""
    audience: AudienceStats | None = None
    """Who looks at the page, where one is served."""


class StateCollector(Collector):
    """Gives gauges, and counters that are kept elsewhere. Told by the service's thread, asked by any other."""

    def __init__(self, snapshot: Callable[[], Snapshot]) -> None:
        self._snapshot = snapshot
        self._card: ModelCard | None = None
        self._status: RunStatus | None = None

    def started(self, card: ModelCard) -> None:
        """Note what runs the model."""
        self._card = card

    def progress(self, status: RunStatus) -> None:
        """Note how it stands."""
        self._status = status

    def collect(self) -> Iterator[Metric]:
        """Yield every metric as it stands now."""
        snapshot, status = self._snapshot(), self._status
        yield _gauge("resident_bytes", "Memory of the process that is really in use.", resident_bytes())
        yield _gauge("threads", "Threads of the process.", sum(1 for _ in Path("/proc/self/task").iterdir()))
        yield _gauge("workers_hanging", "Workers that should have been heard of.", len(snapshot.late))
        if self._card is not None:
            yield _info(self._card, self._card.provider if status is None else status.provider)
        if snapshot.publisher is not None:
            yield from _publisher(snapshot.publisher)
        if snapshot.evidence is not None:
            yield from _evidence(snapshot.evidence)
        if snapshot.audience is not None:
            yield from _audience(snapshot.audience)
        if status is not None:
            degraded = status.degraded is not None
            yield _gauge("degraded", "1 while the model does not run as it should.", float(degraded))
            yield _gauge("open_alerts", "Alerts that are not cleared.", status.open_alerts)
            yield from _cameras(status.cameras)


class Instruments:
    """Counts what it is shown. A `Reporter`, and an observer of steps; both are told by the service's thread.

    `render` may be called by any thread.
    """

    def __init__(
        self, snapshot: Callable[[], Snapshot] = Snapshot, *, clock_ns: Callable[[], int] = time.monotonic_ns
    ) -> None:
        """`snapshot` gives what only others know, when it is asked for."""
        self._clock_ns = clock_ns
        self._registry = CollectorRegistry()
        self._state = StateCollector(snapshot)
        self._registry.register(self._state)
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

    def alert(self, alert: Alert) -> None:
        """Count an alert record."""
        self._alerts.labels(alert.camera, alert.state.value).inc()

    def progress(self, status: RunStatus) -> None:
        """Note how it stands."""
        self._state.progress(status)

    def finished(self, summary: Summary) -> None:
        """Nothing is left to be asked."""

    def render(self) -> bytes:
        """Return everything in Prometheus' text format."""
        return generate_latest(self._registry)

    def _counter(self, name: str, what: str, labels: Sequence[str]) -> Counter:
        return Counter(f"taintwatch_{name}", what, labels, registry=self._registry)


def resident_bytes() -> float:
    """Return the process's resident set size (Linux)."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return float(pages * os.sysconf("SC_PAGE_SIZE"))


def _gauge(name: str, what: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"taintwatch_{name}", what, value=value)


def _info(card: ModelCard, provider: str) -> GaugeMetricFamily:
    family = GaugeMetricFamily(
        "taintwatch_model_info", "1; its labels say what runs.", labels=("model", "model_hash", "provider")
    )
    family.add_metric((card.name, card.model_hash, provider), 1)
    return family


def _publisher(stats: PublisherStats) -> Iterator[Metric]:
    yield _gauge("publisher_queue", "Messages that wait for the publisher's thread.", stats.waiting)
    for name, what, value in (
        ("messages_sent", "Alerts and statuses handed to the socket.", stats.sent),
        ("messages_dropped", "Messages dropped because the queue was full.", stats.dropped),
        ("heartbeats_sent", "Heartbeats.", stats.heartbeats),
        ("store_failures", "Alerts that could not be stored.", stats.store_failures),
        (
            "connections_refused",
            "Subscribers turned away, or ended for newer ones: there were too many.",
            stats.refused,
        ),
        ("floods", "Subscribers cut off because they sent more than one does.", stats.floods),
    ):
        yield CounterMetricFamily(f"taintwatch_{name}", what, value=value)


def _evidence(stats: EvidenceStats) -> Iterator[Metric]:
    yield _gauge("evidence_trouble", "1 while alerts cannot be kept.", float(stats.trouble is not None))
    yield _gauge("evidence_waiting", "Alert records that wait in memory to be kept.", stats.waiting)
    yield CounterMetricFamily("taintwatch_evidence_lost", "Alert records that were never kept.", value=stats.lost)
    yield CounterMetricFamily(
        "taintwatch_evidence_removed", "Alerts removed for their age or size.", value=stats.removed
    )
    yield CounterMetricFamily(
        "taintwatch_audit_failures", "Entries of the audit log that could not be written.", value=stats.audit_failures
    )
    if stats.holdings is not None:
        yield from _holdings(stats.holdings)
    if stats.recorder is not None:
        yield from _recorder(stats.recorder)
    if stats.deliveries:
        yield from _deliveries(stats.deliveries)


def _deliveries(deliveries: Sequence[DeliveryStats]) -> Iterator[Metric]:
    label = ("sink",)
    waiting = GaugeMetricFamily("taintwatch_delivery_waiting", "Records that a broker has not confirmed.", labels=label)
    families = {
        name: CounterMetricFamily(f"taintwatch_delivery_{name}", what, labels=label)
        for name, what in (
            ("sent", "Records that a broker confirmed."),
            ("failures", "Attempts to send to a broker that failed."),
            ("lost", "Records removed for their age before a broker took them."),
        )
    }
    for each in deliveries:
        waiting.add_metric((each.sink,), each.waiting)
        for name, family in families.items():
            family.add_metric((each.sink,), getattr(each, name))
    yield from (waiting, *families.values())


def _holdings(holdings: Holdings) -> Iterator[Metric]:
    yield _gauge("evidence_alerts", "Alerts that are kept.", holdings.alerts)
    yield _gauge("evidence_bytes", "Bytes of the database, the pictures and the clips.", holdings.bytes)
    yield _gauge("evidence_free_bytes", "Bytes free on the evidence's disk.", holdings.free_bytes)


def _recorder(stats: RecorderStats) -> Iterator[Metric]:
    yield _gauge("evidence_queue", "Frames that wait for the worker that writes pictures.", stats.waiting)
    written = CounterMetricFamily(
        "taintwatch_evidence_written", "Alerts whose pictures, or clip, were written.", labels=("what",)
    )
    written.add_metric(("pictures",), stats.pictures)
    written.add_metric(("clip",), stats.clips)
    refused = CounterMetricFamily(
        "taintwatch_evidence_refused", "Pictures and clips that were not written, by reason.", labels=("reason",)
    )
    for reason, value in (("no_room", stats.without_room), ("failed", stats.failures), ("too_slow", stats.lost)):
        refused.add_metric((reason,), value)
    yield from (written, refused)


def _audience(stats: AudienceStats) -> Iterator[Metric]:
    yield _gauge("page_viewers", "Browsers that look at the page now.", stats.viewers)
    for name, what, value in (
        ("page_viewers_refused", "Viewers turned away because there were as many as are allowed.", stats.refused),
        ("page_viewers_dropped", "Viewers let go because they took nothing.", stats.dropped),
        ("page_pictures_encoded", "Pictures made for the page.", stats.encoded),
        ("page_pictures_sent", "Pictures sent, summed over viewers.", stats.sent),
        ("page_frames_skipped", "Frames that a viewer was not shown, summed over viewers.", stats.skipped),
    ):
        yield CounterMetricFamily(f"taintwatch_{name}", what, value=value)


def _cameras(cameras: tuple[CameraStatus, ...]) -> Iterator[Metric]:
    label = ("camera",)
    dropped = CounterMetricFamily(
        "taintwatch_frames_dropped", "Frames that a newer one replaced before they were judged.", labels=label
    )
    reconnects = CounterMetricFamily("taintwatch_reconnects", "Times that a source was opened again.", labels=label)
    age = GaugeMetricFamily("taintwatch_frame_age_seconds", "Age of the newest frame.", labels=label)
    up = GaugeMetricFamily("taintwatch_camera_running", "1 while the camera gives frames.", labels=label)
    fps = GaugeMetricFamily("taintwatch_frames_per_second", "Frames judged a second, of late.", labels=label)
    for camera in cameras:
        name = (camera.camera,)
        dropped.add_metric(name, camera.dropped)
        reconnects.add_metric(name, camera.reconnects)
        up.add_metric(name, camera.state is CameraState.RUNNING)
        fps.add_metric(name, camera.fps or 0.0)
        if camera.frame_age_s is not None:
            age.add_metric(name, camera.frame_age_s)
    yield from (dropped, reconnects, age, up, fps)
