"""The attacks that come with the package: a picture, and beside it the recipe that says what it is and was measured."""

from __future__ import annotations

import hashlib
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from taintwatch.demo.placement import SignPlacement
from taintwatch_models.bundled import bundled_path
from taintwatch_models.errors import ModelError
from taintwatch_models.records import read_only

__all__ = ["ATTACK_NAMES", "DemoAttack", "load_attack", "read_attack"]

ATTACK_NAMES = ("on-sign", "beside")
"""In the order in which the demo shows them."""


@dataclass(frozen=True, slots=True, eq=False)
class DemoAttack:
    """One shipped attack."""

    name: str
    words: str
    """What is done to the sign, for people: `a patch stuck on the sign`."""
    placement: SignPlacement
    target: int | None
    """The label it was crafted for; None: any but the sign's."""
    model_hash: str
    """SHA-256 (hex) of the model file it was crafted against."""
    picture: NDArray[np.uint8]
    """(side, side, 3) uint8 blue-green-red, read-only."""
    success: float
    """Share of attacked frames, in held-out scenes, in which the classifier was fooled: in [0, 1]."""


def load_attack(name: str) -> DemoAttack:
    """Return a bundled attack by its name in `ATTACK_NAMES`. Raises `ModelError` where a file is missing or damaged."""
    return read_attack(bundled_path(f"attacks/{name}.toml"))


def read_attack(recipe: Path) -> DemoAttack:
    """Read a recipe and the picture beside it. Raises `ModelError`: missing, wrong, or another picture than it says."""
    try:
        document: dict[str, Any] = tomllib.loads(recipe.read_text(encoding="utf-8"))
        attack = document["attack"]
        content = recipe.with_name(attack["picture"]).read_bytes()
        if hashlib.sha256(content).hexdigest() != attack["sha256"]:
            raise ModelError(f"{recipe}: {attack['picture']} is not the picture that was measured; install again")
        return DemoAttack(
            name=attack["name"],
            words=attack["words"],
            placement=SignPlacement(**document["placement"]),
            target=attack.get("target"),
            model_hash=attack["model_sha256"],
            picture=_decode(content, recipe),
            success=float(document["measured"]["success"]),
        )
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, KeyError, TypeError, ValueError) as error:
        raise ModelError(f"{recipe}: not a complete attack recipe ({type(error).__name__}: {error})") from None


def _decode(content: bytes, recipe: Path) -> NDArray[np.uint8]:
    image = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
    if image is None:
        raise ModelError(f"{recipe}: the picture beside it cannot be read; install again")
    return read_only(np.asarray(image, np.uint8))
