"""Pictures that are printed: attacks, and the benign ones that they are compared with."""

from __future__ import annotations

import hashlib
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from taintwatch.demo.play import ATTACK_NAMES, load_attack
from taintwatch_calibration.printing.sheet_metadata import CraftedAttack
from taintwatch_models.bundled import bundled_path
from taintwatch_models.errors import BadFrame, UsageError
from taintwatch_models.image_file import read_image

__all__ = ["CONTROLS", "PrintedPicture", "control_picture", "find_picture", "read_picture"]

_PIECES = 8  # a shuffled control keeps what lies within an eighth of the side


@dataclass(frozen=True, slots=True, eq=False)
class PrintedPicture:
    """A picture to print, and the attack that it is."""

    pixels: NDArray[np.uint8]
    """(H, W, 3 or 4) uint8, red-green-blue(-alpha)."""
    words: str
    attack: CraftedAttack | None


def find_picture(name: str, number: int = 1) -> PrintedPicture:
    """Return a picture file, pattern `number` of a folder of `taintwatch craft`, or a bundled attack by its name.

    A pattern within its folder (FOLDER/pattern.png) is known by the recipe beside it, too. Raises `UsageError`.
    """
    path = Path(name)
    if name in ATTACK_NAMES:
        return PrintedPicture(read_picture(name), name, bundled_attack(name))
    if path.is_dir():
        from taintwatch_calibration.craft.attack_folder import crafted_attack

        picture, attack = crafted_attack(path, number - 1)
        return PrintedPicture(read_picture(str(picture)), f"{path.resolve().name}/{picture.name}", attack)
    if path.name.startswith("pattern") and (path.parent / "recipe.toml").is_file():
        from taintwatch_calibration.craft.attack_folder import crafted_attack

        suffix = path.stem.rpartition("_")[2]
        _, attack = crafted_attack(path.parent, int(suffix) - 1 if suffix.isdecimal() else 0)
        return PrintedPicture(read_picture(name), path.name, attack)
    return PrintedPicture(read_picture(name), path.name, None)


def bundled_attack(name: str) -> CraftedAttack:
    """Return what the recipe of a bundled attack says."""
    known = load_attack(name)
    recipe = bundled_path(f"attacks/{name}.toml").read_bytes()
    document = tomllib.loads(recipe.decode())["attack"]
    target = document.get("seen_as_name") if known.target is not None else None
    digest = hashlib.sha256(recipe).hexdigest()
    return CraftedAttack(name, target, known.placement.patch_side, digest, known.model_hash)


def read_picture(name: str) -> NDArray[np.uint8]:
    """Return a picture file, or a bundled attack by its name: (H, W, 3 or 4) uint8, red-green-blue(-alpha).

    Raises `UsageError`.
    """
    if name in ATTACK_NAMES:
        return np.ascontiguousarray(load_attack(name).picture[:, :, ::-1])
    path = Path(name)
    if not path.is_file():
        raise UsageError(f"{name}: no such picture; give a PNG or JPEG, or one of {', '.join(ATTACK_NAMES)}")
    try:
        image = read_image(path, cv2.IMREAD_UNCHANGED)
    except BadFrame as error:
        raise UsageError(f"{error}") from None
    if image.dtype != np.uint8:
        raise UsageError(f"{name} holds {image.dtype} values; save it with 8 bits a channel")
    if image.ndim == 2:
        return np.asarray(cv2.cvtColor(image, cv2.COLOR_GRAY2RGB), np.uint8)
    code = cv2.COLOR_BGRA2RGBA if image.shape[2] == 4 else cv2.COLOR_BGR2RGB
    return np.asarray(cv2.cvtColor(image, code), np.uint8)


def control_picture(picture: NDArray[np.uint8], kind: str, seed: int = 0) -> NDArray[np.uint8]:
    """Return the benign match of an attack: same size, same outline. Raises `UsageError` for an unknown kind."""
    if kind not in CONTROLS:
        raise UsageError(f"there is no control {kind!r}; choose one of {', '.join(CONTROLS)}")
    made = CONTROLS[kind](np.ascontiguousarray(picture[..., :3]), np.random.default_rng(seed))
    return np.concatenate([made, picture[..., 3:]], axis=2)


def _mean(picture: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    return np.broadcast_to(picture.mean(axis=(0, 1)).round().astype(np.uint8), picture.shape).copy()


def _shuffled(picture: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    height, width = picture.shape[:2]
    side = _PIECES * max(1, round(max(height, width) / _PIECES))
    square = np.asarray(cv2.resize(picture, (side, side), interpolation=cv2.INTER_AREA), np.uint8)
    piece = side // _PIECES
    pieces = square.reshape(_PIECES, piece, _PIECES, piece, 3).swapaxes(1, 2).reshape(-1, piece, piece, 3)
    mixed = pieces[rng.permutation(len(pieces))].reshape(_PIECES, _PIECES, piece, piece, 3).swapaxes(1, 2)
    whole = np.ascontiguousarray(mixed.reshape(side, side, 3))
    return np.asarray(cv2.resize(whole, (width, height), interpolation=cv2.INTER_AREA), np.uint8)


def _noise(picture: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """Smooth colours at random, with the picture's own mean and spread: an eye-catcher that nobody optimised."""
    height, width = picture.shape[:2]
    coarse = rng.standard_normal((8, 8, 3)).astype(np.float32)
    fine = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    own = picture.reshape(-1, 3)
    fine = (fine - fine.mean(axis=(0, 1))) / np.maximum(fine.std(axis=(0, 1)), 1e-6)
    return np.asarray(np.clip(own.mean(axis=0) + fine * own.std(axis=0), 0, 255).round(), np.uint8)


CONTROLS: Mapping[str, Callable[[NDArray[np.uint8], np.random.Generator], NDArray[np.uint8]]] = {
    "mean": _mean,
    "shuffled": _shuffled,
    "noise": _noise,
}
"""Benign pictures: the mean colour, the same pieces in another order, or random blobs of the same colours."""
