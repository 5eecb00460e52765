"""The bundled street, three signs of which one gets a patch: `sim:?scene=street`; and which bundled scene is meant."""

from __future__ import annotations

from dataclasses import dataclass

from taintwatch.demo.passers_by import Car, Person
from taintwatch.demo.play import ENTER, LEAST_S, LEAVE, check_keys, load_attack, parse_play
from taintwatch.demo.street_scene import Sticker, StreetPlan, StreetScene, StreetSign
from taintwatch.sources.camera_model import CAMERA_MODELS
from taintwatch.sources.scene import SceneSettings
from taintwatch.sources.sim import Playable, split_sim
from taintwatch_models.errors import SourceError

__all__ = ["STREET", "STREET_ATTACK", "StreetSpec", "bundled_scene", "parse_street", "sticker_of_attack"]

STREET_ATTACK = "on-sign"
_SECONDS = 12.0
_MOTION = 0.05

STREET = StreetPlan(
    signs=(
        StreetSign(1, x=0.2, y=0.36, side=0.21),
        StreetSign(14, x=0.47, y=0.44, side=0.29),
        StreetSign(17, x=0.79, y=0.33, side=0.23),
    ),
    passers_by=(
        Person(0.1, 0.7, 0.24, 0.03, (70, 60, 160), (60, 50, 45)),
        Car(0.9, 0.76, 0.36, -0.11, (150, 90, 40)),
        Person(0.66, 0.84, 0.3, -0.025, (90, 140, 70), (40, 40, 60)),
        Car(0.0, 0.93, 0.44, 0.16, (60, 60, 190)),
    ),
    patched=1,
)
"""A speed limit, a stop sign and a no-entry sign; cars and people behind them. Lengths as of `StreetSign`, `Car`."""


@dataclass(frozen=True, slots=True, eq=False)
class StreetSpec:
    """A `sim:?scene=street` spec, read and checked."""

    scene: StreetScene
    pace: float = 1.0


def sticker_of_attack() -> Sticker:
    """Return where the bundled attack lies on its sign. Raises `ModelError` where it is missing or damaged."""
    from taintwatch.demo.sign_scene import BORDER

    placement = load_attack(STREET_ATTACK).placement
    sign = placement.card_side * (1 - 2 * BORDER)
    return Sticker(x=0.0, y=(placement.patch_y - placement.card_y) / sign, side=placement.patch_side / sign)


def parse_street(spec: str, *, loop: bool = False) -> StreetSpec:
    """Read `sim:?scene=street&key=value&...` and load the attack. Raises `SourceError`, `ModelError`."""
    _, values = split_sim(spec)
    check_keys(values)
    values.pop("scene", None)
    which = values.pop("attack", STREET_ATTACK)
    if which not in (STREET_ATTACK, "none"):
        raise SourceError(f"sim: attack={which} is not of the street; it has {STREET_ATTACK} and none")
    loop |= values.pop("loop", False)
    pace, camera = values.pop("pace", 1.0), values.pop("camera", "street")
    seconds = values.pop("duration", _SECONDS)
    if seconds < LEAST_S:
        raise SourceError(f"sim: duration={seconds:g} is too short; give {LEAST_S:g} or more")
    settings = SceneSettings(
        duration=seconds, start=ENTER * seconds, end=LEAVE * seconds, motion=_MOTION, loop=loop, **values
    )
    attack = load_attack(STREET_ATTACK)
    plan = StreetPlan(STREET.signs, STREET.passers_by, STREET.patched, sticker_of_attack())
    patch = attack.picture if which == STREET_ATTACK else None
    return StreetSpec(StreetScene(plan, patch, settings, CAMERA_MODELS[camera](settings.seed)), pace)


def bundled_scene(spec: str, *, loop: bool = False) -> tuple[Playable, float]:
    """Return the bundled scene that a spec without a picture asks for, and its pace. Raises what its parser raises."""
    _, values = split_sim(spec)
    if values.get("scene") == "street":
        street = parse_street(spec, loop=loop)
        return street.scene, street.pace
    card = parse_play(spec, loop=loop)
    return card.play, card.pace
