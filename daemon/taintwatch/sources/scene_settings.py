"""What a simulated scene can be told."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, TypeAlias

from taintwatch_models.errors import SourceError

__all__ = ["Position", "SceneSettings"]

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
