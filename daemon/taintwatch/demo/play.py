"""The scene that comes with the package: the shipped attacks, one act each. What `sim:` alone plays, and the demo."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from taintwatch.demo.attacks import ATTACK_NAMES, DemoAttack, load_attack
from taintwatch.demo.placement import placed_scene
from taintwatch.sources.scene import Scene, Truth
from taintwatch.sources.scene_settings import SceneSettings
from taintwatch.sources.sim import split_sim
from taintwatch_models.errors import SourceError

__all__ = ["LEAST_S", "Act", "Play", "PlaySpec", "parse_play"]

LEAST_S = 5.0
"""Seconds of an act: shorter ones leave no time for the vote to clear, and to cool down before the next attack."""
ENTER, LEAVE = 0.3, 0.7  # when the patch enters and leaves, as shares of an act
_KEYS = ("attack", "camera", "duration", "fps", "height", "loop", "pace", "seed", "width")


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
    for key in values:
        if key not in _KEYS:
            raise SourceError(f"sim: {key}= is for a scene of yours (sim:PICTURE?...); the bundled one has {_listed()}")
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


def _listed() -> str:
    return ", ".join(_KEYS)
