"""The scene simulator: pictures in motion, with an attack at a known place and time. Pure: no thread, no clock."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from taintwatch.sources.camera_model import CameraModel, plain
from taintwatch.sources.compositing import composite, cover, premultiplied, warp
from taintwatch_models.errors import SourceError
from taintwatch_models.image_file import read_image

__all__ = ["Background", "Position", "Scene", "SceneSettings", "Truth", "camera_view", "mean_zoom"]

Position: TypeAlias = Literal["random"] | tuple[float, float]
"""The patch's centre as fractions of the visible scene's (width, height), or anywhere that it stays in view."""


@dataclass(frozen=True, slots=True)
class SceneSettings:
    """How a scene moves and when the attack is in it. Raises `SourceError` for a value out of its range."""

    width: int = 640
    height: int = 480
    fps: float = 15.0
    duration: float = 10.0
    """Seconds of one round."""
    each: float = 2.0
    """Seconds that each picture is shown before the next."""
    start: float = 0.0
    end: float = math.inf
    """The attack is there while start <= time in the round < end, in seconds."""
    size: float = 0.35
    """The patch's longer side as a fraction of the scene's shorter visible side, at the mean zoom."""
    position: Position = "random"
    angle: float = 0.0
    """Degrees that the patch is turned about its upright axis; positive: seen from its right."""
    motion: float = 0.05
    """Strength of pan and zoom, as a fraction of the picture; 0 stands still."""
    seed: int = 0
    loop: bool = False
    """Whether it goes on for ever; the attack then comes back in every round."""

    def __post_init__(self) -> None:
        _within("width", self.width, 16, 8192)
        _within("height", self.height, 16, 8192)
        _within("fps", self.fps, 0.01, 1000.0)
        _within("duration", self.duration, 1.0 / self.fps, 1e9)
        _within("each", self.each, 1e-3, 1e9)
        _within("start", self.start, 0.0, 1e9)
        _within("size", self.size, 0.01, 2.0)
        _within("angle", self.angle, -80.0, 80.0)
        _within("motion", self.motion, 0.0, 0.4)
        _within("seed", self.seed, 0, 2**32 - 1)
        if self.start >= self.duration:
            raise SourceError(f"sim: start={self.start:g} must be earlier than duration={self.duration:g}")
        if not self.end > self.start:
            raise SourceError(f"sim: end={self.end:g} must be later than start={self.start:g}")
        if self.position != "random":
            for fraction in self.position:
                _within("position", fraction, 0.0, 1.0)


def _within(key: str, value: float, least: float, most: float) -> None:
    if not least <= value <= most:  # NaN fails too
        raise SourceError(f"sim: {key}={value:g} must be between {least:g} and {most:g}")


Background: TypeAlias = NDArray[np.uint8] | Path
"""A picture (height, width, 3) uint8 blue-green-red, or the file that holds it."""

_PAN_PERIODS_S = (7.3, 5.9)
_ZOOM_PERIOD_S = 11.0
_FIELD_OF_VIEW_DEG = 42.0  # of a common webcam, from top to bottom


@dataclass(frozen=True, slots=True)
class Truth:
    """What is really in a frame."""

    attacked: bool
    box: tuple[int, int, int, int] | None
    """(x, y, width, height) of the patch in the frame's pixels, clipped to the frame; None without an attack."""
    media_s: float


