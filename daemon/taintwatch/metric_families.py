"""Prometheus metrics of what is kept outside the service's thread: cameras, queue, provider, evidence."""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from taintwatch.alerts.publisher import PublisherStats
from taintwatch.cameras.camera_status import CameraState, CameraStatus
from taintwatch.delivery.forwarder import DeliveryStats
from taintwatch.evidence.evidence import EvidenceStats
from taintwatch.evidence.recorder import RecorderStats
from taintwatch.evidence.retention import Holdings
from taintwatch.notify.outlet import OutletStats
from taintwatch.status import RunStatus
from taintwatch_models.classifier import ModelCard

if TYPE_CHECKING:
    from taintwatch.web.stream import AudienceStats

__all__ = ["Snapshot", "StateCollector"]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What others than the service's thread know at one moment."""

    publisher: PublisherStats | None = None
    evidence: EvidenceStats | None = None
    late: tuple[str, ...] = ()
    """Workers that hang."""
    audience: AudienceStats | None = None
    """Who looks at the page, where one is served."""
    outlets: tuple[OutletStats, ...] = ()
    """What became of the notices of each outlet."""


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
        yield _build()
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
        if snapshot.outlets:
            yield from _outlets(snapshot.outlets)
        if status is not None:
            degraded = status.degraded is not None
            yield _gauge("degraded", "1 while the model does not run as it should.", float(degraded))
            yield _gauge("open_alerts", "Alerts that are not cleared.", status.open_alerts)
            yield from _cameras(status.cameras)


def _gauge(name: str, what: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"taintwatch_{name}", what, value=value)


def _counters(*rows: tuple[str, str, float]) -> Iterator[Metric]:
    """Yield a counter for each row of name, meaning and value."""
    for name, what, value in rows:
        yield CounterMetricFamily(f"taintwatch_{name}", what, value=value)


def _info(card: ModelCard, provider: str) -> GaugeMetricFamily:
    family = GaugeMetricFamily(
        "taintwatch_model_info", "1; its labels say what runs.", labels=("model", "model_hash", "provider")
    )
    family.add_metric((card.name, card.model_hash, provider), 1)
    return family


def _publisher(stats: PublisherStats) -> Iterator[Metric]:
    yield _gauge("publisher_queue", "Messages that wait for the publisher's thread.", stats.waiting)
    yield from _counters(
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
    )


def _evidence(stats: EvidenceStats) -> Iterator[Metric]:
    yield _gauge("evidence_trouble", "1 while alerts cannot be kept.", float(stats.trouble is not None))
    yield _gauge("evidence_waiting", "Alert records that wait in memory to be kept.", stats.waiting)
    yield from _counters(
        ("evidence_lost", "Alert records that were never kept.", stats.lost),
        ("evidence_removed", "Alerts removed for their age or size.", stats.removed),
        ("audit_failures", "Entries of the audit log that could not be written.", stats.audit_failures),
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
    yield from _counters(
        ("page_viewers_refused", "Viewers turned away because there were as many as are allowed.", stats.refused),
        ("page_viewers_dropped", "Viewers let go because they took nothing.", stats.dropped),
        ("page_pictures_encoded", "Pictures made for the page.", stats.encoded),
        ("page_pictures_sent", "Pictures sent, summed over viewers.", stats.sent),
        ("page_frames_skipped", "Frames that a viewer was not shown, summed over viewers.", stats.skipped),
    )


def _outlets(outlets: tuple[OutletStats, ...]) -> Iterator[Metric]:
    label = ("outlet", "outcome")
    told = CounterMetricFamily("taintwatch_notices", "Notices of alerts by what became of them.", labels=label)
    failures = CounterMetricFamily("taintwatch_notice_failures", "Attempts that were repeated.", labels=("outlet",))
    waiting = GaugeMetricFamily("taintwatch_notices_waiting", "Notices that wait.", labels=("outlet",))
    for each in outlets:
        for outcome, value in (
            ("sent", each.sent), ("refused", each.refused), ("dropped", each.dropped), ("snoozed", each.snoozed),
        ):  # fmt: skip
            told.add_metric((each.name, outcome), value)
        failures.add_metric((each.name,), each.failures)
        waiting.add_metric((each.name,), each.waiting)
    yield from (told, failures, waiting)


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


@cache
def _build() -> GaugeMetricFamily:
    family = GaugeMetricFamily(
        "taintwatch_build_info", "1; its labels say what was installed.", labels=("version", "python", "onnxruntime")
    )
    family.add_metric((version("taintwatch"), platform.python_version(), _runtime_version()), 1)
    return family


def _runtime_version() -> str:
    """Return the name and version of the ONNX Runtime wheel that is there."""
    for name in ("onnxruntime-gpu", "onnxruntime"):
        try:
            return f"{name} {version(name)}"
        except PackageNotFoundError:
            continue
    return "unknown"
