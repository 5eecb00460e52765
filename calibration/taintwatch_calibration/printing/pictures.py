"""Pictures that are printed: attacks, and the benign ones that they are compared with."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from taintwatch.demo.play import ATTACK_NAMES, load_attack
from taintwatch.sources.images import read_image
from taintwatch_models.errors import BadFrame, UsageError

__all__ = ["CONTROLS", "control_picture", "read_picture"]

_PIECES = 8  # a shuffled control keeps what lies within an eighth of the side


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
