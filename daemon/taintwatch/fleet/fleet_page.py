"""One page and one /metrics for the whole fleet, beside `fleet run`: over the shared history, and how each group is."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from typing import Any

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import generate_latest
from prometheus_client.registry import Collector

from taintwatch.alerts.incidents import AlertTracker
from taintwatch.cameras.camera_status import CameraState, CameraStatus
from taintwatch.config.sections import Config
from taintwatch.detection_stack import DetectionStack
from taintwatch.status import RunStatus
from taintwatch.vote.voter import Voter
from taintwatch.web.live import LiveState
from taintwatch.web.server import WebServer
from taintwatch_models.classifier import ModelCard, Rejected
from taintwatch_models.records import Frame, Prediction

__all__ = ["FleetMetrics", "FleetPage", "run_status_of"]

SUMS = (
    ("open_alerts", "Alerts that are not cleared."),
    ("waiting", "Alert records that wait in memory to be kept."),
    ("undelivered", "Stored records that a broker has not confirmed."),
)
TOTALS = (("frames", "Frames judged since the group's start."), ("alerts", "Alerts raised since the group's start."))


class FleetMetrics(Collector):
    """What monitoring reads of the fleet. Updated by one thread, read by any."""

    def __init__(self) -> None:
        self._status: Mapping[str, Any] = {"nodes": [], "groups": []}
        self._registry = CollectorRegistry()
        self._registry.register(self)

    def update(self, status: Mapping[str, Any]) -> None:
        """Note how the fleet stands."""
        self._status = status

    def health(self) -> str | None:
        """Return why the fleet is not well: a group that is nowhere."""
        nowhere = [group["group"] for group in self._status["groups"] if group["node"] is None]
        return f"not placed: {', '.join(nowhere)}" if nowhere else None

    def readiness(self) -> str | None:
        """Return why it is not ready: a group that does not run yet."""
        waiting = [group["group"] for group in self._status["groups"] if group["state"] not in ("running", "ended")]
        return f"not running: {', '.join(waiting)}" if waiting else None

    def render(self) -> bytes:
        """Return everything in Prometheus' text format."""
        return generate_latest(self._registry)

    def collect(self) -> Iterator[Metric]:
        """Yield every metric as it stands now."""
        groups, nodes = self._status["groups"], self._status["nodes"]
        rows: list[tuple[tuple[str, ...], float]]
        yield _labelled("nodes", "Machines of the cluster.", (), [((), len(nodes))])
        for name, what in (("groups", "Groups on a machine."), ("room", "Groups that a machine has room for.")):
            rows = [((str(node["node"]), str(node["host"])), float(node[name])) for node in nodes]
            yield _labelled(f"node_{name}", what, ("node", "host"), rows)
        yield _labelled("groups", "Groups by state.", ("state",), _counted(group["state"] for group in groups))
        cameras = [camera for group in groups for camera in group["cameras"]]
        yield _labelled("cameras", "Cameras by state.", ("state",), _counted(camera["state"] for camera in cameras))
        for name, what in SUMS:
            rows = [((str(group["group"]),), float(group.get(name, 0))) for group in groups]
            yield _labelled(name, what, ("group",), rows)
        rows = [((str(group["group"]),), float(group.get("resident_bytes", 0))) for group in groups]
        yield _labelled("resident_bytes", "Memory of a group's process.", ("group",), rows)
        for name, what in (*TOTALS, ("lost", "Alert records that were never kept."), ("restarts", "Starts elsewhere.")):
            family = CounterMetricFamily(f"taintwatch_fleet_{name}", what, labels=("group",))
            for group in groups:
                family.add_metric((group["group"],), float(group.get(name, 0)))
            yield family
        yield _of_cameras("taintwatch_camera_running", "1 while the camera gives frames.", cameras)


class FleetPage:
    """Where no address is given, nothing is served."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._live = LiveState()
        self.metrics = FleetMetrics()
        self.server: WebServer | None = None
        self._began = time.monotonic()

    def start(self, stack: ExitStack) -> None:
        """Serve what `[web]` and `[metrics]` ask for until `stack` is closed. Raises `ConfigError`."""
        config = self._config
        if config.web.bind is None and not config.metrics.enabled:
            return
        card = ModelCard("fleet", "", "Ray", (), (0, 0))
        detection = DetectionStack(_Elsewhere(card), (), Voter(), AlertTracker())
        monitored = self.metrics if config.metrics.enabled else None
        self.server = stack.enter_context(WebServer(lambda: config, lambda: detection, self._live, monitored))

    def update(self, status: Mapping[str, Any]) -> None:
        """Show how the fleet stands."""
        self.metrics.update(status)
        self._live.progress(run_status_of(status, time.monotonic() - self._began))


class _Elsewhere:
    """Stands for the models of the groups, which run in processes of their own."""

    def __init__(self, card: ModelCard) -> None:
        self.card = card

    def __call__(self, frames: Sequence[Frame]) -> list[Prediction | Rejected]:
        return [Rejected(frame, "the fleet's models run elsewhere") for frame in frames]


def run_status_of(status: Mapping[str, Any], seconds: float) -> RunStatus:
    """Return the fleet's status as one daemon's: what the page shows. A camera without a group is `lost`."""
    groups = status["groups"]
    cameras = tuple(_camera(camera, group) for group in groups for camera in group["cameras"])
    bad = next((f"{group['group']}: {group['reason']}" for group in groups if group.get("reason")), None)
    return RunStatus(
        frames=sum(group.get("frames", 0) for group in groups),
        seconds=seconds,
        fps=sum(group.get("fps", 0.0) for group in groups),
        alerts=sum(group.get("alerts", 0) for group in groups),
        open_alerts=sum(group.get("open_alerts", 0) for group in groups),
        drops=sum(camera.dropped for camera in cameras),
        bad_frames=sum(camera.bad for camera in cameras),
        rejected=sum(camera.rejected for camera in cameras),
        inference_ms=None,
        delay_ms=None,
        media_s=None,
        cameras=cameras,
        provider="Ray",
        degraded=bad,
    )


def _camera(said: Mapping[str, Any], group: Mapping[str, Any]) -> CameraStatus:
    if "source" in said:
        return CameraStatus(**{**said, "state": CameraState(said["state"])})
    starting = said["state"] in ("starting", "loading", "moving")
    state = CameraState.CONNECTING if starting else CameraState.LOST
    return CameraStatus(said["camera"], state, "", reason=group.get("reason"))


def _counted(states: Any) -> list[tuple[tuple[str, ...], float]]:
    return [((state,), float(count)) for state, count in sorted(Counter(states).items())]


def _labelled(
    name: str, what: str, labels: tuple[str, ...], rows: Sequence[tuple[tuple[str, ...], float]]
) -> GaugeMetricFamily:
    family = GaugeMetricFamily(f"taintwatch_fleet_{name}", what, labels=labels)
    for values, value in rows:
        family.add_metric(values, value)
    return family


def _of_cameras(name: str, what: str, cameras: Sequence[Mapping[str, Any]]) -> GaugeMetricFamily:
    family = GaugeMetricFamily(name, what, labels=("camera",))
    for camera in cameras:
        family.add_metric((camera["camera"],), float(camera["state"] == "running"))
    return family
