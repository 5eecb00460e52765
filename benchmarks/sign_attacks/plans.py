"""The attacks that are tried: one source class and universal, sizes, places, digital and printed, strong and weak."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from typing import Literal

from taintwatch_calibration.craft.engine import Schedule
from taintwatch_calibration.craft.physical import Pattern
from taintwatch_calibration.craft.placement import Placement

__all__ = ["EMPTY", "AttackSpec", "attack_specs", "recipe_of", "tuning_specs"]

Place = Literal["on", "beside", "anywhere"]

BESIDE = (0.775, 0.5)
"""Centre of a patch held beside the sign, which then takes the left 0.55 of the picture."""
ON = (0.5, 0.6)
"""Centre of a patch stuck on the sign."""
EMPTY = -1
"""The source 'class' of a scene without a sign."""


@dataclass(frozen=True, slots=True)
class AttackSpec:
    """One patch, and how it is shown."""

    name: str
    place: Place
    size: float
    """Share of the picture's side."""
    source: int | None
    """The class of the signs that it is crafted for and shown on; None: all of them."""
    target: int | None
    """The class to be seen; None: any wrong one."""
    camera_model: bool = False
    """Printed and seen through the camera model, not digital."""
    iterations: int = 200
    transferred: bool = False
    """Crafted on the plainly trained model."""
    seed: int = 0

    @property
    def strong(self) -> bool:
        """Whether the detection target counts it: not untargeted, not weak, not transferred."""
        return self.target is not None and self.iterations >= 200 and not self.transferred

    def key(self, model_hash: str) -> str:
        """Return a name for the file that keeps it: equal only for the same attack on the same model."""
        text = json.dumps([asdict(self), model_hash], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def recipe_of(spec: AttackSpec) -> tuple[Pattern, Schedule]:
    """Return how the patch is crafted. Printed ones are crafted under changing light."""
    position = {"on": ON, "beside": BESIDE, "anywhere": None}[spec.place]
    turn = 20.0 if spec.place == "anywhere" else 8.0
    placement = Placement((position,), (spec.size,), rotation_degrees=turn, light=0.25 if spec.camera_model else 0.0)
    schedule = Schedule(spec.iterations, 0.05, "adam", decay="none", box="sigmoid", seed=spec.seed)
    return Pattern(spec.target, placement), schedule


def attack_specs() -> tuple[AttackSpec, ...]:
    """Return what is reported on."""
    return (
        AttackSpec("class, on the sign", "on", 0.35, 1, 14, seed=1),
        AttackSpec("class, on the sign", "on", 0.45, 12, 17, seed=2),
        AttackSpec("class, beside the sign", "beside", 0.45, 38, 1, seed=3),
        AttackSpec("class, beside the sign", "beside", 0.35, 13, 12, seed=4),
        AttackSpec("class, anywhere", "anywhere", 0.25, 2, 5, seed=5),
        AttackSpec("class, anywhere", "anywhere", 0.35, 10, 14, seed=6),
        AttackSpec("class, anywhere", "anywhere", 0.45, 4, 13, seed=7),
        AttackSpec("universal, anywhere", "anywhere", 0.25, None, 12, seed=8),
        AttackSpec("universal, anywhere", "anywhere", 0.35, None, 14, seed=9),
        AttackSpec("universal, anywhere", "anywhere", 0.45, None, 1, seed=10),
        AttackSpec("universal, on the sign", "on", 0.45, None, 38, seed=11),
        AttackSpec("universal, beside the sign", "beside", 0.45, None, 17, seed=12),
        AttackSpec("empty scene, anywhere", "anywhere", 0.35, EMPTY, 14, seed=13),
        AttackSpec("class, on the sign", "on", 0.45, 25, 12, camera_model=True, seed=14),
        AttackSpec("class, beside the sign", "beside", 0.45, 12, 14, camera_model=True, seed=15),
        AttackSpec("universal, anywhere", "anywhere", 0.35, None, 17, camera_model=True, seed=16),
        AttackSpec("universal, anywhere", "anywhere", 0.45, None, 12, camera_model=True, seed=17),
        AttackSpec("empty scene, anywhere", "anywhere", 0.45, EMPTY, 1, camera_model=True, seed=18),
        AttackSpec("untargeted, class", "on", 0.35, 1, None, seed=19),
        AttackSpec("untargeted, universal", "anywhere", 0.35, None, None, seed=20),
        AttackSpec("weak (25 iterations)", "anywhere", 0.45, None, 14, iterations=25, seed=21),
        AttackSpec("weak (25 iterations)", "on", 0.45, 2, 1, iterations=25, seed=22),
        AttackSpec("transferred", "anywhere", 0.45, None, 14, transferred=True, seed=23),
        AttackSpec("transferred", "on", 0.45, 1, 14, transferred=True, seed=24),
    )


def tuning_specs() -> tuple[AttackSpec, ...]:
    """Return the attacks that settings are looked at with: other patches, targets and pictures than the reported."""
    return (
        AttackSpec("class, on the sign", "on", 0.40, 2, 13, seed=101),
        AttackSpec("class, beside the sign", "beside", 0.45, 1, 12, seed=102),
        AttackSpec("universal, anywhere", "anywhere", 0.30, None, 25, seed=103),
        AttackSpec("universal, anywhere", "anywhere", 0.40, None, 13, seed=104),
        AttackSpec("empty scene, anywhere", "anywhere", 0.40, EMPTY, 12, seed=105),
        AttackSpec("universal, anywhere", "anywhere", 0.40, None, 4, camera_model=True, seed=106),
    )
