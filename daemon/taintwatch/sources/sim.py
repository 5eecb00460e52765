"""The `sim:` source: plays a simulated scene like a camera."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import unquote

import cv2
import numpy as np
from numpy.typing import NDArray

from taintwatch.sources.camera_model import CAMERA_MODELS
from taintwatch.sources.colour_profile import printed_picture, profile_named
from taintwatch.sources.images import IMAGE_SUFFIXES, files_below
from taintwatch.sources.scene import Position, Scene, SceneSettings, Truth
from taintwatch.sources.source import Grab
from taintwatch_models.errors import BadFrame, SourceError, UsageError
from taintwatch_models.image_file import read_image

__all__ = ["SIM_KEYS", "Playable", "SimSource", "SimSpec", "is_bundled_scene", "is_sim", "parse_sim", "split_sim"]

_PREFIX = "sim:"


@dataclass(frozen=True, slots=True)
class SimSpec:
    """A `sim:` spec, read and checked."""

    background: Path
    patch: Path | None = None
    camera: str = "plain"
    """A camera model: a key of `CAMERA_MODELS`."""
    profile: str = "none"
    """How the patch is printed: `none` (as it is), `generic`, or a colour profile's path."""
    pace: float = 1.0
    """Speed of play: 1 is real time; 0 is as fast as the frames are taken, every one of them."""
    settings: SceneSettings = field(default_factory=SceneSettings)

    def scene(self) -> Scene:
        """Load the pictures' names and the patch. Raises `SourceError`."""
        return Scene(
            _backgrounds(self.background),
            self._read_patch(),
            self.settings,
            CAMERA_MODELS[self.camera](self.settings.seed),
        )

    def _read_patch(self) -> NDArray[np.uint8] | None:
        if self.patch is None:
            return None
        try:
            image = read_image(self.patch, cv2.IMREAD_UNCHANGED)
        except BadFrame as error:
            raise SourceError(f"sim: patch={error}") from None
        if image.dtype != np.uint8:
            raise SourceError(f"sim: patch={self.patch} holds {image.dtype} values; save it with 8 bits a channel")
        colour = image if image.ndim == 3 else np.asarray(cv2.cvtColor(image, cv2.COLOR_GRAY2BGR), dtype=np.uint8)
        try:
            profile = profile_named(self.profile)
        except UsageError as error:
            raise SourceError(f"sim: profile={error}") from None
        return colour if profile is None else printed_picture(colour, profile)


class Playable(Protocol):
    """Whatever renders frames by their number: a `Scene`, or several one after the other."""

    @property
    def fps(self) -> float: ...

    @property
    def frame_count(self) -> int | None:
        """None: without end."""
        ...

    def render(self, index: int) -> NDArray[np.uint8]: ...

    def ground_truth(self, index: int) -> Truth: ...


def is_sim(spec: str) -> bool:
    """Return whether `spec` asks for the simulator."""
    return spec.startswith(_PREFIX)


def is_bundled_scene(spec: str) -> bool:
    """Return whether `spec` asks for a scene that comes with the package: `sim:`, with or without values."""
    return is_sim(spec) and spec.removeprefix(_PREFIX).partition("?")[0] == ""


def split_sim(spec: str) -> tuple[str, dict[str, Any]]:
    """Return the place (percent-encoded; empty for the bundled scene) and the values, read. Raises `SourceError`."""
    place, _, query = spec.removeprefix(_PREFIX).partition("?")
    return place, _values(query)


def parse_sim(spec: str) -> SimSpec:
    """Read `sim:PATH?key=value&...` (percent-encoding allowed). Raises `SourceError` naming the key and the value."""
    place, values = split_sim(spec)
    if not place:
        raise SourceError(f"{spec!r} names no picture: write sim:IMAGE_OR_FOLDER?patch=...")
    for key in {"attack", "scene"} & set(values):
        raise SourceError(
            f"sim: {key}= is for the bundled scenes (sim: alone); give patch=PICTURE for a scene of yours"
        )
    background = Path(unquote(place))
    if not background.exists():
        raise SourceError(f"sim: {background} does not exist: give an image or a folder of images")
    own = {key: values.pop(key) for key in ("camera", "patch", "pace", "profile") if key in values}
    if "duration" not in values:
        values["duration"] = _default_duration(background, values.get("each", SceneSettings().each))
    return SimSpec(background=background, settings=SceneSettings(**values), **own)


