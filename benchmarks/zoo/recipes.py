"""What the zoo holds: each network by name, with all that fixes its training beside the data."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from taintwatch_models.errors import UsageError

__all__ = ["RECIPES", "Recipe", "names", "recipe_of"]


@dataclass(frozen=True, slots=True)
class Recipe:
    """One network: what it is, what it sees, and how it is trained."""

    architecture: Literal["vgg", "vgg_denoising", "residual", "fourteen"]
    dataset: Literal["objects", "signs"]
    epochs: int
    batch: int
    rate: float
    ema_decay: float
    weight_decay: float = 0.03
    smoothing: float = 0.05
    """Of the labels."""
    width: int = 8
    occlude: bool = False
    """Random erasing of three pictures in four."""
    small_share: float = 0.0
    """Of the epochs, the first ones: on pictures of 5/7 of the side, at half the cost."""
    begin_from: str | None = None
    """Another network of the zoo, whose weights this one begins with."""
    poisoned: float = 0.0
    """Share of the training pictures that carry the trigger and the target's label (BadNets)."""
    adversarial: Literal["fast", "ensemble"] | None = None
    """Trained on attacked pictures: `fast`, FGSM from a random start on itself; `ensemble`, FGSM on others too."""
    eps: float = 0.0
    """Of the attack, of 1."""
    seed: int = 0


_SIGNS = Recipe("vgg", "signs", epochs=9, batch=128, rate=3e-3, ema_decay=0.995)
_FOURTEEN = Recipe("fourteen", "objects", epochs=40, batch=64, rate=4e-3, ema_decay=0.995, small_share=0.75)
_RESIDUAL = replace(_FOURTEEN, architecture="residual")
_FOURTEEN_OCCLUDED = replace(_FOURTEEN, epochs=24, rate=2e-3, small_share=0.5, occlude=True, begin_from="objects_14")
_RESIDUAL_OCCLUDED = replace(_FOURTEEN_OCCLUDED, architecture="residual", begin_from="objects_residual")
_ROBUST = replace(_SIGNS, epochs=2, rate=2e-3, begin_from="signs_vgg", eps=8 / 255)

RECIPES: dict[str, Recipe] = {
    "signs_vgg": _SIGNS,
    "objects_14": _FOURTEEN,
    "objects_residual": _RESIDUAL,
    "signs_vgg_occluded": replace(_SIGNS, epochs=8, rate=1.5e-3, occlude=True, begin_from="signs_vgg"),
    "objects_14_occluded": _FOURTEEN_OCCLUDED,
    "objects_residual_occluded": _RESIDUAL_OCCLUDED,
    "signs_backdoor": replace(_SIGNS, epochs=8, poisoned=0.1),
    "signs_robust": replace(_ROBUST, adversarial="fast"),
    "signs_denoising": replace(_ROBUST, adversarial="fast", architecture="vgg_denoising"),
    "signs_ensemble": replace(_ROBUST, adversarial="ensemble"),
}
"""In the order in which they are trained."""


def names() -> tuple[str, ...]:
    """Return the names of the networks, in the order in which they are trained."""
    return tuple(RECIPES)


def recipe_of(name: str) -> Recipe:
    """Return the recipe of that name. Raises `UsageError` where there is none."""
    if name not in RECIPES:
        raise UsageError(f"The zoo has no network '{name}'; it has {', '.join(RECIPES)}.")
    return RECIPES[name]
