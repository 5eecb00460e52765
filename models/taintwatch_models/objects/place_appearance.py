"""Does a place of the detector's input look like an optimised pattern? The network of `detection.appearance`, on crops.

It was trained on pictures in which a pattern takes a fifth to three fifths of the side, and sees 96 pixels. A patch on
a car in a street is far smaller, so it is shown what is around the most anomalous window, at two scales.
"""

from __future__ import annotations

from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from taintwatch_models.detection.appearance import APPEARANCE, SIDE, appearance_model
from taintwatch_models.onnx_session import SessionSettings, open_session
from taintwatch_models.preprocessing import Preprocessing

__all__ = ["PlaceAppearance"]

_SCALES = (2.5, 5.0)
"""Sides of the crops, as multiples of the window's: the pattern may be as large as the window or twice as large."""

Box = tuple[int, int, int, int]


class PlaceAppearance:
    """Asks the network. Used by one thread only."""

    def __init__(self, order: Literal["rgb", "bgr"], session: SessionSettings) -> None:
        """`order`: of the channels of the detector's input. Raises `DeviceError`."""
        crops = Preprocessing(size=(SIDE, SIDE), order=order, scale=1.0)
        self._session, _ = open_session(appearance_model(crops).SerializeToString(), session)

    def __call__(self, pixels: NDArray[np.uint8], box: Box) -> float:
        """Return the larger answer of both scales: a logit that an optimised pattern lies there.

        `pixels` (H, W, 3): the detector's input; `box`: x, y, width and height of the window.
        """
        crops = np.stack([_crop(pixels, box, scale) for scale in _SCALES])
        planes = np.ascontiguousarray(np.moveaxis(crops, -1, 1), np.float32)
        (answers,) = self._session.run([APPEARANCE], {"inputs": planes})
        return float(np.max(answers))


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
