"""What every fault works with, and how its effect is written down."""

from __future__ import annotations

import json
import sqlite3
import time
import urllib.request
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field

from benchmarks.soaking.cameras import MjpegCamera, RtspCamera
from benchmarks.soaking.clock import SteppedClock
from benchmarks.soaking.daemon import Daemon, Sample
from benchmarks.soaking.site import SoakSite
from benchmarks.soaking.subscriber_log import AlertKey, SubscriberLog

__all__ = ["Bench", "Effect", "FaultError", "Pace"]


class FaultError(Exception):
    """A fault was not noticed, or the daemon did not recover from it."""


@dataclass(frozen=True, slots=True)
class Pace:
    """How long things last, in seconds."""

    outage_s: float
    """A camera or disk stays broken at least so long."""
    patience_s: float
    """Longest that anything is waited for."""
    hangups: int
    """In one storm."""


@dataclass(frozen=True, slots=True)
class Effect:
    """What one injection did."""

    detected_s: float | None
    """From the fault to the first sign of it to whoever watches the daemon; None where there is nothing to notice."""
    recovered_s: float
    """From the end of the fault until all was as before."""


@dataclass(frozen=True, slots=True)
class Bench:
    """The daemon, its cameras, its subscriber, and what can be done to them."""

    daemon: Daemon
    site: SoakSite
    rtsp: RtspCamera
    mjpeg: MjpegCamera
    subscriber: SubscriberLog
    clock: SteppedClock
    pace: Pace
    quiet: list[Sample] = field(default_factory=list)
    """Before the first and after the last fault of each life, with all cameras running and no guests."""
    stored: set[AlertKey] = field(default_factory=set)
    """Alert records that are kept as evidence, as far as they were looked for."""

    def look_into_store(self) -> None:
        """Note which alert records are kept as evidence."""
        for path in self.site.evidence.glob("alerts.db"):
            with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as database:
                for (text,) in database.execute("SELECT json FROM records"):
                    body = json.loads(text)["body"]
                    self.stored.add((body["event_id"], body["state"], body["frame_index"]))

    def wait(self, what: str, holds: Callable[[SubscriberLog], bool]) -> float:
        """Return the seconds until `holds` does. Raises `FaultError` where it does not in good time."""
        waited = self.subscriber.wait(holds, self.pace.patience_s)
        if waited is None:
            raise FaultError(f"{what}: not within {self.pace.patience_s:g} s")
        return waited

    def wait_until(self, what: str, holds: Callable[[], bool]) -> float:
        """The same of anything that must be asked again and again."""
        start = time.monotonic()
        while not holds():
            if time.monotonic() - start > self.pace.patience_s:
                raise FaultError(f"{what}: not within {self.pace.patience_s:g} s")
            time.sleep(0.05)
        return time.monotonic() - start

    def wait_for_frames(self, camera: str, count: int = 5) -> float:
        """Wait until a camera runs and so many more of its frames were judged."""
        before = self.subscriber.frames(camera)
        return self.wait(
            f"{camera} gives frames", lambda seen: seen.running(camera) and seen.frames(camera) >= before + count
        )

    def wait_for_alert(self) -> float:
        """Wait until one more alert comes."""
        before = len(self.subscriber.alerts)
        return self.wait("an alert comes", lambda seen: len(seen.alerts) > before)

    def metric(self, name: str) -> float:
        """Return the sum of a metric over its labels. Raises `OSError` where the daemon does not answer."""
        with urllib.request.urlopen(f"{self.site.metrics}/metrics", timeout=5) as answer:  # noqa: S310 - our own
            lines = answer.read().decode().splitlines()
        return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith((f"{name} ", f"{name}{{")))
