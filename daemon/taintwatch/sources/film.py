"""Film models: what a camera makes of a scene. Each is a pure function of the picture and the frame's index."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

__all__ = ["FILMS", "Film", "Office", "plain"]

Film: TypeAlias = Callable[[NDArray[np.uint8], int], NDArray[np.uint8]]
"""(picture (height, width, 3) uint8 blue-green-red, frame index) -> picture of the same shape."""


def plain(image: NDArray[np.uint8], index: int) -> NDArray[np.uint8]:
    """Return the picture as it is: a perfect camera."""
    return image


@dataclass(frozen=True, slots=True)
class Office:
    """A webcam in an office: light that drifts, a little blur, sensor noise, JPEG."""

    seed: int = 0
    drift: float = 0.08
    """Brightness swings by this share, up and down."""
    drift_frames: float = 90.0
    """Frames of one swing."""
    blur_px: float = 0.7
    """Standard deviation of the Gaussian blur, in pixels."""
    noise: float = 3.0
    """Standard deviation of the sensor noise, in grey levels of 255."""
    jpeg_quality: int = 85

    def __call__(self, image: NDArray[np.uint8], index: int) -> NDArray[np.uint8]:
        """Return the filmed picture; the same for the same picture, index and settings."""
        rng = np.random.default_rng([self.seed, index])
        phase = 2.0 * math.pi * (self.seed % 97) / 97.0
        gain = 1.0 + self.drift * math.sin(2.0 * math.pi * index / self.drift_frames + phase)
        filmed = cv2.GaussianBlur(image, (0, 0), self.blur_px).astype(np.float32) * np.float32(gain)
        filmed += rng.standard_normal(image.shape, dtype=np.float32) * np.float32(self.noise)
        developed = np.clip(filmed, 0.0, 255.0).astype(np.uint8)
        _, jpeg = cv2.imencode(".jpg", developed, [cv2.IMWRITE_JPEG_QUALITY, self.jpeg_quality])
        return np.asarray(cv2.imdecode(jpeg, cv2.IMREAD_COLOR), dtype=np.uint8)


def _plain(seed: int) -> Film:
    return plain


FILMS: dict[str, Callable[[int], Film]] = {"office": Office, "plain": _plain}
"""Film models by the name that a `sim:` spec uses; each is made from the spec's seed."""
