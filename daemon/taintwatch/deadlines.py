"""Deadlines for workers: each arms one for its next sign of life, and is overdue once it has passed."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from weakref import WeakSet

__all__ = ["Deadline", "Deadlines", "Overdue"]


@dataclass(frozen=True, slots=True)
class Overdue:
    """A worker that should have been heard of."""

    worker: str
    overdue_s: float
    """Seconds since its deadline."""


class Deadline:
    """One worker's deadline. Written by that worker's thread only, read by any.

    A thread that hangs and one that died miss it alike: neither arms it again.
    """

    def __init__(self, name: str, clock: Callable[[], float] = time.monotonic) -> None:
        self.name = name
        self._clock = clock
        self._due_s = math.inf

    def arm(self, within_s: float) -> None:
        """Set the deadline to so many seconds from now: call again before then."""
        self._due_s = self._clock() + within_s

    def disarm(self) -> None:
        """Have no deadline: the worker waits for another one, for as long as that takes, or has ended as it should."""
        self._due_s = math.inf

    def overdue_s(self) -> float:
        """Return the seconds since the deadline; 0 or less before it."""
        return self._clock() - self._due_s


class Deadlines:
    """The deadlines of all workers of one process; a worker that nobody holds any more is forgotten by itself.

    Any thread may add, remove and look.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._deadlines: WeakSet[Deadline] = WeakSet()

    def add(self, name: str) -> Deadline:
        """Return a new worker's deadline. Two may have the same name: a camera's old thread, and its new one."""
        deadline = Deadline(name, self._clock)
        with self._lock:
            self._deadlines.add(deadline)
        return deadline

    def remove(self, deadline: Deadline) -> None:
        """Forget a worker that is not needed any more, wherever it hangs."""
        with self._lock:
            self._deadlines.discard(deadline)

    def overdue(self) -> tuple[Overdue, ...]:
        """Return the workers that missed their deadline, the most overdue first."""
        with self._lock:
            deadlines = tuple(self._deadlines)
        late = ((deadline, deadline.overdue_s()) for deadline in deadlines)
        found = [Overdue(deadline.name, seconds) for deadline, seconds in late if seconds > 0.0]
        return tuple(sorted(found, key=lambda each: -each.overdue_s))
