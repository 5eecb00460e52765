"""How often: the wait before the next attempt at a camera that failed, and how many of its pictures are wanted."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

__all__ = ["Backoff", "RateLimit"]


@dataclass(slots=True)
class Backoff:
    """Exponential, capped, with jitter, so that cameras behind one switch do not all come back at the same moment."""

    first_s: float = 0.5
    cap_s: float = 30.0
    factor: float = 2.0
    jitter: float = 0.5
    """Each wait is drawn evenly from [(1 - jitter) * wait, wait]."""
    rng: random.Random = field(default_factory=random.Random)
    _failures: int = 0

    def next_s(self) -> float:
        """Return the seconds to wait after one more failure, in (0, cap_s]."""
        # The exponent is capped too: 2.0 ** 1100 overflows, and a camera may be away for months.
        wait_s = min(self.cap_s, self.first_s * self.factor ** min(self._failures, 64))
        self._failures += 1
        return wait_s * (1.0 - self.jitter * self.rng.random())

    def reset(self) -> None:
        """Start again with the first wait: it works."""
        self._failures = 0


class RateLimit:
    """Lets at most `fps` pictures through for each second of whatever time it is told."""

    def __init__(self, fps: float | None) -> None:
        self._interval_s = 0.0 if fps is None else 1.0 / fps
        self._due_s: float | None = None
        self._seen_s = float("-inf")

    def lets_through(self, now_s: float) -> bool:
        """Return whether the picture of the moment `now_s` is wanted."""
        if self._interval_s == 0.0:
            return True
        if now_s < self._seen_s:  # time runs backwards: what was due then would never come
            self._due_s = None
        self._seen_s = now_s
        # A thousandth of the interval forgives rounding: 30 pictures a second at a limit of 30 are all wanted.
        if self._due_s is not None and now_s < self._due_s - 0.001 * self._interval_s:
            return False
        # The next is due one interval after this one *was* due, so that the mean rate is met (30 a second at a limit
        # of 20 gives 20, not 15); after a pause it counts from now, so that no burst follows.
        start_s = now_s if self._due_s is None or now_s - self._due_s > self._interval_s else self._due_s
        self._due_s = start_s + self._interval_s
        return True
