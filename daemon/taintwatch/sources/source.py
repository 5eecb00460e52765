"""What a source is: the seam between cameras and everything else, and what works on any source."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from taintwatch_models.errors import BadFrame

__all__ = ["Grab", "PacedSource", "Source", "grabs_of", "read_through"]


@dataclass(frozen=True, slots=True, eq=False)
class Grab:
    """One picture as a source hands it over, before it has a camera's name and a number."""

    image: NDArray[np.uint8]
    """(height, width, 3), uint8, blue-green-red."""
    media_s: float | None = None
    """Position in the file or stream, in seconds, where known."""


class Source(Protocol):
    """A place that pictures come from. Used by one thread only; `open` may be called again after `close`."""

    @property
    def description(self) -> str:
        """For logs and messages: never holds a credential."""
        ...

    @property
    def live(self) -> bool:
        """True: only the newest picture matters, failures are retried. False: every picture is wanted, and it ends."""
        ...

    def open(self) -> None:
        """Open it within its time-out, or raise `SourceError`."""
        ...

    def read(self) -> Grab | None:
        """Return the next picture within its time-out; None at the end of a file. Raises `SourceError`.

        Raises `BadFrame` for a picture that cannot be decoded while the source itself goes on.
        """
        ...

    def close(self) -> None:
        """Give everything back. Never raises; may be called at any time, more than once."""
        ...


def grabs_of(source: Source) -> Iterator[Grab]:
    """Yield what an open source still gives; a picture that cannot be decoded is passed over. Raises `SourceError`."""
    while True:
        try:
            grab = source.read()
        except BadFrame:
            continue
        if grab is None:
            return
        yield grab


def read_through(source: Source) -> Generator[Grab]:
    """Open a source, yield what it gives as `grabs_of` does, and close it, also where the caller stops before."""
    source.open()
    try:
        yield from grabs_of(source)
    finally:
        source.close()


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
