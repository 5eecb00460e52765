"""Letters, bars and boxes for the demo's pictures. Colours are blue-green-red."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

__all__ = ["AMBER", "GREEN", "GREY", "INK", "PALE", "RED", "WHITE", "canvas", "dashed_box", "text", "text_width"]

WHITE, PALE, GREY, INK = (255, 255, 255), (240, 240, 240), (150, 150, 150), (45, 38, 34)
RED, GREEN, AMBER = (50, 50, 225), (80, 150, 40), (0, 190, 255)

_FONT = cv2.FONT_HERSHEY_DUPLEX


def canvas(height: int, width: int, colour: tuple[int, int, int]) -> NDArray[np.uint8]:
    """Return a plain picture (height, width, 3) uint8."""
    return np.full((height, width, 3), colour, np.uint8)


def text(
    picture: NDArray[np.uint8],
    words: str,
    left: int,
    baseline: int,
    height: float,
    colour: tuple[int, int, int],
    *,
    bold: bool = False,
) -> int:
    """Write `words`, capitals `height` pixels high, in place; return where the next word may begin."""
    plain = words.encode("ascii", "replace").decode()  # OpenCV's letters are ASCII only
    scale = height / 22.0  # Hershey's duplex capitals are 22 units high
    cv2.putText(picture, plain, (left, baseline), _FONT, scale, colour, 2 if bold else 1, cv2.LINE_AA)
    return left + text_width(plain, height)


def text_width(words: str, height: float) -> int:
    """Return the width in pixels of `words` as `text` writes them."""
    (width, _), _ = cv2.getTextSize(words, _FONT, height / 22.0, 1)
    return int(width)


def dashed_box(
    picture: NDArray[np.uint8], box: tuple[int, int, int, int], colour: tuple[int, int, int], thickness: int
) -> None:
    """Draw the outline of (x, y, width, height) in dashes, in place."""
    x, y, width, height = box
    corners = [(x, y), (x + width, y), (x + width, y + height), (x, y + height)]
    for start, end in zip(corners, (*corners[1:], corners[0]), strict=True):
        length = max(abs(end[0] - start[0]), abs(end[1] - start[1]))
        count = max(1, length // 12)
        for dash in range(0, 2 * count, 2):
            ends = [
                tuple(round(a + (b - a) * part / (2 * count)) for a, b in zip(start, end, strict=True))
                for part in (dash, dash + 1)
            ]
            cv2.line(picture, ends[0], ends[1], colour, thickness, cv2.LINE_AA)
