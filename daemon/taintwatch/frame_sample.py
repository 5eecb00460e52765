"""Frames of one camera to learn from: thinned in time, and what was left out counted by its reason."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from taintwatch_models.errors import BadFrame
from taintwatch_models.preprocessing import Preprocessing

__all__ = ["FrameSample"]


@dataclass(slots=True)
class FrameSample:
    """So many frames, one at a time after each interval. Times are of any clock that only goes forward."""

    interval_ns: int
    most: int
    margin_ns: int = 0
    """Before and after what disturbs it."""
    pixels: list[NDArray[np.uint8]] = field(default_factory=list)
    """As the classifier sees them, (height, width, 3) each."""
    began_ns: int | None = None
    early: int = 0
    """Frames that came before the next was due."""
    unusable: int = 0
    left_out: int = 0
    """Frames that were due and looked suspicious, or came too soon before or after an alert."""
    unseen: int = 0
    """Frames that raised an alert meanwhile and are not suspicious by what was learnt."""
    _next_ns: int = 0
    _disturbed_until_ns: int = 0
    _taken: list[tuple[int, bool]] = field(default_factory=list)
    """Of each that was taken: when, and whether it looked suspicious."""

    @property
    def full(self) -> bool:
        """Whether no more is wanted."""
        return len(self.pixels) >= self.most

    @property
    def share(self) -> float:
        """How much of it is there, in [0, 1]."""
        return min(1.0, len(self.pixels) / self.most)

    def due(self, now_ns: int) -> bool:
        """Whether a frame of this moment is wanted; one that comes too early is counted."""
        if self.began_ns is None:
            self.began_ns = self._next_ns = now_ns
        if self.full:
            return False
        self.early += now_ns < self._next_ns
        if now_ns >= self._next_ns and now_ns < self._disturbed_until_ns:
            self.leave_out(now_ns)
        return now_ns >= self._next_ns

    @property
    def suspicious(self) -> int:
        """How many of those that were taken looked suspicious."""
        return sum(suspicious for _, suspicious in self._taken)

    def counts(self) -> dict[str, int]:
        """Return how many were taken, how many of these looked suspicious, how many were left out, and are not seen."""
        counts = {"frames": len(self.pixels), "suspicious": self.suspicious, "left_out": self.left_out}
        return counts | {"unseen": self.unseen}

    def held_up(self, seconds: float) -> bool:
        """Whether what was left out was due over so many seconds, and still more is wanted."""
        return not self.full and self.left_out * self.interval_ns > seconds * 1e9

    def leave_out(self, now_ns: int) -> None:
        """Leave out what is due; the next is due an interval later."""
        self.left_out += 1
        self._next_ns = now_ns + self.interval_ns

    def disturb(self, now_ns: int) -> None:
        """Note that an alert stands: what was taken just before is left out, and so is what comes until just after.

        An attack may be there before it is seen, and for a while after it is seen no more.
        """
        self._disturbed_until_ns = now_ns + self.margin_ns
        while self._taken and self._taken[-1][0] >= now_ns - self.margin_ns:
            del self._taken[-1], self.pixels[-1]
            self.left_out += 1

    def take(
        self, now_ns: int, image: NDArray[np.uint8], preprocessing: Preprocessing, *, suspicious: bool = False
    ) -> bool:
        """Take a picture, (height, width, 3) BGR; the next is due an interval later. Return whether it could be used.

        Where one cannot be used, the one after it is due at once.
        """
        try:
            self.pixels.append(preprocessing.pixels(image))
        except BadFrame:
            self.unusable += 1
            return False
        self._taken.append((now_ns, suspicious))
        self._next_ns = now_ns + self.interval_ns
        return True
