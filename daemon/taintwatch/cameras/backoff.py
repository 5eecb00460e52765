"""How long to wait before the next attempt at a camera that failed."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

__all__ = ["Backoff"]


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
