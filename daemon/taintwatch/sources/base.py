"""The seam between cameras and everything else."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

__all__ = ["Grab", "Source"]


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