class Scene:
    """Renders any frame of a scene: frame n is a function of n and the constructor's arguments alone."""

    def __init__(
        self,
        backgrounds: Sequence[Background],
        patch: NDArray[np.uint8] | None = None,
        settings: SceneSettings | None = None,
        camera_model: CameraModel = plain,
    ) -> None:
        """`patch` is (h, w, 3) or (h, w, 4 with alpha) uint8 blue-green-red. Raises `SourceError`."""
        if not backgrounds:
            raise SourceError("sim: the scene needs at least one picture")
        self.settings = settings or SceneSettings()
        self._backgrounds = tuple(backgrounds)
        self._camera_model = camera_model
        self._patch = None if patch is None else premultiplied(patch)
        self._shown: tuple[int, NDArray[np.uint8]] | None = None
        """The background rendered last, to spare decoding it for every frame."""

    @property
    def fps(self) -> float:
        """Frames per second."""
        return self.settings.fps

    @property
    def frame_count(self) -> int | None:
        """Frames of one round; None where it loops for ever."""
        return None if self.settings.loop else max(1, round(self.settings.duration * self.settings.fps))

    def render(self, index: int) -> NDArray[np.uint8]:
        """Return frame `index` as (height, width, 3) uint8 blue-green-red. Raises `BadFrame` for an unreadable file."""
        chosen = self._background_number(index)
        view = camera_view(self.settings, index)
        size = (self.settings.width, self.settings.height)
        image = warp(self._background(chosen), view, size, cv2.BORDER_REPLICATE)
        truth = self.ground_truth(index)
        if self._patch is not None and truth.box is not None:
            composite(image, self._patch, view @ self._placement(chosen), truth.box)
        return self._camera_model(image, index)

    def ground_truth(self, index: int) -> Truth:
        """Return whether frame `index` is attacked, and where."""
        media_s = index / self.settings.fps
        # Counted in whole frames, so that rounding never moves a round's first frame into the round before.
        round_s = (index % self._round_frames) / self.settings.fps
        if self._patch is None or not self.settings.start <= round_s < self.settings.end:
            return Truth(False, None, media_s)
        box = self._box(camera_view(self.settings, index) @ self._placement(self._background_number(index)))
        return Truth(box is not None, box, media_s)

    @property
    def _round_frames(self) -> int:
        return max(1, round(self.settings.duration * self.settings.fps))

    def _background_number(self, index: int) -> int:
        return int(index / self.settings.fps / self.settings.each + 1e-9) % len(self._backgrounds)

    def _background(self, number: int) -> NDArray[np.uint8]:
        if self._shown is None or self._shown[0] != number:
            item = self._backgrounds[number]
            image = read_image(item) if isinstance(item, Path) else item
            self._shown = (number, cover(image, self.settings.width, self.settings.height))
        return self._shown[1]

    def _placement(self, number: int) -> NDArray[np.float64]:
        """Return the 3 x 3 transform from patch pixels to background pixels."""
        if self._patch is None:
            raise ValueError("there is no patch to place")
        patch_h, patch_w = self._patch.shape[:2]
        width, height = self.settings.width, self.settings.height
        visible = 1.0 / mean_zoom(self.settings)  # share of the background's side that the window shows
        scale = self.settings.size * min(width, height) * visible / max(patch_h, patch_w)
        placement = np.diag([scale, scale, 1.0])
        shares = (scale * patch_w / width, scale * patch_h / height)
        for axis, (share, side) in enumerate(zip(shares, (width, height), strict=True)):
            placement[axis, 2] = side * (self._centre(number, axis, share) - 0.5 * share)
        return placement if self.settings.angle == 0.0 else placement @ self._turn(patch_w, patch_h)

    def _turn(self, patch_w: int, patch_h: int) -> NDArray[np.float64]:
        """Return the 3 x 3 transform that turns the patch, in its own pixels, about the upright line in its middle."""
        longer, angle = max(patch_h, patch_w), math.radians(self.settings.angle)
        # A camera whose picture is so high sees the patch from so far, in pixels of the patch.
        away = longer / self.settings.size / (2.0 * math.tan(math.radians(_FIELD_OF_VIEW_DEG) / 2.0))
        to_middle, back = np.eye(3), np.eye(3)
        to_middle[:2, 2] = -patch_w / 2, -patch_h / 2
        back[:2, 2] = patch_w / 2, patch_h / 2
        turned = np.array([[math.cos(angle), 0, 0], [0, 1, 0], [-math.sin(angle) / away, 0, 1]])
        return np.asarray(back @ turned @ to_middle)

    def _centre(self, number: int, axis: int, share: float) -> float:
        """Return the patch's centre as a fraction of the background's side, of which the patch takes `share`."""
        visible = 1.0 / mean_zoom(self.settings)
        if self.settings.position != "random":
            return 0.5 + visible * (self.settings.position[axis] - 0.5)
        unit = np.random.default_rng([self.settings.seed, 0x9A7C4, number]).uniform(-1.0, 1.0, 2)[axis]
        # What every frame sees, at the strongest zoom and the farthest pan, reaches this far from the middle.
        reach = visible / (1.0 + self.settings.motion) - 0.5
        return float(0.5 + unit * max(0.0, reach - 0.5 * share))

    def _box(self, transform: NDArray[np.float64]) -> tuple[int, int, int, int] | None:
        if self._patch is None:
            return None
        patch_h, patch_w = self._patch.shape[:2]
        corners = transform @ np.array([[0, patch_w, patch_w, 0], [0, 0, patch_h, patch_h], [1.0, 1.0, 1.0, 1.0]])
        (left, top), (right, bottom) = ((corners[:2] / corners[2]).min(axis=1), (corners[:2] / corners[2]).max(axis=1))
        x0, y0 = max(0, math.floor(left)), max(0, math.floor(top))
        x1, y1 = min(self.settings.width, math.ceil(right)), min(self.settings.height, math.ceil(bottom))
        return (x0, y0, x1 - x0, y1 - y0) if x1 > x0 and y1 > y0 else None


def camera_view(settings: SceneSettings, index: int) -> NDArray[np.float64]:
    """Return the 3 x 3 transform from the scene's pixels to those of frame `index`: a smooth pan and zoom."""
    time_s = index / settings.fps
    phases = np.random.default_rng([settings.seed, 0x5CE4E]).uniform(0.0, 2.0 * math.pi, 3)
    zoom = mean_zoom(settings) * (1.0 + settings.motion * _wave(time_s, _ZOOM_PERIOD_S, phases[2]))
    view = np.eye(3)
    for axis, side in enumerate((settings.width, settings.height)):
        # The window may move by half of what the zoom leaves over, so that it never sees the border.
        shift = 0.5 * side * (1.0 - 1.0 / zoom) * _wave(time_s, _PAN_PERIODS_S[axis], phases[axis])
        view[axis, axis] = zoom
        view[axis, 2] = 0.5 * side - zoom * (0.5 * side + shift)
    return view


def mean_zoom(settings: SceneSettings) -> float:
    """Return by how much a scene's picture is enlarged on average."""
    # Squared, so that the least zoom, mean * (1 - motion), still leaves something over to pan.
    return 1.0 / (1.0 - settings.motion) ** 2


def _wave(time_s: float, period_s: float, phase: float) -> float:
    return math.sin(2.0 * math.pi * time_s / period_s + phase)
