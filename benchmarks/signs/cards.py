"""Drawn signs and blank shapes as training pictures: RGBA, so that they can be put on any background."""

from __future__ import annotations

from functools import cache

import cv2
import numpy as np
from numpy.typing import NDArray

from taintwatch_models.signs import SIGN_NAMES, render_sign

__all__ = ["blank_shapes", "card_image", "sign_bank"]

_SIZE = 64
_PAPER = 250


def card_image(
    class_index: int, sign_share: float, size_px: int = _SIZE, *, caption: bool = False
) -> NDArray[np.uint8]:
    """Return a white card with a drawn sign: (size_px, size_px, 4) uint8 RGBA, opaque.

    `sign_share` (0 to 1] is the sign's width over the card's; with `caption` grey bars stand where a printed
    card has its name and ruler.
    """
    card = np.full((size_px, size_px, 4), (_PAPER, _PAPER, _PAPER, 255), np.uint8)
    side = max(1, round(size_px * sign_share))
    left = (size_px - side) // 2
    top = 1 if caption else left
    sign = render_sign(class_index, side)
    alpha = sign[..., 3:].astype(np.float32) / 255
    spot = card[top : top + side, left : left + side, :3]
    spot[:] = np.round(alpha * sign[..., :3] + (1 - alpha) * spot).astype(np.uint8)
    if caption:
        thick = max(1, size_px // 32)
        for row, share in ((0.9, 0.5), (0.96, 0.8)):
            y, half = round(size_px * row), round(size_px * share / 2)
            cv2.line(card, (size_px // 2 - half, y), (size_px // 2 + half, y), (110, 110, 110, 255), thick)
    return card


@cache
def sign_bank() -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Return every sign bare and on two kinds of card: images (129, 64, 64, 4) RGBA and their labels (129,).

    Made once and kept: do not write to them.
    """
    images, labels = [], []
    for index in range(len(SIGN_NAMES)):
        images += [render_sign(index, _SIZE), card_image(index, 0.85), card_image(index, 0.78, caption=True)]
        labels += [index] * 3
    return np.stack(images), np.array(labels, np.int64)


def blank_shapes(count: int, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Return plain discs, cards, triangles and diamonds in random colours: (count, 64, 64, 4) RGBA.

    They teach that an empty plate is background. A third are near white; none has a ring (that is a sign).
    """
    shapes = np.zeros((count, _SIZE, _SIZE, 4), np.uint8)
    for image in shapes:
        grey = rng.integers(170, 256)
        colour = (grey, grey, grey) if rng.random() < 1 / 3 else tuple(int(v) for v in rng.integers(0, 256, 3))
        half = rng.uniform(12, 31)
        tall = half * rng.uniform(0.6, 1.0)
        corners = int(rng.choice([3, 4, 5, 8, 60]))
        angles = rng.uniform(0, 2 * np.pi) + 2 * np.pi * np.arange(corners) / corners
        points = np.stack([32 + half * np.cos(angles), 32 + tall * np.sin(angles)], axis=1)
        cv2.fillPoly(image, [np.round(points * 16).astype(np.int32)], (*map(int, colour), 255), cv2.LINE_AA, 4)
    return shapes
