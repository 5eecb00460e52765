"""What is new and benign: posters, degradations, objects that are smaller or turned. Not the product's own novelty.

The thresholds of the product lie above novelty that it makes itself; what it is measured on is made here, by other
means, from pictures that it has not seen.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import cv2
import numpy as np
from numpy.typing import NDArray

__all__ = ["STRENGTHS", "degraded", "posters", "smaller_or_turned"]

Pictures = NDArray[np.uint8]
"""(N, H, W, 3)."""
STRENGTHS: Mapping[str, float] = {"weak": 0.33, "medium": 0.66, "strong": 1.0}


def posters(pictures: Pictures, photographs: Pictures, rng: np.random.Generator) -> Pictures:
    """Hang a photograph with a pale frame in each picture: 0.2 to 0.6 of the side, in perspective, in its light."""
    result = pictures.copy()
    for picture, which in zip(result, rng.integers(len(photographs), size=len(pictures)), strict=True):
        _hang(picture, photographs[which], rng)
    return result


def _hang(picture: Pictures, photograph: Pictures, rng: np.random.Generator) -> None:
    height, width = picture.shape[:2]
    side = rng.uniform(0.2, 0.6) * min(height, width)
    tall = side * rng.uniform(0.8, 1.25)
    sheet = cv2.copyMakeBorder(photograph, 6, 6, 6, 6, cv2.BORDER_CONSTANT, value=(235, 235, 230))
    left, top = rng.uniform(0, max(1.0, width - side)), rng.uniform(0, max(1.0, height - tall))
    corners = np.array([(0, 0), (side, 0), (side, tall), (0, tall)]) + np.array([left, top])
    corners = corners + rng.uniform(-0.08, 0.08, (4, 2)) * side
    sheet_height, sheet_width = sheet.shape[:2]
    whole = np.array([(0, 0), (sheet_width, 0), (sheet_width, sheet_height), (0, sheet_height)], np.float32)
    move = cv2.getPerspectiveTransform(whole, corners.astype(np.float32))
    small = cv2.GaussianBlur(sheet, (0, 0), max(0.3, sheet_width / side / 2.5))  # else it would alias
    laid = cv2.warpPerspective(small, move, (width, height), flags=cv2.INTER_LINEAR).astype(np.float32)
    cover = cv2.warpPerspective(np.ones(sheet.shape[:2], np.float32), move, (width, height))[..., None]
    light = np.clip(0.5 + picture.mean() / 255, 0.6, 1.15)
    picture[:] = np.clip(np.rint(picture * (1 - cover) + laid * light * cover), 0, 255)


def degraded(pictures: Pictures, strength: float, rng: np.random.Generator) -> Pictures:
    """Degrade each picture in one way: light, shadow, fog, colour, blur, motion, noise, JPEG. `strength` in (0, 1]."""
    ways = list(_WAYS.values())
    made = [ways[way](picture.astype(np.float32), strength, rng) for picture, way in
            zip(pictures, rng.integers(len(ways), size=len(pictures)), strict=True)]  # fmt: skip
    return np.asarray(np.clip(np.rint(np.stack(made)), 0, 255), np.uint8)


Way = Callable[[NDArray[np.float32], float, np.random.Generator], NDArray[np.floating]]


def _gamma(picture: NDArray[np.float32], strength: float, rng: np.random.Generator) -> NDArray[np.floating]:
    power = np.exp(rng.choice([-1, 1]) * 0.8 * strength)
    return np.asarray(255 * (picture / 255) ** power)


def _shadow(picture: NDArray[np.float32], strength: float, rng: np.random.Generator) -> NDArray[np.floating]:
    height, width = picture.shape[:2]
    angle = rng.uniform(0, 2 * np.pi)
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    edge = 1 / (1 + np.exp(-8 * (np.cos(angle) * x + np.sin(angle) * y - rng.uniform(-0.4, 0.4))))
    return np.asarray(picture * (1 - 0.6 * strength * edge[..., None]))


def _fog(picture: NDArray[np.float32], strength: float, rng: np.random.Generator) -> NDArray[np.floating]:
    thick = 0.6 * strength
    return picture * (1 - thick) + rng.uniform(180, 230) * thick


def _colour(picture: NDArray[np.float32], strength: float, rng: np.random.Generator) -> NDArray[np.floating]:
    return picture * np.exp(rng.uniform(-0.3, 0.3, 3) * strength)


def _blur(picture: NDArray[np.float32], strength: float, rng: np.random.Generator) -> NDArray[np.floating]:
    return np.asarray(cv2.GaussianBlur(picture, (0, 0), 0.2 + 0.009 * strength * picture.shape[0]), np.float32)


def _motion(picture: NDArray[np.float32], strength: float, rng: np.random.Generator) -> NDArray[np.floating]:
    length = max(2, round(0.06 * strength * picture.shape[0]))
    kernel = np.zeros((length, length), np.float32)
    kernel[length // 2] = 1 / length
    turn = cv2.getRotationMatrix2D(((length - 1) / 2, (length - 1) / 2), rng.uniform(0, 180), 1.0)
    kernel = cv2.warpAffine(kernel, turn, (length, length))
    return np.asarray(cv2.filter2D(picture, -1, kernel / kernel.sum()), np.float32)


def _noise(picture: NDArray[np.float32], strength: float, rng: np.random.Generator) -> NDArray[np.floating]:
    """Shot noise and read noise."""
    spread = np.sqrt(picture * 1.5 * strength + (8 * strength) ** 2)
    return np.asarray(picture + rng.normal(size=picture.shape) * spread)


def _jpeg(picture: NDArray[np.float32], strength: float, rng: np.random.Generator) -> NDArray[np.floating]:
    coded = cv2.imencode(".jpg", picture.astype(np.uint8), [cv2.IMWRITE_JPEG_QUALITY, round(70 - 55 * strength)])[1]
    return np.asarray(cv2.imdecode(coded, cv2.IMREAD_COLOR), np.float32)


_WAYS: dict[str, Way] = {
    "gamma": _gamma, "shadow": _shadow, "fog": _fog, "colour": _colour, "blur": _blur, "motion": _motion,
    "noise": _noise, "jpeg": _jpeg,
}  # fmt: skip


def smaller_or_turned(pictures: Pictures, rng: np.random.Generator) -> Pictures:
    """Show each picture at 0.5 to 0.9 of its size or turned by up to 25 degrees; its edge is mirrored outwards."""
    made = []
    for picture in pictures:
        height, width = picture.shape[:2]
        small = rng.random() < 0.5
        angle, scale = (0.0, rng.uniform(0.5, 0.9)) if small else (rng.uniform(-25, 25), 1.0)
        move = cv2.getRotationMatrix2D((width / 2, height / 2), angle, scale)
        made.append(cv2.warpAffine(picture, move, (width, height), borderMode=cv2.BORDER_REFLECT_101))
    return np.stack(made).astype(np.uint8)
