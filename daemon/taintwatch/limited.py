"""Cameras that are finished after so many frames."""

from __future__ import annotations

from taintwatch.cameras import CameraSet
from taintwatch_models.records import Frame

__all__ = ["Limited"]


class Limited:
    """Cameras that are finished after so many frames."""

    def __init__(self, cameras: CameraSet, limit: int | None) -> None:
        self._cameras = cameras
        self._left = limit

    @property
    def reached(self) -> bool:
        """Whether the limit was reached."""
        return self._left == 0

    @property
    def finished(self) -> bool:
        """Whether there will be no further frame."""
        return self.reached or self._cameras.finished

    def next_batch(self, max_batch: int, wait_s: float) -> list[Frame]:
        """Return what the cameras give, but never more than is left."""
        room = max_batch if self._left is None else min(max_batch, self._left)
        batch = self._cameras.next_batch(room, wait_s)
        if self._left is not None:
            self._left -= len(batch)
        return batch
