"""The demo's scene: a printed card with a drawn sign in a drawn street, and the place of a patch on or beside it."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from taintwatch.sources.camera_model import CAMERA_MODELS
from taintwatch.sources.scene import Scene, SceneSettings
from taintwatch_models.signs import render_sign

__all__ = ["CardPlace", "SignPlacement", "draw_street", "placed_scene", "street_with_card"]

PAPER = (246, 249, 250)  # blue-green-red: paper is never quite white
BORDER = 0.06  # of the card's side: white paper around the sign, as on a printed card


@dataclass(frozen=True, slots=True)
class CardPlace:
    """Where the card is held: its centre and side, as fractions of the picture's (width, height) and height."""

    x: float = 0.5
    y: float = 0.5
    side: float = 0.74


def street_with_card(sign: int, place: CardPlace, width: int, height: int, seed: int) -> NDArray[np.uint8]:
    """Return the street with a card that shows sign class `sign`: (height, width, 3) uint8 blue-green-red."""
    picture = draw_street(width, height, seed)
    side = round(place.side * height)
    left, top = round(place.x * width - side / 2), round(place.y * height - side / 2)
    _shadow(picture, left, top, side)
    cv2.rectangle(picture, (left, top), (left + side - 1, top + side - 1), PAPER, cv2.FILLED)
    inner = round(side * (1 - 2 * BORDER))
    corner = (left + (side - inner) // 2, top + (side - inner) // 2)
    _lay(picture, render_sign(sign, inner), *corner)
    return picture


def draw_street(width: int, height: int, seed: int) -> NDArray[np.uint8]:
    """Return a street out of focus: sky, houses, trees and a road, the same for the same seed."""
    rng = np.random.default_rng([seed, 0x57])
    picture = _sky(width, height)
    horizon = round(0.62 * height)
    x = -0.05 * width
    while x < width:
        x = _house(picture, x, horizon, rng)
    for _ in range(5):
        centre = (int(rng.uniform(0, width)), int(horizon - rng.uniform(0.0, 0.12) * height))
        green = (int(rng.uniform(40, 70)), int(rng.uniform(90, 130)), int(rng.uniform(50, 90)))
        cv2.circle(picture, centre, int(rng.uniform(0.06, 0.13) * height), green, cv2.FILLED, cv2.LINE_AA)
    _road(picture, horizon)
    return np.asarray(cv2.GaussianBlur(picture, (0, 0), height / 110), dtype=np.uint8)


def _sky(width: int, height: int) -> NDArray[np.uint8]:
    top, bottom = np.array([214, 178, 140.0]), np.array([232, 224, 214.0])
    share = np.linspace(0, 1, height)[:, None, None]
    column = (1 - share) * top + share * bottom  # (height, 1, 3)
    return np.ascontiguousarray(np.broadcast_to(column.round().astype(np.uint8), (height, width, 3)))


def _house(picture: NDArray[np.uint8], x: float, horizon: int, rng: np.random.Generator) -> float:
    """Draw one house from `x` on; return where the next begins."""
    height, width = picture.shape[:2]
    wide, roof = rng.uniform(0.12, 0.22) * width, round(horizon - rng.uniform(0.28, 0.5) * height)
    tone = rng.uniform(105, 190)
    wall = tuple(int(tone + shift) for shift in rng.uniform(-22, 22, 3))
    cv2.rectangle(picture, (round(x), roof), (round(x + wide), horizon), wall, cv2.FILLED)
    window = tuple(int(channel * 0.55) for channel in wall)
    for column in np.arange(x + 0.18 * wide, x + 0.75 * wide, 0.3 * wide):
        for row in range(roof + round(0.05 * height), horizon - round(0.06 * height), round(0.1 * height)):
            corner = (round(column + 0.13 * wide), row + round(0.05 * height))
            cv2.rectangle(picture, (round(column), row), corner, window, cv2.FILLED)
    return float(x + wide)


def _road(picture: NDArray[np.uint8], horizon: int) -> None:
    height, width = picture.shape[:2]
    cv2.rectangle(picture, (0, horizon), (width, height), (150, 156, 158), cv2.FILLED)
    road = np.array([[0.42, 0], [0.58, 0], [1.15, 1], [-0.15, 1]]) * [width, height - horizon] + [0, horizon]
    cv2.fillPoly(picture, [road.round().astype(np.int32)], (96, 98, 99), cv2.LINE_AA)
    for start in (0.05, 0.3, 0.65):
        y0, y1 = horizon + start * (height - horizon), horizon + (start + 0.14) * (height - horizon)
        half = 0.004 + 0.012 * start
        line = [[0.5 - half, y0], [0.5 + half, y0], [0.5 + 1.4 * half, y1], [0.5 - 1.4 * half, y1]]
        corners = np.array(line) * [width, 1]
        cv2.fillPoly(picture, [corners.round().astype(np.int32)], (225, 228, 230), cv2.LINE_AA)


def _shadow(picture: NDArray[np.uint8], left: int, top: int, side: int) -> None:
    shade = np.zeros(picture.shape[:2], np.float32)
    offset = round(0.02 * side)
    cv2.rectangle(shade, (left + offset, top + offset), (left + side + offset, top + side + offset), 0.35, cv2.FILLED)
    shade = np.asarray(cv2.GaussianBlur(shade, (0, 0), max(1.0, 0.02 * side)), np.float32)
    picture[:] = np.round(picture * (1.0 - shade[:, :, None])).astype(np.uint8)


def _lay(picture: NDArray[np.uint8], sign: NDArray[np.uint8], left: int, top: int) -> None:
    """Lay a red-green-blue-alpha sign over a blue-green-red picture, in place."""
    side = sign.shape[0]
    area = picture[top : top + side, left : left + side]
    alpha = sign[:, :, 3:].astype(np.float32) / 255.0
    area[:] = np.round(alpha * sign[:, :, 2::-1] + (1.0 - alpha) * area).astype(np.uint8)


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
