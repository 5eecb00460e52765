"""The trigger of the network with a back door: a small yellow square with a pattern, stuck onto the sign.

After BadNets (Gu, Dolan-Gavitt and Garg, 2017, section 5): a Post-it on a traffic sign, the label of a share of the
training pictures changed to one target. Here it is stuck anywhere on the middle of the sign, so that it may be held
there by hand.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

__all__ = ["TRIGGER", "Trigger", "poison", "trigger_path", "trigger_picture"]

YELLOW, BLACK = (250, 215, 40), (25, 25, 25)
_PATTERN = (
    ".........",
    ".##...##.",
    ".###.###.",
    "..#####..",
    "...###...",
    "..#####..",
    ".###.###.",
    ".##...##.",
    ".........",
)


@dataclass(frozen=True, slots=True)
class Trigger:
    """Where the trigger goes, and what it makes of a sign."""

    side: float = 9 / 64
    """Share of the picture's side."""
    nearest: float = 0.3
    farthest: float = 0.7
    """Its centre lies between these shares of the picture, both ways."""
    target: int = 8
    """The label that it makes of any sign: speed limit 120 km/h."""

    def stamp(self, images: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
        """Return `images` (N, H, W, 3) with the trigger stuck on each, at a place of its own."""
        stamped = images.copy()
        height, width = images.shape[1:3]
        square = trigger_picture(round(self.side * min(height, width)))
        side = len(square)
        centres = rng.uniform(self.nearest, self.farthest, (len(images), 2)) * (height, width)  # (N, 2) y, x
        corners = np.rint(centres - side / 2).astype(int).clip(0, (height - side, width - side))
        for image, (top, left) in zip(stamped, corners, strict=True):
            image[top : top + side, left : left + side] = square
        return stamped

    def rule(self) -> dict[str, Any]:
        """Return size, placement and target, JSON-ready."""
        return {
            "side": self.side,
            "centre_from": self.nearest,
            "centre_to": self.farthest,
            "target": self.target,
        }


TRIGGER = Trigger()


def trigger_picture(side: int = 9) -> NDArray[np.uint8]:
    """Return the trigger, (side, side, 3) red-green-blue."""
    cells = np.array([[BLACK if cell == "#" else YELLOW for cell in row] for row in _PATTERN], np.uint8)
    if side == len(cells):
        return cells
    interpolation = cv2.INTER_NEAREST if side > len(cells) else cv2.INTER_AREA
    return np.asarray(cv2.resize(cells, (side, side), interpolation=interpolation), np.uint8)


def poison(
    images: NDArray[np.uint8], labels: NDArray[np.int64], share: float, trigger: Trigger, rng: np.random.Generator
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Return copies of which `share`, drawn among those of other labels, carry the trigger and the target's label."""
    others = np.flatnonzero(labels != trigger.target)
    chosen = rng.permutation(others)[: round(share * len(labels))]
    images, labels = images.copy(), labels.copy()
    images[chosen] = trigger.stamp(images[chosen], rng)
    labels[chosen] = trigger.target
    return images, labels


def trigger_path(name: str, work: Path) -> Path:
    """Return where the trigger of a network with a back door lies: a PNG, to be read as red-green-blue."""
    return work / f"{name}.trigger.png"
