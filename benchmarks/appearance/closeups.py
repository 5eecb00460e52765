"""Crops as the second look takes them: where a network of whole pictures suspects a pattern, and where it does not."""

from __future__ import annotations

from collections.abc import Iterator

import cv2
import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from benchmarks.appearance.scenes import Material, Scenes
from taintwatch_models.detection.appearance import PLACE, SIDE
from taintwatch_models.detection.closeup import CLOSEUP_SHARE, CLOSEUP_SIDE
from taintwatch_models.detection.windows import box_averages, boxes_at

__all__ = ["BUSY", "Closeups"]

_SIDES, _SHARES = (64, 112, 128), (0.2, 0.4, 0.4)
"""Sides of the pictures that are cropped: what models see. Photographs of 128 pixels say nothing of larger ones."""
BUSY = 0.2
"""So many of the harmless sheets are textures, beside those among the others."""
_BEST, _LIKELY, _SHARPNESS = 0.3, 0.35, 1.5
"""So many crops are of the window that looks most like a pattern; so many of one drawn by how much it does; the rest of
any."""
_OFF = 0.02
"""Of the picture's side: how far the crop is off."""

Planes = NDArray[np.float32]


class Closeups:
    """Draws crops, each with the mask of its pattern: two of each scene."""

    def __init__(self, material: Material, first: bytes, seed: int, textures: int = 3000) -> None:
        """`first`: the first look's network, ONNX."""
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        self._first = ort.InferenceSession(first, options, providers=["CPUExecutionProvider"])
        self._scenes = {
            side: Scenes(material, seed * len(_SIDES) + row, textures, side, BUSY) for row, side in enumerate(_SIDES)
        }
        self._rng = np.random.default_rng([seed, 1])
        self._drawn = self._crops()

    def __call__(self) -> tuple[Planes, Planes]:
        """Return a crop (72, 72, 3), 0..255, and its mask (72, 72): 1 where the optimised pattern lies."""
        return next(self._drawn)

    def _crops(self) -> Iterator[tuple[Planes, Planes]]:
        while True:
            side = int(self._rng.choice(_SIDES, p=_SHARES))
            scene, mask = self._scenes[side]()
            windows = self._windows(scene)
            for _ in range(2):
                rows = np.unravel_index(self._choose(windows), windows.shape)
                centre = (np.array(rows) + PLACE / 2) * 8 / SIDE + self._rng.normal(0, _OFF, 2)
                top, left, height, width = boxes_at(centre[None], CLOSEUP_SHARE, (side, side))[0]
                place = (slice(top, top + height), slice(left, left + width))
                yield _resized(scene[place], CLOSEUP_SIDE), _resized(mask[place], CLOSEUP_SIDE)

    def _windows(self, scene: Planes) -> NDArray[np.float64]:
        """How much each window of the scene looks like a pattern to the first network: (8, 8)."""
        pixels = (_resized(scene, SIDE) / 127.5 - 1).transpose(2, 0, 1)[None]
        found: list[Planes] = self._first.run(None, {self._first.get_inputs()[0].name: np.ascontiguousarray(pixels)})
        windows: NDArray[np.float64] = box_averages(found[0][:, 0], PLACE, PLACE)[0]
        return windows

    def _choose(self, windows: NDArray[np.float64]) -> int:
        kind = self._rng.random()
        if kind < _BEST:
            return int(windows.argmax())
        if kind > _BEST + _LIKELY:
            return int(self._rng.integers(windows.size))
        odds = np.exp(_SHARPNESS * (windows - windows.max())).ravel()
        return int(self._rng.choice(windows.size, p=odds / odds.sum()))


def _resized(picture: Planes, side: int) -> Planes:
    interpolation = cv2.INTER_AREA if picture.shape[0] > side else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(picture, (side, side), interpolation=interpolation), np.float32)
