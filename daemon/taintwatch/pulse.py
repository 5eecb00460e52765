"""Who is alive: each worker says within what time it will be heard of again, and is late where it is not."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from weakref import WeakSet

__all__ = ["Late", "Pulse", "Pulses"]


@dataclass(frozen=True, slots=True)
class Late:
    """A worker that should have been heard of."""

    worker: str
    overdue_s: float
    """Seconds since it should have been heard of."""


class Pulse:
    """One worker's promise. Written by that worker's thread only, read by any.

    A thread that hangs, and one that died, break their promise alike: neither makes a new one.
    """

    def __init__(self, name: str, clock: Callable[[], float] = time.monotonic) -> None:
        self.name = name
        self._clock = clock
        self._due_s = math.inf

    def expect(self, within_s: float) -> None:
        """Promise to call again within so many seconds."""
        self._due_s = self._clock() + within_s

    def rest(self) -> None:
        """Promise nothing: the worker waits for somebody else, for as long as that takes, or has ended as it should."""
        self._due_s = math.inf

    def overdue_s(self) -> float:
        """Return the seconds since the promise was broken; 0 or less while it holds."""
        return self._clock() - self._due_s


class Pulses:
    """The pulses of all workers of one process; a worker that nobody holds any more is forgotten by itself.

    Any thread may add, remove and look.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._pulses: WeakSet[Pulse] = WeakSet()

    def add(self, name: str) -> Pulse:
        """Return a new worker's pulse. Two may have the same name: a camera's old thread, and its new one."""
        pulse = Pulse(name, self._clock)
        with self._lock:
            self._pulses.add(pulse)
        return pulse

    def remove(self, pulse: Pulse) -> None:
        """Forget a worker that is not needed any more, wherever it hangs."""
        with self._lock:
            self._pulses.discard(pulse)

    def late(self) -> tuple[Late, ...]:
        """Return the workers that broke their promise, the most overdue first."""
        with self._lock:
            pulses = tuple(self._pulses)
        overdue = ((pulse, pulse.overdue_s()) for pulse in pulses)
        late = [Late(pulse.name, seconds) for pulse, seconds in overdue if seconds > 0.0]
        return tuple(sorted(late, key=lambda each: -each.overdue_s))
