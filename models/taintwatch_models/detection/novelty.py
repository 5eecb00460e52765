"""Benign pictures that are new: what a threshold must lie above, made from the benign pictures that are there."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray

__all__ = ["degrade", "paste_posters"]

Pictures = NDArray[np.uint8]
"""(N, H, W, 3)."""

_TURN = 15.0  # degrees, either way
_SIDES = (0.2, 0.6)  # of the picture's shorter side


def paste_posters(pictures: Pictures, posters: Pictures, rng: np.random.Generator) -> Pictures:
    """Paste one of `posters` onto each picture: 0.2 to 0.6 of the shorter side, turned a little, anywhere."""
    made = np.empty_like(pictures)
    for index, picture in enumerate(pictures):
        made[index] = _pasted(picture, posters[rng.integers(len(posters))], rng)
    return made


def _pasted(picture: Pictures, poster: Pictures, rng: np.random.Generator) -> Pictures:
    height, width = picture.shape[:2]
    side = max(2, int(rng.uniform(*_SIDES) * min(height, width)))
    small = cv2.resize(poster, (side, side), interpolation=cv2.INTER_AREA)
    move = cv2.getRotationMatrix2D((side / 2, side / 2), rng.uniform(-_TURN, _TURN), 1.0)
    move[:, 2] += rng.integers(0, width - side + 1), rng.integers(0, height - side + 1)
    laid = cv2.warpAffine(small, move, (width, height), flags=cv2.INTER_LINEAR)
    cover = cv2.warpAffine(np.ones((side, side), np.float32), move, (width, height))[..., None]
    return np.asarray(np.rint(picture * (1 - cover) + laid * cover), np.uint8)


def degrade(pictures: Pictures, rng: np.random.Generator) -> Pictures:
    """Change each picture as light, lenses and transmission do: one kind each, at a random strength."""
    kinds = list(_KINDS)
    made = np.empty_like(pictures)
    for index, picture in enumerate(pictures):
        kind = kinds[rng.integers(len(kinds))]
        made[index] = np.clip(np.rint(kind(picture, rng.uniform(0.2, 1.0), rng)), 0, 255)
    return made


Change = Callable[[Pictures, float, np.random.Generator], NDArray[np.floating]]


def _brighter(picture: Pictures, strength: float, rng: np.random.Generator) -> NDArray[np.floating]:
    return np.asarray(picture * np.float32(1 + strength), np.float32)


def _darker(picture: Pictures, strength: float, rng: np.random.Generator) -> NDArray[np.floating]:
    return np.asarray(picture * np.float32(1 - 0.7 * strength), np.float32)


def _colder(picture: Pictures, strength: float, rng: np.random.Generator) -> NDArray[np.floating]:
    tint = rng.uniform(1 - 0.3 * strength, 1 + 0.3 * strength, 3)
    return np.asarray(picture * tint, np.float32)


def _hazier(picture: Pictures, strength: float, rng: np.random.Generator) -> NDArray[np.floating]:
    return (picture - np.float32(128)) * np.float32(1 - 0.6 * strength) + np.float32(128)


def _blurred(picture: Pictures, strength: float, rng: np.random.Generator) -> NDArray[np.floating]:
    deviation = max(0.3, 2.5 * strength * min(picture.shape[:2]) / 224)
    return np.asarray(cv2.GaussianBlur(picture, (0, 0), deviation), np.float32)


def _noisy(picture: Pictures, strength: float, rng: np.random.Generator) -> NDArray[np.floating]:
    return np.asarray(picture + rng.normal(0.0, 20 * strength, picture.shape), np.float32)


def _compressed(picture: Pictures, strength: float, rng: np.random.Generator) -> NDArray[np.floating]:
    coded = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, int(60 - 48 * strength)])[1]
    return np.asarray(cv2.imdecode(coded, cv2.IMREAD_COLOR), np.float32)


def _turned(picture: Pictures, strength: float, rng: np.random.Generator) -> NDArray[np.floating]:
    return _warped(picture, 25 * strength * rng.choice([-1, 1]), 1.0)


def _smaller(picture: Pictures, strength: float, rng: np.random.Generator) -> NDArray[np.floating]:
    return _warped(picture, 0.0, 1 - 0.5 * strength)


def _warped(picture: Pictures, angle: float, scale: float) -> NDArray[np.floating]:
    height, width = picture.shape[:2]
    move = cv2.getRotationMatrix2D((width / 2, height / 2), float(angle), scale)
    warped = cv2.warpAffine(picture, move, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
    return np.asarray(warped, np.float32)


def _occluded(picture: Pictures, strength: float, rng: np.random.Generator) -> NDArray[np.floating]:
    height, width = picture.shape[:2]
    tall, wide = (max(1, int(side * rng.uniform(0.1, 0.15 + 0.35 * strength))) for side in (height, width))
    top, left = rng.integers(0, height - tall + 1), rng.integers(0, width - wide + 1)
    covered = picture.astype(np.float32)
    covered[top : top + tall, left : left + wide] = rng.uniform(0, 255, 3)
    return covered


_KINDS: tuple[Change, ...] = (
    _brighter, _darker, _colder, _hazier, _blurred, _noisy, _compressed, _turned, _smaller, _occluded,
)  # fmt: skip
