"""What came of a soak: the figures, the table, and JSON."""

from __future__ import annotations

import datetime
import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib import metadata
from statistics import median
from typing import Any

from benchmarks.soaking.bench import Bench, Effect
from benchmarks.soaking.daemon import Sample

__all__ = ["Fault", "Result", "lost_alerts", "measure", "print_table"]

WINDOW_S = 30.0
PACKAGES = ("taintwatch", "av", "numpy", "onnxruntime-gpu", "opencv-python", "pyzmq")


@dataclass(frozen=True, slots=True)
class Fault:
    """One kind of fault over the whole soak."""

    name: str
    injected: int
    """Times."""
    detected_s: float | None
    """The slowest; None where there is nothing to detect."""
    recovered_s: float | None
    """The slowest; None where it was not injected."""
    failed: tuple[str, ...] = ()
    """What was waited for in vain."""


@dataclass(frozen=True, slots=True)
class Result:
    """A whole soak. JSON-ready."""

    minutes: float
    alerts: int
    """Alert records that the daemon published."""
    alerts_lost: int
    """Of those, the ones that neither came to the subscriber that was always there nor are kept as evidence."""
    alerts_only_in_store: int
    """Published in the moment of a SIGKILL: kept, but not sent before the process ended."""
    memory_growth_percent: float
    """Resident memory: the median of the last 30 s over that of the 30 s after warming up, in the longest life."""
    threads_leaked: int
    descriptors_leaked: int
    """Those after the last fault, less those before the first, both with all cameras running; in the longest life."""
    longest_life_s: float
    longest_silence_s: float
    """Nothing at all, not even a heartbeat (every 0.5 s), came to the subscriber for so long, restarts left out."""
    longest_watchdog_gap_s: float
    faults: tuple[Fault, ...]

    def as_json(self) -> dict[str, Any]:
        """Return it with the machine, the versions and the date."""
        return asdict(self) | {
            "machine": f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, {platform.platform()}",
            "versions": {name: metadata.version(name) for name in PACKAGES if _installed(name)}
            | {"python": platform.python_version()},
            "load_average": [round(each, 1) for each in os.getloadavg()],
            "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        }


def fault(name: str, effects: Sequence[Effect], failed: Sequence[str]) -> Fault:
    """Sum up what one kind of fault did."""
    detected = [effect.detected_s for effect in effects if effect.detected_s is not None]
    recovered = [effect.recovered_s for effect in effects]
    return Fault(
        name,
        len(effects) + len(failed),
        round(max(detected), 2) if detected else None,
        round(max(recovered), 2) if recovered else None,
        tuple(failed),
    )


def measure(
    bench: Bench,
    minutes: float,
    warm_s: float,
    effects: Mapping[str, Sequence[Effect]],
    failures: Mapping[str, Sequence[str]],
) -> Result:
    """Work out the figures."""
    life = _longest_life(bench.daemon.samples)
    steady = [sample for sample in life if sample.at_s >= life[0].at_s + warm_s] or life
    quiet = _longest_life(bench.quiet)
    threads, descriptors = _leak(quiet[0], quiet[-1])
    only_stored, lost = lost_alerts(bench)
    return Result(
        minutes=round(minutes, 2),
        alerts=len(bench.daemon.alerts),
        alerts_lost=lost,
        alerts_only_in_store=only_stored,
        memory_growth_percent=_growth(steady),
        threads_leaked=threads,
        descriptors_leaked=descriptors,
        longest_life_s=round(life[-1].at_s - life[0].at_s, 1),
        longest_silence_s=round(bench.subscriber.longest_silence_s, 2),
        longest_watchdog_gap_s=round(bench.daemon.longest_watchdog_gap_s, 2),
        faults=tuple(fault(name, effects[name], failures[name]) for name in effects),
    )


def lost_alerts(bench: Bench) -> tuple[int, int]:
    """Return how many published alert records are only in the evidence, and how many are nowhere."""
    printed = {(alert["event_id"], alert["state"], alert["frame_index"]) for alert in bench.daemon.alerts}
    absent = printed - bench.subscriber.alerts.keys()
    stored = absent & bench.stored
    return len(stored), len(absent - stored)


def print_table(result: Result) -> None:
    """Print what a person wants to see."""
    print(f"\n{'fault':<26}{'injected':>9}{'detected within':>17}{'recovered within':>18}  failed")
    for each in result.faults:
        detected = "nothing to detect" if each.detected_s is None else f"{each.detected_s:.2f} s"
        recovered = "-" if each.recovered_s is None else f"{each.recovered_s:.2f} s"
        print(f"{each.name:<26}{each.injected:>9}{detected:>17}{recovered:>18}  {'; '.join(each.failed)}")
    print(f"\nminutes                    {result.minutes}, of which in one life {result.longest_life_s / 60:.1f}")
    print(f"alert records              {result.alerts}")
    print(f"alert records lost         {result.alerts_lost}")
    print(f"only kept, not received    {result.alerts_only_in_store} (published in the moment of a SIGKILL)")
    print(f"memory growth              {result.memory_growth_percent} %")
    print(f"threads leaked             {result.threads_leaked}")
    print(f"descriptors leaked         {result.descriptors_leaked}")
    print(f"longest silence            {result.longest_silence_s} s (a heartbeat is due every 0.5 s)")
    print(f"longest watchdog gap       {result.longest_watchdog_gap_s} s (systemd would end it after 10 s)")


def _longest_life(samples: Sequence[Sample]) -> list[Sample]:
    lives: dict[int, list[Sample]] = {}
    for sample in samples:
        lives.setdefault(sample.pid, []).append(sample)
    return max(lives.values(), key=lambda life: life[-1].at_s - life[0].at_s)


def _growth(samples: Sequence[Sample]) -> float:
    """Return by how many percent the memory grew from the first window to the last."""
    first = [each.resident_bytes for each in samples if each.at_s <= samples[0].at_s + WINDOW_S]
    last = [each.resident_bytes for each in samples if each.at_s >= samples[-1].at_s - WINDOW_S]
    return round(100.0 * (median(last) / median(first) - 1.0), 2)


def _leak(before: Sample, after: Sample) -> tuple[int, int]:
    return max(0, after.threads - before.threads), max(0, after.descriptors - before.descriptors)


def _installed(name: str) -> bool:
    try:
        metadata.version(name)
    except metadata.PackageNotFoundError:
        return False
    return True
