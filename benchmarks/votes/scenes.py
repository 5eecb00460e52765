"""The simulated footage: what comes before the camera, when, and where, each a function of the seed and a number."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.votes.pictures import (
    HEIGHT,
    WIDTH,
    Patch,
    Place,
    add_control,
    add_sign,
    read_background,
)
from taintwatch.sources.camera_model import CAMERA_MODELS
from taintwatch.sources.scene import Scene, SceneSettings
from taintwatch_calibration.printing.pictures import control_picture
from taintwatch_models.signs import SIGN_NAMES

__all__ = [
    "BACKGROUND",
    "FPS",
    "LIGHTS",
    "STREAM_S",
    "AttackScene",
    "attack_scenes",
    "benign_stream",
    "light_of",
]

FPS = 15.0
BACKGROUND = len(SIGN_NAMES)
"""The label of a scene without a sign."""
LIGHTS = ("corridor", "dim", "office", "street")
STREAM_S = 150.0
"""Seconds of one benign stream: five scenes before one camera in one light, half a minute each."""
_SCENES = 5
_MOTION = 0.05
_ATTACKED_S = 5.0
_LEAD_S = (4.0, 8.0)
"""Seconds before the patch comes, drawn anew for each scene: policies are found in any state."""
_EMPTY, _CONTROL = 0.25, 0.25  # shares of the benign scenes without a sign, and with a control print
_CENTRE = (WIDTH - HEIGHT) / 2 / WIDTH
"""Where the square that the classifier sees begins, as a fraction of the width."""


@dataclass(frozen=True, slots=True, eq=False)
class AttackScene:
    """A scene into which a patch comes, all at once, and stays until the end."""

    scene: Scene
    control: Scene
    """The same with a control print in the patch's place: where that fools too, the sign is merely hidden."""
    appears: int
    """First frame with the patch."""
    truth: int
    """What is really there: a sign's class, or `BACKGROUND`."""
    how: str
    """`on`, `beside` or `empty`."""
    size: float
    """The patch's side as a fraction of the picture's height."""


def light_of(number: int) -> str:
    """Return the light of stream or scene `number`."""
    return LIGHTS[number % len(LIGHTS)]


def benign_stream(
    number: int, seed: int, scenes: str | None, prints: Sequence[Patch], seconds: float = STREAM_S
) -> Scene:
    """Return benign stream `number`, five scenes before one camera: signs, empty places, control prints.

    It pans and zooms, with light that drifts, noise and JPEG. A sign is bare or on a card, takes 0.5 to 0.95 of the
    picture's height and stands anywhere in the centre square, which is what the bundled model is for; a control takes
    0.15 to 0.4 and is anywhere in it. Raises `UsageError`.
    """
    rng = np.random.default_rng([seed, 0xBE, number])
    place = read_background(scenes, rng)  # one camera sees one place
    shown = [_benign_picture(place, rng, prints) for _ in range(_SCENES)]
    own = int(rng.integers(2**31))
    settings = SceneSettings(
        width=WIDTH, height=HEIGHT, fps=FPS, duration=seconds, each=seconds / _SCENES, motion=_MOTION, seed=own
    )
    return Scene(shown, None, settings, CAMERA_MODELS[light_of(number)](own))


def _benign_picture(place: NDArray[np.uint8], rng: np.random.Generator, prints: Sequence[Patch]) -> NDArray[np.uint8]:
    picture = place.copy()
    if rng.random() >= _EMPTY:
        add_sign(picture, int(rng.integers(BACKGROUND)), _within(rng.uniform(0.5, 0.95), rng), rng)
    if rng.random() < _CONTROL:
        chosen = prints[int(rng.integers(len(prints)))]
        add_control(picture, chosen, _within(rng.uniform(0.15, 0.4), rng), rng)
    return picture


def attack_scenes(number: int, seed: int, scenes: str | None, patch: Patch, draws: int) -> Iterator[AttackScene]:
    """Yield `draws` ways to show `patch` in attack scene `number`: on a sign, beside one, or in an empty place.

    The attacker may try them and take one that works. Raises `UsageError`.
    """
    rng = np.random.default_rng([seed, 0xA7, number])
    control = Patch(patch.name, control_picture(patch.picture, "shuffled", number))
    prints = (patch.printed, control.printed)
    for _ in range(draws):
        how = ("on", "beside", "empty")[rng.integers(3)]
        picture = read_background(scenes, rng)
        sign, at = _places(how, rng)
        truth = BACKGROUND
        if sign is not None:
            truth = int(rng.integers(BACKGROUND))
            add_sign(picture, truth, sign, rng)
        seed_of_scene, appears = int(rng.integers(2**31)), round(rng.uniform(*_LEAD_S) * FPS)
        shown, matched = (_with_print(picture, each, at, appears, light_of(number), seed_of_scene) for each in prints)
        yield AttackScene(shown, matched, appears, truth, how, at.side)


def _places(how: str, rng: np.random.Generator) -> tuple[Place | None, Place]:
    """Return where the sign is (None: there is none), and the patch."""
    if how == "empty":
        return None, _within(rng.uniform(0.3, 0.45), rng)
    if how == "beside":
        sign = Place(_CENTRE + 0.28 * HEIGHT / WIDTH, rng.uniform(0.4, 0.6), rng.uniform(0.48, 0.55))
        return sign, Place(_CENTRE + 0.77 * HEIGHT / WIDTH, rng.uniform(0.4, 0.6), rng.uniform(0.33, 0.45))
    sign = _within(rng.uniform(0.6, 0.95), rng)
    y = sign.y + rng.uniform(0.0, 0.12) * sign.side
    return sign, Place(sign.x, y, rng.uniform(0.33, 0.55) * sign.side)


def _with_print(
    picture: NDArray[np.uint8], printed: NDArray[np.uint8], at: Place, appears: int, light: str, seed: int
) -> Scene:
    visible = (1.0 - _MOTION) ** 2  # share of the picture that a scene shows at its mean zoom
    settings = SceneSettings(
        width=WIDTH, height=HEIGHT, fps=FPS, duration=appears / FPS + _ATTACKED_S, each=60.0, start=appears / FPS,
        size=at.side / visible, position=(_within_view(at.x, visible), _within_view(at.y, visible)), motion=_MOTION,
        seed=seed,
    )  # fmt: skip
    return Scene([picture], printed, settings, CAMERA_MODELS[light](seed))


def _within_view(fraction: float, visible: float) -> float:
    """Where a place of the whole picture is in the part that a scene shows."""
    return float(np.clip(0.5 + (fraction - 0.5) / visible, 0.0, 1.0))


def _within(side: float, rng: np.random.Generator) -> Place:
    """Return a place anywhere within the square that the classifier sees."""
    room = 1.0 - side
    x = _CENTRE + (side / 2 + room * rng.random()) * HEIGHT / WIDTH
    return Place(x, side / 2 + room * rng.random(), side)
