"""Which attacks the evaluation makes on a model, each described so fully that it can be made again."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field
from typing import Literal

from taintwatch_calibration.craft.engine import Schedule
from taintwatch_calibration.craft.kinds import KINDS
from taintwatch_calibration.craft.physical import Pattern
from taintwatch_calibration.craft.placement import Placement

__all__ = ["AttackPlan", "Family", "Way", "attack_plans"]

Family = Literal["patch", "small_patch", "sticker", "region", "glasses", "adaptive"]

Way = Literal["crafted", "region"]
"""`crafted`: one pattern for all pictures; `region`: a change of each picture of its own."""

_CORNER = ((1.0, 1.0),)
_STICKERS = ((0.12, 0.14, 0.3, 0.18), (0.56, 0.66, 0.32, 0.18))
"""Two stickers, (x, y, width, height) as shares: what RP2's black and white ones cover on a stop sign, about."""


_ON_FACES = ("patch 0.35", "untargeted 0.3", "small 0.2", "region")


@dataclass(frozen=True, slots=True)
class AttackPlan:
    """One attack on one model."""

    name: str
    family: Family
    size: float
    """Side of what is covered as a share of the picture's side; of several or of stickers the root of their area."""
    pattern: Pattern
    schedule: Schedule = field(default_factory=Schedule)
    shape: str = "square"
    resolution: int = 64
    boxes: tuple[tuple[float, ...], ...] = ()
    way: Way = "crafted"
    evades: str | None = None
    """What the attacker knows: `default`, how the detector works and its threshold, with a reference learnt from his
    own pictures; `stolen`, the site's own reference too; `misleading`, the region map."""
    kind: str = "patch"
    """One of `KINDS`: where the masks come from."""

    def key(self, *inputs: str) -> str:
        """Return a name that changes with the plan and with what it is made on."""
        document = json.dumps([asdict(self), *inputs], sort_keys=True)
        return hashlib.sha256(document.encode()).hexdigest()[:16]


def attack_plans(
    target: int, *, iterations: int, batch: int, seed: int, glasses: bool = False
) -> tuple[AttackPlan, ...]:
    """Return the attacks on one model; `target` is the label that targeted ones show.

    `glasses`: the pictures are aligned faces, so that eyeglasses take the stickers' place, and patches are few: nobody
    wears a star.
    """

    def planned(
        name: str, family: Family, size: float, placement: Placement, shape: str = "square", *,
        wanted: int | None = target, way: Way = "crafted", evades: str | None = None, steps: float = 1.0,
    ) -> AttackPlan:  # fmt: skip
        schedule = Schedule(iterations=max(1, round(steps * iterations)), seed=seed)
        return AttackPlan(
            name, family, size, Pattern(wanted, placement, batch=batch), schedule, shape, way=way, evades=evades
        )

    def anywhere(size: float) -> Placement:
        return Placement((None,), (size,))

    two = Placement(((0.22, 0.25), (0.78, 0.72)), (0.25,), shift=0.08)
    plans = [
        planned("patch 0.25", "patch", 0.25, anywhere(0.25)),
        planned("patch 0.35", "patch", 0.35, anywhere(0.35)),
        planned("patch 0.4, corner", "patch", 0.4, Placement(_CORNER, (0.4,))),
        planned("circle 0.3", "patch", 0.3, anywhere(0.3), "circle"),
        planned("star 0.4", "patch", 0.4, anywhere(0.4), "star"),
        planned("lightning 0.4", "patch", 0.4, anywhere(0.4), "lightning"),
        planned("two patches 0.25", "patch", 0.35, two),
        planned("over the object 0.3", "patch", 0.3, Placement(((0.5, 0.5),), (0.3,), shift=0.05)),
        planned("untargeted 0.3", "patch", 0.3, anywhere(0.3), wanted=None),
        planned("small 0.2", "small_patch", 0.2, anywhere(0.2)),
        planned("small 0.15", "small_patch", 0.15, anywhere(0.15)),
        planned("region", "region", 1.0, anywhere(0.3), way="region", wanted=None),
        planned("adaptive: default", "adaptive", 0.35, anywhere(0.35), evades="default", steps=1.5),
        planned("adaptive: default, reference stolen", "adaptive", 0.35, anywhere(0.35), evades="stolen", steps=1.5),
        planned("adaptive: misleading", "adaptive", 0.35, anywhere(0.35), evades="misleading", steps=1.5),
    ]
    if glasses:
        plans = [plan for plan in plans if plan.name in _ON_FACES]
    overlaid, overlay = ("glasses", "glasses") if glasses else ("stickers", "sticker")
    for wanted, words in ((target, overlaid), (None, f"{overlaid}, untargeted")):
        plans.append(_overlaid(words, overlay, wanted, iterations, batch, seed))
    return tuple(plans)


def _overlaid(name: str, kind: str, target: int | None, iterations: int, batch: int, seed: int) -> AttackPlan:
    base = KINDS[kind].pattern
    pattern = Pattern(
        target, base.placement, batch=batch, smoothness=base.smoothness, printability=base.printability,
        palette=base.palette, camera=base.camera, ink=base.ink,
    )  # fmt: skip
    family: Family = "glasses" if kind == "glasses" else "sticker"
    boxes = () if kind == "glasses" else _STICKERS
    area = sum(box[2] * box[3] for box in boxes) or 0.11
    return AttackPlan(
        name, family, round(area**0.5, 3), pattern, Schedule(iterations=iterations, seed=seed), boxes=boxes, kind=kind
    )
