"""The watchdog: tells the service manager that we live, only while no worker misses its deadline."""

from __future__ import annotations

import logging
import threading
from types import TracebackType

from taintwatch.deadlines import Deadlines, Overdue
from taintwatch.notify import Notifier

__all__ = ["Watchdog", "look_every_s"]

_log = logging.getLogger(__name__)

SLOWEST_S = 2.0  # between two looks
EXTENSION_S = 15.0  # more time to start that is asked for at each look while the model loads


def look_every_s(watchdog_s: float | None) -> float:
    """Return the seconds between two looks: often enough that one that comes late does no harm."""
    return SLOWEST_S if watchdog_s is None else min(SLOWEST_S, watchdog_s / 4)


class Watchdog:
    """A thread that looks at the deadlines. A context manager.

    Until `started` is called it asks for more time to start, afterwards it feeds the watchdog; either only while nobody
    is overdue. It can do no more for one that hangs: the service manager ends the process with SIGABRT, which leaves
    every thread's traceback in the journal (`faulthandler`), and starts it again.
    """

    def __init__(self, notifier: Notifier, deadlines: Deadlines, *, every_s: float = SLOWEST_S) -> None:
        """`every_s`: see `look_every_s`."""
        self._notifier = notifier
        self._deadlines = deadlines
        self._every_s = every_s
        self._started = False
        self._overdue: tuple[Overdue, ...] = ()
        self._told: frozenset[str] = frozenset()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watchdog", daemon=True)

    @property
    def overdue(self) -> tuple[Overdue, ...]:
        """Who was overdue when it last looked."""
        return self._overdue

    def started(self) -> None:
        """Say that the start is over."""
        self._started = True

    def look(self) -> None:
        """Look once, and tell."""
        self._overdue = self._deadlines.overdue()
        names = frozenset(late.worker for late in self._overdue)
        for late in self._overdue:
            if late.worker not in self._told:
                _log.error("%s hangs: it should have been heard of %.1f s ago", late.worker, late.overdue_s)
        for name in sorted(self._told - names):
            _log.warning("%s is alive again", name)
        self._told = names
        if self._overdue:
            self._notifier.status(f"hanging: {', '.join(sorted(names))}")
        elif self._started:
            self._notifier.alive()
        else:
            self._notifier.extend(EXTENSION_S)

    def __enter__(self) -> Watchdog:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()

    def _run(self) -> None:
        while True:
            self.look()
            if self._ended.wait(self._every_s):
                return
