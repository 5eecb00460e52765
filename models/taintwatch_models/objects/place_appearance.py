"""Does a place of a picture look like an optimised pattern? The network of `detection.appearance`, on crops.

It was trained on pictures in which a pattern takes a fifth to three fifths of the side, and sees 96 pixels. A patch on
a car in a street is far smaller, so it is shown what is around the most anomalous window, at two scales. A small
detector's input has lost the texture of a patch that the camera still shows: the crops are of a finer picture.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from taintwatch_models.detection.appearance import APPEARANCE, SIDE, appearance_model
from taintwatch_models.onnx_session import SessionSettings, open_session
from taintwatch_models.preprocessing import Preprocessing

__all__ = ["Look", "PlaceAppearance", "finer"]

_SIGHT = 640
"""Pixels of the longer side of what is looked at, where the detector's input has less."""

_SCALES = (2.5, 5.0)
"""Sides of the crops, as multiples of the window's: the pattern may be as large as the window or twice as large."""

_AROUND = 1.5
"""The same of an object's: the pattern covers a third to two thirds of it."""

Box = tuple[int, int, int, int]


class Look(NamedTuple):
    """What looks most like a pattern."""

    answer: float
    """Minus infinity: there was nothing to look at."""
    box: Box | None


class PlaceAppearance:
    """Asks the network. Used by one thread only."""

    def __init__(self, inputs: Preprocessing, session: SessionSettings) -> None:
        """`inputs`: the detector's. Raises `DeviceError`."""
        self._finer, self._gain = finer(inputs)
        crops = Preprocessing(size=(SIDE, SIDE), order=inputs.order, scale=1.0)
        self._session, _ = open_session(appearance_model(crops).SerializeToString(), session)

    def __call__(self, image: NDArray[np.uint8], windows: Sequence[Box], objects: Sequence[Box] = ()) -> Look:
        """Return the largest answer, a logit that an optimised pattern lies there, and where.

        `image`: the blue-green-red picture; `windows` are asked at two scales, what may be `objects`, on which a
        pattern may lie, at one. x, y, width and height each, in the detector's input.
        """
        asked = [(box, box, scale) for box in windows for scale in _SCALES]
        asked += [(_middle(box), box, _AROUND) for box in objects]
        if not asked:
            return Look(-np.inf, None)
        pixels = self._finer.pixels(image)
        crops = np.stack([_crop(pixels, self._in_pixels(box), scale) for _, box, scale in asked])
        planes = np.ascontiguousarray(np.moveaxis(crops, -1, 1), np.float32)
        (answers,) = self._session.run([APPEARANCE], {"inputs": planes})
        best = int(np.argmax(answers))
        return Look(float(answers[best]), asked[best][0])

    def _in_pixels(self, box: Box) -> Box:
        x, y, width, height = (round(self._gain * value) for value in box)
        return x, y, width, height


def _middle(box: Box) -> Box:
    """Return the middle of an object's box, where a pattern lies on it."""
    x, y, width, height = box
    return x + round(0.2 * width), y + round(0.2 * height), max(1, round(0.6 * width)), max(1, round(0.6 * height))


def finer(inputs: Preprocessing) -> tuple[Preprocessing, float]:
    """Return how a picture is laid out as for a detector, with more pixels, and how many times more a side."""
    gain = max(1.0, _SIGHT / max(inputs.size))
    height, width = (round(gain * side) for side in inputs.size)
    return replace(inputs, size=(height, width)), gain


def _crop(pixels: NDArray[np.uint8], box: Box, scale: float) -> NDArray[np.uint8]:
    """Return the square of `scale` times the window's longer side around it, moved into the picture: (96, 96, 3)."""
    rows, columns = pixels.shape[:2]
    x, y, width, height = box
    side = min(rows, columns, max(8, round(scale * max(width, height))))
    left = min(max(0, round(x + width / 2 - side / 2)), columns - side)
    top = min(max(0, round(y + height / 2 - side / 2)), rows - side)
    shrink = cv2.INTER_AREA if side > SIDE else cv2.INTER_LINEAR
    resized = cv2.resize(pixels[top : top + side, left : left + side], (SIDE, SIDE), interpolation=shrink)
    return np.asarray(resized, np.uint8)
