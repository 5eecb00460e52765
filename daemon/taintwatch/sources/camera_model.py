"""Camera models: what a camera in some light makes of a scene. Each is a pure function of picture and index."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

__all__ = ["CAMERA_MODELS", "CameraModel", "SimulatedCamera", "corridor", "dim", "plain", "street"]

CameraModel: TypeAlias = Callable[[NDArray[np.uint8], int], NDArray[np.uint8]]
"""(picture (height, width, 3) uint8 blue-green-red, frame index) -> picture of the same shape."""


def plain(image: NDArray[np.uint8], index: int) -> NDArray[np.uint8]:
    """Return the picture as it is: a perfect camera."""
    return image


@dataclass(frozen=True, slots=True)
class SimulatedCamera:
    """One camera in one light. The defaults are a webcam in an office: light that drifts, a little blur, noise, JPEG.

    Crafting draws from the same settings (`taintwatch_calibration.camera_model.variation`). Levels are grey levels of
    255, of the encoded (sRGB) picture.
    """

    seed: int = 0
    drift: float = 0.08
    """Brightness swings by this share, up and down."""
    drift_frames: float = 90.0
    """Frames of one swing."""
    blur_px: float = 0.7
    """Standard deviation of the Gaussian blur (lens, focus), in pixels."""
    noise: float = 3.0
    """Standard deviation of the sensor's read noise, in grey levels."""
    jpeg_quality: int = 85
    brightness: float = 1.0
    """Mean gain; the drift swings around it."""
    warmth: float = 0.0
    """Share by which red is raised and blue lowered: lamps above 0, an overcast sky below."""
    shade: float = 0.0
    """How much darker the side away from the light is than the side towards it, as a share."""
    motion_px: float = 0.0
    """Length of the motion blur, in pixels; its direction turns slowly."""
    shot_noise: float = 0.0
    """Standard deviation of the photon noise in full white, in grey levels; it goes with the light's square root."""

    def __call__(self, image: NDArray[np.uint8], index: int) -> NDArray[np.uint8]:
        """Return the picture as the camera gives it; the same for the same picture, index and settings."""
        rng = np.random.default_rng([self.seed, index])
        moved = self._motion_blurred(image, index)
        blurred = cv2.GaussianBlur(moved, (0, 0), self.blur_px) if self.blur_px > 0 else moved
        lit = self._lit(blurred.astype(np.float32), index)
        lit += self._noise(lit, rng)
        developed = np.clip(lit, 0.0, 255.0).astype(np.uint8)
        _, jpeg = cv2.imencode(".jpg", developed, [cv2.IMWRITE_JPEG_QUALITY, self.jpeg_quality])
        return np.asarray(cv2.imdecode(jpeg, cv2.IMREAD_COLOR), dtype=np.uint8)

    def gain(self, index: int) -> float:
        """Return the brightness of frame `index`."""
        phase = 2.0 * math.pi * (self.seed % 97) / 97.0
        return self.brightness * (1.0 + self.drift * math.sin(2.0 * math.pi * index / self.drift_frames + phase))

    def _motion_blurred(self, image: NDArray[np.uint8], index: int) -> NDArray[np.uint8]:
        if self.motion_px <= 0.0:
            return image
        angle = 2.0 * math.pi * (index / 37.0 + (self.seed % 89) / 89.0)
        length = self.motion_px * abs(math.sin(2.0 * math.pi * index / 23.0))  # a hand stops at each turn
        return np.asarray(cv2.filter2D(image, -1, _line_kernel(length, angle)), np.uint8)

    def _lit(self, image: NDArray[np.float32], index: int) -> NDArray[np.float32]:
        image = image * np.float32(self.gain(index))
        if self.warmth:
            image *= np.array([1.0 - self.warmth, 1.0, 1.0 + self.warmth], np.float32)
        if self.shade:
            across = np.linspace(1.0, 1.0 - self.shade, image.shape[1], dtype=np.float32)
            image *= (across if self.seed % 2 == 0 else across[::-1])[None, :, None]
        return np.asarray(image, np.float32)

    def _noise(self, image: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
        grain = rng.standard_normal(image.shape, dtype=np.float32)
        if not self.shot_noise:
            return np.asarray(grain * np.float32(self.noise), np.float32)
        light = np.clip(image, 0.0, 255.0) / 255.0
        return np.asarray(grain * np.sqrt(self.noise**2 + self.shot_noise**2 * light), np.float32)


def corridor(seed: int) -> SimulatedCamera:
    """Return lamps overhead: warm, one side darker, a person who walks."""
    return SimulatedCamera(
        seed, drift=0.12, drift_frames=60.0, blur_px=0.9, noise=4.0, jpeg_quality=80, brightness=0.82, warmth=0.05,
        shade=0.25, motion_px=2.0, shot_noise=2.0,
    )  # fmt: skip


def street(seed: int) -> SimulatedCamera:
    """Return daylight: bright and cool, clouds passing, a camera on a mast in the wind."""
    return SimulatedCamera(
        seed, drift=0.15, drift_frames=150.0, blur_px=0.8, noise=2.0, jpeg_quality=80, brightness=1.1, warmth=-0.04,
        shade=0.1, motion_px=3.0, shot_noise=1.5,
    )  # fmt: skip


def dim(seed: int) -> SimulatedCamera:
    """Return too little light: dark, noisy, long exposures, hard compression."""
    return SimulatedCamera(
        seed, drift=0.06, blur_px=1.1, noise=7.0, jpeg_quality=70, brightness=0.5, warmth=0.08, shade=0.2,
        motion_px=4.0, shot_noise=5.0,
    )  # fmt: skip


def _line_kernel(length: float, angle: float) -> NDArray[np.float32]:
    """Return a line of `length` pixels through the middle of a square, its weights summing to 1."""
    side = 2 * math.ceil(length / 2) + 1
    kernel = np.zeros((side, side), np.float32)
    steps = np.linspace(-length / 2, length / 2, 8 * side)
    columns = np.rint(side // 2 + steps * math.cos(angle)).astype(int)
    rows = np.rint(side // 2 + steps * math.sin(angle)).astype(int)
    np.add.at(kernel, (rows, columns), 1.0)
    return np.asarray(kernel / kernel.sum(), np.float32)


def _plain(seed: int) -> CameraModel:
    return plain


CAMERA_MODELS: Mapping[str, Callable[[int], CameraModel]] = {
    "corridor": corridor,
    "dim": dim,
    "office": SimulatedCamera,
    "plain": _plain,
    "street": street,
}
"""Camera models by the name that a `sim:` spec and a trial's matrix use; each is made from the seed."""
