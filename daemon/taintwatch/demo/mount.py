"""Where card and patch are in the demo's scene, and the scene itself."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from taintwatch.demo.backdrop import CardPlace, street_with_card
from taintwatch.sources.film import FILMS
from taintwatch.sources.scene import Scene
from taintwatch.sources.scene_settings import SceneSettings

__all__ = ["Mount", "mounted_scene"]


@dataclass(frozen=True, slots=True)
class Mount:
    """One composition: a card with a sign, and the place of a patch on or beside it. All are parts of the drawing."""

    sign: int
    """GTSRB class on the card."""
    card_x: float
    card_y: float
    card_side: float
    """Centre as fractions of width and height; side as a fraction of the height."""
    patch_x: float
    patch_y: float
    patch_side: float
    """The same of the patch."""
    motion: float = 0.05
    """As in `SceneSettings`."""


def mounted_scene(
    mount: Mount, patch: NDArray[np.uint8] | None, settings: SceneSettings, *, film: str = "office"
) -> Scene:
    """Return the scene of `mount`; where the patch is, how large and how all moves is the mount's.

    `patch` as in `Scene`; `settings` give time, size of the picture and seed. Raises `SourceError`.
    """
    visible = (1.0 - mount.motion) ** 2  # share of the drawing that a scene shows at its mean zoom
    placed = SceneSettings(
        width=settings.width,
        height=settings.height,
        fps=settings.fps,
        duration=settings.duration,
        each=settings.duration,
        start=settings.start,
        end=settings.end,
        size=mount.patch_side / visible,
        position=(0.5 + (mount.patch_x - 0.5) / visible, 0.5 + (mount.patch_y - 0.5) / visible),
        motion=mount.motion,
        seed=settings.seed,
        loop=settings.loop,
    )
    card = CardPlace(mount.card_x, mount.card_y, mount.card_side)
    picture = street_with_card(mount.sign, card, settings.width, settings.height, settings.seed)
    return Scene([picture], patch, placed, FILMS[film](settings.seed))
