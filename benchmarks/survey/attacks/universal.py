"""The attacks of the survey that the product crafts itself: a universal patch, LaVAN, RP2's stickers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch

from benchmarks.survey.attacks.base import Attacked, Printed, Scale, show_pattern
from benchmarks.survey.subject import Subject
from taintwatch_calibration.craft.kinds import KINDS, masks_of
from taintwatch_calibration.craft.physical import Pictures, craft_patterns

__all__ = ["STICKERS", "from_kind"]

STICKERS = ((0.2, 0.24, 0.6, 0.16), (0.2, 0.62, 0.6, 0.16))
"""RP2's black and white bars above and below a stop sign's letters, (x, y, width, height) as shares."""


def from_kind(name: str, *, targeted: bool, iterations: int = 200) -> Callable[[Subject, Scale], Attacked]:
    """Return the attack `taintwatch craft NAME`, crafted on pictures to craft on and shown on the test pictures."""

    def attack(subject: Subject, scale: Scale) -> Attacked:
        kind, target = KINDS[name], subject.target if targeted else None
        pattern = replace(kind.pattern, target=target, norm=0.1 if name == "sticker" else 0.0)
        boxes = STICKERS if pattern.placement.overlay else ()
        masks = masks_of(kind, pattern, subject.preprocessing.size, boxes=boxes)
        schedule = replace(kind.schedule, iterations=scale.of(iterations), seed=scale.seed)
        chosen = subject.to_craft_on(but=target)
        pictures = Pictures(chosen.pixels, chosen.own)
        made = craft_patterns(subject.model, pictures, subject.preprocessing, masks, pattern, schedule)
        printed = Printed(made[0], masks[0], pattern.placement)
        return show_pattern(subject.to_attack(scale.pictures), printed, target=target, seed=scale.seed,
                     control=torch.full_like(made[0], 0.5))  # fmt: skip

    return attack
