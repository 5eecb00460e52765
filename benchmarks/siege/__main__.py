"""Besiege the daemon with every known attack at once, while a scripted attack on a camera must be alerted.

    python -m benchmarks.siege --minutes 10 [--json docs/results/siege.json]

The daemon, its subscriber, its owner at the page and the attackers are processes and sockets of one machine.
"""

from __future__ import annotations

import os
import platform
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from benchmarks.siege.attackers import Attackers, attack_repeatedly
from benchmarks.siege.attacks import ATTACKS, INSIDE, Siege
from benchmarks.siege.rounds import Log, lives, lost_rounds
from benchmarks.siege.site import HugeCamera, SiegeSite
from benchmarks.soaking.cameras import MjpegCamera
from benchmarks.soaking.daemon import Daemon
from benchmarks.soaking.subscriber_log import SubscriberLog
from benchmarks.timed_run import all_held, timed_run
from taintwatch_calibration.results import write_json

__all__ = ["besiege", "main"]

SAMPLE_S = 0.5
MOST_TOLD = 5  # lost attacks of which the JSON says what the daemon saw
GAP_S, PAGE_S, MEMORY_MB = 3.0, 2.0, 1500.0  # what is promised


class _Owner:
    """The page's owner, and monitoring: each asks once a second and notes how long an answer took."""

    def __init__(self, site: SiegeSite) -> None:
        self._site = site
        self.times: list[float] = []
        self.failures: Counter[str] = Counter()
        """Each with its reason: the page's, and monitoring's."""
        self.health_failures: Counter[str] = Counter()

    def run(self, ended: threading.Event) -> None:
        while not ended.wait(1.0):
            began = time.monotonic()
            try:
                self._site.ask("/api/about")
                self.times.append(time.monotonic() - began)
            except (OSError, ValueError) as error:
                self.failures[f"{type(error).__name__}: {error}"] += 1
            try:
                if not self._site.healthy():
                    self.health_failures["not healthy"] += 1
            except OSError as error:
                self.health_failures[f"{type(error).__name__}: {error}"] += 1


def besiege(minutes: float, folder: Path, tell: Callable[[str], None] = print) -> dict[str, Any]:
    """Besiege for so many minutes in `folder`; return what came of it, JSON-ready."""
    with ExitStack() as stack:
        mjpeg, huge = MjpegCamera(), HugeCamera()
        stack.callback(mjpeg.close)
        stack.callback(huge.close)
        site = SiegeSite(folder, mjpeg, huge)
        daemon = Daemon(folder, site.config, {})
        stack.callback(daemon.close)
        subscriber = stack.enter_context(SubscriberLog(site.endpoint))
        daemon.start()
        pid = daemon.pid
        subscriber.wait(lambda seen: len(seen.alerts) >= 2 and seen.running("door"), 60.0)
        pinned = site.pin()
        tell(f"alert {pinned[:12]} is pinned; the siege begins")
        subscriber.forget_silence()
        began, before = time.monotonic(), len(daemon.alerts)
        siege, owner, ended = Siege(site, daemon, mjpeg), _Owner(site), threading.Event()
        log = Log("door")
        counts = dict.fromkeys(ATTACKS, 0)
        stack.enter_context(daemon.sampled(SAMPLE_S))
        threads = [threading.Thread(target=owner.run, args=(ended,))]
        threads += [
            threading.Thread(target=attack_repeatedly, args=(siege, name, counts, ended, tell)) for name in INSIDE
        ]
        attackers = Attackers(site, [name for name in ATTACKS if name not in INSIDE])
        for thread in threads:
            thread.start()
        while time.monotonic() - began < minutes * 60.0 and _alive(daemon, pid):
            time.sleep(0.1)
            log.look(subscriber)
        ended.set()
        for thread in threads:
            thread.join(120.0)
        attackers.end(siege, counts)
        gap_s, alive = subscriber.longest_silence_s, _alive(daemon, pid)
        watched_s = time.monotonic() - began
        intact = alive and site.is_intact(pinned)
        if alive:
            daemon.stop()
        subscriber.wait(lambda seen: False, 2.0)
        came = {event for event, _, _ in subscriber.alerts}
        shown, lost = lost_rounds(log, lives(daemon.alerts, "door"))
        return {
            "minutes": round(watched_s / 60.0, 2),
            "alerts": len(daemon.alerts) - before,
            "door_attacks": shown,
            "alerts_lost": len(lost) + len({each["event_id"] for each in daemon.alerts} - came),
            "lost": lost[:MOST_TOLD],
            "longest_heartbeat_gap_s": round(gap_s, 2),
            "peak_memory_mb": round(max(each.resident_bytes for each in daemon.samples) / 1e6, 1),
            "peak_descriptors": max(each.descriptors for each in daemon.samples),
            "restarts": 0 if alive else 1,
            "pinned_evidence_intact": intact,
            "page_slowest_s": round(max(owner.times, default=float("inf")), 2),
            "page_p95_s": _p95(owner.times),
            "page_answers": len(owner.times),
            "page_failures": owner.failures.total(),
            "page_failure_reasons": dict(owner.failures),
            "health_failures": owner.health_failures.total(),
            "health_failure_reasons": dict(owner.health_failures),
            "replay_slowest_s": round(max(siege.waits, default=0.0), 2),
            "replay_p95_s": _p95(siege.waits),
            "attacks": [
                {"attack": name, "times": counts[name], "effects": siege.failures.get(name, [])} for name in ATTACKS
            ]
            + [{"attack": "huge_pictures", "times": huge.sent, "effects": []}],
            "machine": {"cpus": os.cpu_count(), "load": os.getloadavg()[0], "python": platform.python_version()},
        }


def _p95(seconds: Sequence[float]) -> float | None:
    return round(sorted(seconds)[int(len(seconds) * 0.95)], 2) if seconds else None


def _alive(daemon: Daemon, pid: int) -> bool:
    try:
        return daemon.pid == pid
    except RuntimeError:
        return False


def promises(result: dict[str, Any]) -> dict[str, bool]:
    """Return each promise and whether it held."""
    return {
        "no alert lost": result["alerts_lost"] == 0,
        f"heartbeat gap at most {GAP_S:g} s": result["longest_heartbeat_gap_s"] <= GAP_S,
        f"memory below {MEMORY_MB:g} MB": result["peak_memory_mb"] < MEMORY_MB,
        "no restart": result["restarts"] == 0,
        "pinned evidence intact": result["pinned_evidence_intact"],
        f"page within {PAGE_S:g} s": result["page_slowest_s"] <= PAGE_S and result["page_failures"] == 0,
        "health always told": result["health_failures"] == 0,
        "no attack had an effect": not any(row["effects"] for row in result["attacks"]),
    }


def main() -> int:
    """Besiege, print the table, write the JSON."""
    with timed_run("siege", __doc__, minutes=10.0) as run:
        result = besiege(run.minutes, run.folder, run.report)
        write_json(run.document, result)
    for key, value in result.items():
        if key not in ("attacks", "lost"):
            print(f"{key:26}{value}")
    for row in result["attacks"]:
        print(f"  {row['attack']:24}{row['times']:6}  {'; '.join(row['effects'][:3])}")
    return 0 if all_held(promises(result)) else 1


if __name__ == "__main__":
    sys.exit(main())
