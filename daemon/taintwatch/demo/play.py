"""The attacks that come with the package, and the scene that plays them, one act each: `sim:` alone, and the demo."""

from __future__ import annotations

import hashlib
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from taintwatch.demo.sign_scene import SignPlacement, placed_scene
from taintwatch.sources.scene import Scene, SceneSettings, Truth
from taintwatch.sources.sim import split_sim
from taintwatch_models.bundled import bundled_path
from taintwatch_models.errors import BadFrame, ModelError, SourceError
from taintwatch_models.image_file import decode_image
from taintwatch_models.records import read_only

__all__ = [
    "ATTACK_NAMES",
    "ENTER",
    "LEAST_S",
    "LEAVE",
    "Act",
    "DemoAttack",
    "Play",
    "PlaySpec",
    "check_keys",
    "load_attack",
    "parse_play",
    "read_attack",
]

ATTACK_NAMES = ("on-sign", "beside")
"""In the order in which the demo shows them."""


@dataclass(frozen=True, slots=True, eq=False)
class DemoAttack:
    """One shipped attack."""

    name: str
    words: str
    """What is done to the sign, for people: `a patch stuck on the sign`."""
    placement: SignPlacement
    target: int | None
    """The label it was crafted for; None: any but the sign's."""
    model_hash: str
    """SHA-256 (hex) of the model file it was crafted against."""
    picture: NDArray[np.uint8]
    """(side, side, 3) uint8 blue-green-red, read-only."""
    success: float
    """Share of attacked frames, in held-out scenes, in which the classifier was fooled: in [0, 1]."""


def load_attack(name: str) -> DemoAttack:
    """Return a bundled attack by its name in `ATTACK_NAMES`. Raises `ModelError` where a file is missing or damaged."""
    return read_attack(bundled_path(f"attacks/{name}.toml"))


def read_attack(recipe: Path) -> DemoAttack:
    """Read a recipe and the picture beside it. Raises `ModelError`: missing, wrong, or another picture than it says."""
    try:
        document: dict[str, Any] = tomllib.loads(recipe.read_text(encoding="utf-8"))
        attack = document["attack"]
        content = recipe.with_name(attack["picture"]).read_bytes()
        if hashlib.sha256(content).hexdigest() != attack["sha256"]:
            raise ModelError(f"{recipe}: {attack['picture']} is not the picture that was measured; install again")
        return DemoAttack(
            name=attack["name"],
            words=attack["words"],
            placement=SignPlacement(**document["placement"]),
            target=attack.get("target"),
            model_hash=attack["model_sha256"],
            picture=_decode(content, recipe),
            success=float(document["measured"]["success"]),
        )
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, KeyError, TypeError, ValueError) as error:
        raise ModelError(f"{recipe}: not a complete attack recipe ({type(error).__name__}: {error})") from None


def _decode(content: bytes, recipe: Path) -> NDArray[np.uint8]:
    try:
        return read_only(decode_image(content, "the picture beside it"))
    except BadFrame as error:
        raise ModelError(f"{recipe}: {error}; install again") from None


LEAST_S = 5.0
"""Seconds of an act: shorter ones leave no time for the vote to clear, and to cool down before the next attack."""
ENTER, LEAVE = 0.3, 0.7
"""When the patch enters and leaves, as shares of an act."""
_KEYS = ("attack", "camera", "duration", "fps", "height", "loop", "pace", "scene", "seed", "width")


@dataclass(frozen=True, slots=True)
class Act:
    """One composition with one attack, and which frames of the play it has."""

    attack: DemoAttack
    scene: Scene
    first: int
    frames: int

    @property
    def attacked(self) -> range:
        """The frames of the play in which the patch is there; empty where it was left out."""
        seen = [
            index
            for index in range(self.first, self.first + self.frames)
            if self.scene.ground_truth(index - self.first).attacked
        ]
        return range(seen[0], seen[-1] + 1) if seen else range(0)


class Play:
    """Acts one after the other; renders any frame, as a `Scene` does."""

    def __init__(self, scenes: Sequence[tuple[DemoAttack, Scene]], *, loop: bool = False) -> None:
        acts: list[Act] = []
        for attack, scene in scenes:
            first = acts[-1].first + acts[-1].frames if acts else 0
            acts.append(Act(attack, scene, first, scene.frame_count or 0))
        self.acts = tuple(acts)
        self._loop = loop
        self._round = acts[-1].first + acts[-1].frames

    @property
    def fps(self) -> float:
        """Frames per second."""
        return self.acts[0].scene.fps

    @property
    def frame_count(self) -> int | None:
        """Frames of one round; None where it loops for ever."""
        return None if self._loop else self._round

    def act(self, index: int) -> Act:
        """Return the act that frame `index` belongs to."""
        within = index % self._round
        return next(act for act in reversed(self.acts) if act.first <= within)

    def render(self, index: int) -> NDArray[np.uint8]:
        """Return frame `index` as (height, width, 3) uint8 blue-green-red."""
        act = self.act(index)
        return act.scene.render(index % self._round - act.first)

    def ground_truth(self, index: int) -> Truth:
        """Return what is really in frame `index`."""
        act = self.act(index)
        return replace(act.scene.ground_truth(index % self._round - act.first), media_s=index / self.fps)


@dataclass(frozen=True, slots=True, eq=False)
class PlaySpec:
    """A `sim:` spec without a picture, read and checked."""

    play: Play
    pace: float = 1.0


def parse_play(spec: str, *, loop: bool = False) -> PlaySpec:
    """Read `sim:?key=value&...` and load the attacks. Raises `SourceError`; `ModelError` for a damaged attack."""
    _, values = split_sim(spec)
    check_keys(values)
    values.pop("scene", None)
    which = values.pop("attack", "both")
    loop |= values.pop("loop", False)
    pace, camera = values.pop("pace", 1.0), values.pop("camera", "office")
    names = (which,) if which in ATTACK_NAMES else ATTACK_NAMES
    act_s = values.pop("duration", 10.0 * len(names)) / len(names)
    if act_s < LEAST_S:
        raise SourceError(f"sim: duration={act_s * len(names):g} is too short; give {LEAST_S * len(names):g} or more")
    scenes = [_scene(load_attack(name), act_s, which != "none", camera, values) for name in names]
    return PlaySpec(Play(scenes, loop=loop), pace)


def _scene(
    attack: DemoAttack, act_s: float, armed: bool, camera: str, values: dict[str, Any]
) -> tuple[DemoAttack, Scene]:
    settings = SceneSettings(duration=act_s, start=ENTER * act_s, end=LEAVE * act_s, **values)
    return attack, placed_scene(attack.placement, attack.picture if armed else None, settings, camera=camera)


def check_keys(values: Mapping[str, object]) -> None:
    """Raise `SourceError` for a key that only scenes of one's own have."""
    for key in values:
        if key not in _KEYS:
            known = ", ".join(_KEYS)
            raise SourceError(f"sim: {key}= is for a scene of yours (sim:PICTURE?...); the bundled ones have {known}")
