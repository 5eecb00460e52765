"""A file that is played at its own speed, as a player would, in place of as fast as it can be judged."""

from __future__ import annotations

import time
from collections.abc import Callable

from taintwatch.sources.base import Grab, Source

__all__ = ["PacedSource"]

LONGEST_S = 1.0  # that one picture is waited for: a hole in a file's times must not look like a hang


class PacedSource:
    """Gives every picture of another source at its time. It is still a file: nothing is dropped, and it ends."""

    def __init__(
        self,
        source: Source,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._source = source
        self._clock = clock
        self._sleep = sleep
        self._start_s: float | None = None
        """When the picture at 0 s was due, by the clock."""

    @property
    def description(self) -> str:
        """The other source's."""
        return self._source.description

    @property
    def live(self) -> bool:
        """The other source's."""
        return self._source.live

    def open(self) -> None:
        """Open the other source. Raises `SourceError`."""
        self._start_s = None
        self._source.open()

    def read(self) -> Grab | None:
        """Return the next picture at its time. Raises what the other source raises."""
        grab = self._source.read()
        if grab is not None and grab.media_s is not None:
            self._wait_for(grab.media_s)
        return grab

    def close(self) -> None:
        """Close the other source."""
        self._source.close()

    def _wait_for(self, media_s: float) -> None:
        now = self._clock()
        due_s = now if self._start_s is None else self._start_s + media_s
        # Of one that comes late, or after a jump, the times count anew: nothing is caught up with in a burst.
        due_s = min(max(due_s, now), now + LONGEST_S)
        self._start_s = due_s - media_s
        if due_s > now:
            self._sleep(due_s - now)
