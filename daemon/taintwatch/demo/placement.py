"""Where card and patch are in the demo's scene, and the scene itself."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from taintwatch.demo.backdrop import CardPlace, street_with_card
from taintwatch.sources.camera_model import CAMERA_MODELS
from taintwatch.sources.scene import Scene
from taintwatch.sources.scene_settings import SceneSettings

__all__ = ["SignPlacement", "placed_scene"]


@dataclass(frozen=True, slots=True)
class SignPlacement:
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


def placed_scene(
    placement: SignPlacement, patch: NDArray[np.uint8] | None, settings: SceneSettings, *, camera: str = "office"
) -> Scene:
    """Return the scene of `placement`; where the patch is, how large and how all moves is the placement's.

    `patch` as in `Scene`; `settings` give time, size of the picture and seed. Raises `SourceError`.
    """
    visible = (1.0 - placement.motion) ** 2  # share of the drawing that a scene shows at its mean zoom
    placed = SceneSettings(
        width=settings.width,
        height=settings.height,
        fps=settings.fps,
        duration=settings.duration,
        each=settings.duration,
        start=settings.start,
        end=settings.end,
        size=placement.patch_side / visible,
        position=(0.5 + (placement.patch_x - 0.5) / visible, 0.5 + (placement.patch_y - 0.5) / visible),
        motion=placement.motion,
        seed=settings.seed,
        loop=settings.loop,
    )
    card = CardPlace(placement.card_x, placement.card_y, placement.card_side)
    picture = street_with_card(placement.sign, card, settings.width, settings.height, settings.seed)
    return Scene([picture], patch, placed, CAMERA_MODELS[camera](settings.seed))
