"""What a picture must be to become a frame, and how many of them are wanted."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from taintwatch_models.errors import BadFrame

__all__ = ["RateLimit", "as_bgr"]


def as_bgr(image: NDArray[np.generic]) -> NDArray[np.uint8]:
    """Return `image` as (height, width, 3) uint8 blue-green-red; grey and BGRA are converted.

    Raises `BadFrame` for anything else: another type, another number of channels, no pixels.
    """
    if image.dtype != np.uint8:
        raise BadFrame(f"the picture holds {image.dtype} values where uint8 is needed")
    if image.ndim not in (2, 3) or image.size == 0:
        raise BadFrame(f"the picture has the shape {image.shape} where (height, width, 3) is needed")
    channels = 1 if image.ndim == 2 else image.shape[2]
    if channels == 3:
        return np.asarray(image, dtype=np.uint8)
    if channels == 1:
        return np.asarray(cv2.cvtColor(image, cv2.COLOR_GRAY2BGR), dtype=np.uint8)
    if channels == 4:
        return np.asarray(cv2.cvtColor(image, cv2.COLOR_BGRA2BGR), dtype=np.uint8)
    raise BadFrame(f"the picture has {channels} channels where 3 (or 1, or 4 with alpha) are needed")


class RateLimit:
    """Lets at most `fps` pictures through for each second of whatever time it is told."""

    def __init__(self, fps: float | None) -> None:
        self._interval_s = 0.0 if fps is None else 1.0 / fps
        self._due_s: float | None = None

    def lets_through(self, now_s: float) -> bool:
        """Return whether the picture of the moment `now_s` is wanted."""
        if self._interval_s == 0.0:
            return True
        # A thousandth of the interval forgives rounding: 30 pictures a second at a limit of 30 are all wanted.
        if self._due_s is not None and now_s < self._due_s - 0.001 * self._interval_s:
            return False
        # The next is due one interval after this one *was* due, so that the mean rate is met (30 a second at a limit
        # of 20 gives 20, not 15); after a pause it counts from now, so that no burst follows.
        start_s = now_s if self._due_s is None or now_s - self._due_s > self._interval_s else self._due_s
        self._due_s = start_s + self._interval_s
        return True
