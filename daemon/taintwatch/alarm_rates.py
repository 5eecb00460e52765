"""How often detectors suspect frames of late, while no alert stands: what tells that a calibration drifted."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from math import sqrt

from taintwatch_models.records import Verdict

__all__ = ["AlarmRate", "AlarmRates", "wilson_interval"]

BUCKET_NS = 60_000_000_000
BUCKETS = 60  # minutes
ENOUGH = 300  # frames; before that nothing is said of drift
EXPECTED = 3  # false alarms


@dataclass(frozen=True, slots=True)
class AlarmRate:
    """How often a detector suspected frames of late, while no alert stood. JSON-ready."""

    detector: str
    frames: int
    alarms: int
    rate: float | None
    low: float
    high: float
    """95% Wilson interval, as if frames were independent (neighbouring ones are not: the true one is wider)."""

    def drifted(self, target_fpr: float | None) -> bool:
        """Whether even the interval's lower end lies above twice the target rate, on enough frames.

        Twice, because neighbouring frames resemble one another and the interval is too narrow by that. Enough are 300,
        and as many as three false alarms take: of fewer, one event would be told as a drift.
        """
        if target_fpr is None or self.frames < max(ENOUGH, EXPECTED / target_fpr):
            return False
        return self.low > 2 * target_fpr


class AlarmRates:
    """Counts over the last hour, by the frames' own wall clock. Written by one thread, read by any."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._buckets: dict[str, deque[list[int]]] = {}
        """Detector -> [minute, frames, alarms] of each minute."""

    def see(self, verdicts: Iterable[Verdict], wall_ns: int) -> None:
        """Count the verdicts of one frame."""
        minute = wall_ns // BUCKET_NS
        with self._lock:
            for verdict in verdicts:
                buckets = self._buckets.setdefault(verdict.detector, deque(maxlen=BUCKETS))
                if not buckets or buckets[-1][0] != minute:
                    buckets.append([minute, 0, 0])
                buckets[-1][1] += 1
                buckets[-1][2] += verdict.suspicious

    def now(self) -> tuple[AlarmRate, ...]:
        """Return the rate of each detector."""
        with self._lock:
            sums = {
                name: (sum(bucket[1] for bucket in buckets), sum(bucket[2] for bucket in buckets))
                for name, buckets in self._buckets.items()
            }
        return tuple(
            AlarmRate(name, frames, alarms, alarms / frames if frames else None, *wilson_interval(alarms, frames))
            for name, (frames, alarms) in sorted(sums.items())
        )


def wilson_interval(count: int, total: int, z: float = 1.959964) -> tuple[float, float]:
    """Return Wilson's score interval of a proportion (Wilson 1927); (0, 1) where nothing was counted.

    By hand, once for all: scipy's would cost the daemon 70 MB of memory, and each command a second at its start.
    """
    if total == 0:
        return 0.0, 1.0
    share, spread = count / total, z * z / total
    centre = (share + spread / 2) / (1 + spread)
    half = z * sqrt(share * (1 - share) / total + spread / (4 * total)) / (1 + spread)
    return max(0.0, centre - half), min(1.0, centre + half)