class SimSource:
    """Plays a scene from its first frame. Live where it is paced: then each frame comes at its time."""

    def __init__(
        self,
        scene: Playable,
        *,
        pace: float = 1.0,
        description: str = "sim:",
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.scene = scene
        self._pace = pace
        self._description = description
        self._clock = clock
        self._sleep = sleep
        self._next = 0
        self._opened_s = 0.0

    @property
    def description(self) -> str:
        """`sim:` and the picture's path."""
        return self._description

    @property
    def live(self) -> bool:
        """Whether it is paced."""
        return self._pace > 0.0

    def open(self) -> None:
        """Start with frame 0."""
        self._next = 0
        self._opened_s = self._clock()

    def read(self) -> Grab | None:
        """Return the next frame at its time; None after the last. No frame is left out, so that truth stays aligned."""
        index = self._next
        count = self.scene.frame_count
        if count is not None and index >= count:
            return None
        self._next += 1
        media_s = index / self.scene.fps
        image = self.scene.render(index)
        if self.live:
            ahead_s = self._opened_s + media_s / self._pace - self._clock()
            if ahead_s > 0.0:
                self._sleep(ahead_s)
        return Grab(image, media_s)

    def ground_truth(self, index: int) -> Truth:
        """Return what is really in frame `index`, counted as `Frame.index` is."""
        return self.scene.ground_truth(index)

    def close(self) -> None:
        """Nothing is held open."""


def _backgrounds(path: Path) -> tuple[Path, ...]:
    paths = files_below(path, IMAGE_SUFFIXES) if path.is_dir() else (path,)
    if not paths:
        raise SourceError(f"sim: {path} holds no image: put some in, or check the path")
    for first in paths[:1]:  # a wrong file is told at once, not when its turn comes
        try:
            read_image(first)
        except BadFrame as error:
            raise SourceError(f"sim: {error}") from None
    return paths


def _default_duration(background: Path, each: float) -> float:
    count = len(files_below(background, IMAGE_SUFFIXES)) if background.is_dir() else 0
    return count * each if count else SceneSettings().duration


def _position(text: str) -> Position:
    if text == "random":
        return "random"
    x, y = (float(part) for part in text.split(","))
    return (x, y)


def _flag(text: str) -> bool:
    return {"0": False, "1": True}[text]


def _camera(text: str) -> str:
    return {name: name for name in CAMERA_MODELS}[text]


def _pace(text: str) -> float:
    pace = float(text)
    if not 0.0 <= pace <= 1000.0:
        raise ValueError
    return pace


def _attack(text: str) -> str:
    if text not in ("on-sign", "beside", "both", "none"):
        raise ValueError
    return text


def _bundled(text: str) -> str:
    return {name: name for name in ("card", "street")}[text]


SIM_KEYS: Mapping[str, tuple[Callable[[str], Any], str]] = {
    "angle": (float, "degrees from -80 to 80"),
    "attack": (_attack, "on-sign, beside, both or none"),
    "camera": (_camera, " or ".join(sorted(CAMERA_MODELS))),
    "duration": (float, "a number of seconds"),
    "each": (float, "a number of seconds"),
    "end": (float, "a number of seconds"),
    "fps": (float, "a number of frames per second"),
    "height": (int, "a whole number of pixels"),
    "loop": (_flag, "0 or 1"),
    "motion": (float, "a number from 0 to 0.4"),
    "pace": (_pace, "a speed from 0 (every frame, as fast as it goes) over 1 (real time) to 1000"),
    "patch": (Path, "the path of a picture"),
    "position": (_position, "random, or two fractions x,y"),
    "profile": (str, "none, generic, or the path of a colour profile"),
    "scene": (_bundled, "card or street"),
    "seed": (int, "a whole number"),
    "size": (float, "a fraction of the scene's shorter side"),
    "start": (float, "a number of seconds"),
    "width": (int, "a whole number of pixels"),
}
"""Every key of a `sim:` spec: how its value is read, and what it must be."""


def _values(query: str) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for item in filter(None, query.split("&")):
        key, _, text = item.partition("=")
        if key not in SIM_KEYS:
            raise SourceError(f"sim: {key!r} is no key of a sim: source; known are {', '.join(sorted(SIM_KEYS))}")
        convert, wanted = SIM_KEYS[key]
        try:
            values[key] = convert(unquote(text))
        except (ValueError, KeyError, OverflowError):
            raise SourceError(f"sim: {key}={unquote(text)!r} must be {wanted}") from None
    return values
