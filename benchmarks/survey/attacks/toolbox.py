"""The digital attacks that ART has, with the region papers' settings where they give them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from benchmarks.survey.attacks.base import Attacked, Scale
from benchmarks.survey.subject import Subject, as_pixels
from taintwatch_calibration.craft.digital import digital_attack

__all__ = ["ART_SETTINGS", "from_art"]

ART_SETTINGS: dict[str, tuple[str, dict[str, Any], float]] = {
    "fgsm": ("fgsm", {"eps": 16 / 255}, 1.0),
    "pgd": ("pgd", {"eps": 16 / 255, "eps_step": 2 / 255, "max_iter": 20}, 1.0),
    "zoo": ("zoo", {"max_iter": 150, "nb_parallel": 128, "variable_h": 1e-3, "learning_rate": 0.1}, 0.2),
    "boundary": ("boundary", {"max_iter": 150, "num_trial": 10, "init_size": 50}, 0.3),
    "jsma": ("SaliencyMapMethod", {"theta": 0.3, "gamma": 0.02}, 0.3),
    "one_pixel": ("PixelAttack", {"th": 5, "es": 1, "max_iter": 20}, 0.3),
}  # fmt: skip
"""ART's name, settings, and the share of the pictures that is attacked: those that ask picture by picture get fewer."""


def from_art(name: str) -> Callable[[Subject, Scale], Attacked]:
    """Return the attack of that name, untargeted (JSMA: the likeliest other label of ART's choice)."""
    title, settings, share = ART_SETTINGS[name]

    def attack(subject: Subject, scale: Scale) -> Attacked:
        chosen = subject.to_attack(scale.share_of_pictures(share))
        fewer = {key: scale.of(value) if key == "max_iter" else value for key, value in settings.items()}
        made = digital_attack(
            title, subject.model, chosen, subject.preprocessing, subject.radar.info.classes, settings=fewer,
            seed=scale.seed,
        )  # fmt: skip
        return Attacked(as_pixels(chosen.pixels), as_pixels(made), chosen.own, more={"settings": fewer})

    return attack
