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
    pixels: list[NDArray[np.uint8]] = field(default_factory=list)
    """As the classifier sees them, (height, width, 3) each."""
    began_ns: int | None = None
    early: int = 0
    """Frames that came before the next was due."""
    unusable: int = 0
    suspicious: int = 0
    """Frames that looked suspicious: whether they were taken is the caller's to decide."""
    _next_ns: int = 0

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
        return now_ns >= self._next_ns

    def take(self, now_ns: int, image: NDArray[np.uint8], preprocessing: Preprocessing) -> bool:
        """Take a picture, (height, width, 3) BGR; the next is due an interval later. Return whether it could be used.

        Where one cannot be used, the one after it is due at once.
        """
        try:
            self.pixels.append(preprocessing.pixels(image))
        except BadFrame:
            self.unusable += 1
            return False
        self._next_ns = now_ns + self.interval_ns
        return True
