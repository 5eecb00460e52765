"""Streets by chance: signs that do not touch, cars and people."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from taintwatch.demo.passers_by import Car, Person
from taintwatch.demo.street_scene import StreetPlan, StreetSign
from taintwatch.sources.scene import SceneSettings, mean_zoom
from taintwatch_models.signs import SIGN_NAMES

__all__ = ["random_street"]

_APART = 0.04  # least share of the width between two signs


def random_street(
    rng: np.random.Generator,
    count: int,
    *,
    sides: tuple[float, float] = (0.17, 0.3),
    classes: Sequence[int] = range(len(SIGN_NAMES)),
    settings: SceneSettings | None = None,
) -> StreetPlan:
    """Return a street with `count` signs of different classes (fewer where they find no room), cars and people."""
    visible = 1.0 / mean_zoom(settings or SceneSettings())
    aspect = (settings or SceneSettings()).height / (settings or SceneSettings()).width
    signs: list[StreetSign] = []
    drawn = rng.permutation(np.asarray(classes))[:count]
    for sign in drawn.tolist():
        for _ in range(30):
            side = float(np.exp(rng.uniform(*np.log(sides))))
            reach = 0.94 * visible / 2
            x = 0.5 + rng.uniform(-1, 1) * (reach - aspect * side / 2)
            y = 0.5 + rng.uniform(-1, 0.35) * (reach - side / 2)
            new = StreetSign(int(sign), float(x), float(y), side)
            if all(abs(new.x - old.x) > aspect * (new.side + old.side) / 2 + _APART for old in signs):
                signs.append(new)
                break
    passers_by = _random_passers_by(rng, int(rng.integers(0, 4)), int(rng.integers(0, 5)))
    return StreetPlan(tuple(signs), passers_by, int(rng.integers(len(signs))) if signs else 0)


def _random_passers_by(rng: np.random.Generator, cars: int, people: int) -> tuple[Car | Person, ...]:
    """Return cars on the road and people on the pavement, those farthest away first."""
    found: list[Car | Person] = []
    for _ in range(cars):
        ground = rng.uniform(0.68, 0.95)
        found.append(
            Car(rng.uniform(-0.1, 1.1), ground, 0.45 * ground, rng.choice([-1, 1]) * rng.uniform(0.05, 0.25),
                _colour(rng, 40, 220))
        )  # fmt: skip
    for _ in range(people):
        ground = rng.uniform(0.66, 0.93)
        found.append(
            Person(rng.uniform(0, 1), ground, 0.34 * ground, rng.choice([-1, 1]) * rng.uniform(0.01, 0.05),
                   _colour(rng, 30, 200), _colour(rng, 20, 110))
        )  # fmt: skip
    return tuple(sorted(found, key=lambda each: each.ground))


def _colour(rng: np.random.Generator, low: int, high: int) -> tuple[int, int, int]:
    blue, green, red = (int(value) for value in rng.integers(low, high, 3))
    return blue, green, red
