"""Does a frame show at one place what another frame of the same camera showed there? By pixels, never by features.

A network's features are what an attack bends; pixels are what a person saw and dismissed. Light may change and the
camera may shake a little, but nothing may lie on the place that was not there: the worst block decides, not the mean.
The outermost blocks are left out: a place reaches a little beyond the thing, and cars and people pass there.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

__all__ = ["Appearance", "Box", "overlap"]

Box = tuple[int, int, int, int]
"""(x, y, width, height) in frame pixels."""

SIDE = 96  # pixels of the longer side of a compared place: about what a classifier sees of it
SHIFT = 0.08  # of the place's longer side: how far a camera may shake, or its mount may have given way
BLOCKS = 8  # to a side
LEAST_GAIN, MOST_GAIN, MOST_OFFSET = 0.7, 1.45, 35.0  # of light and exposure, in grey levels of 255
EDGE = 1  # blocks along each side that may show anything: the place reaches a little beyond the thing, and people pass;
# a patch that is large enough to fool is wider, and the place that is suspected then is another one
MOST_MEAN, MOST_BLOCK = 10.0, 24.0  # grey levels that may be left on average, and in the worst block
LEAST_OVERLAP = 0.4  # of the smaller box; the window of `combined` may lie a cell of the last maps further


@dataclass(frozen=True, slots=True, eq=False)
class Appearance:
    """The places in a frame that a person judged, and what they look like. Of bounded size, whatever the camera's."""

    small: NDArray[np.uint8]
    """The frame, shrunk by `scale`: (h, w, 3), uint8, blue-green-red."""
    scale: float
    shape: tuple[int, ...]
    """Of the frame itself."""
    boxes: tuple[Box, ...]

    @classmethod
    def of(cls, image: NDArray[np.uint8], boxes: tuple[Box, ...]) -> Appearance:
        """Take a frame, (height, width, 3), and the places in it; at least one."""
        scale = min(1.0, SIDE / max(1, max(max(box[2:]) for box in boxes)))
        size = (round(image.shape[1] * scale), round(image.shape[0] * scale))
        return cls(_resized(image, size), scale, image.shape, boxes)

    def shows(self, image: NDArray[np.uint8], box: Box) -> bool:
        """Whether `image` shows in `box` what the frame showed there, and the box overlaps one of the judged places.

        An image of another size is another view: then the answer is no.
        """
        if image.shape != self.shape or not any(overlap(box, each) >= LEAST_OVERLAP for each in self.boxes):
            return False
        x, y, width, height = (round(part * self.scale) for part in box)
        if min(width, height) < BLOCKS:
            return False
        across, down = width * EDGE // BLOCKS, height * EDGE // BLOCKS
        inner = (x + across, y + down, width - 2 * across, height - 2 * down)
        now = _resized(_cut(image, box, 0), (width, height))[down : height - down, across : width - across]
        then = _cut(self.small, inner, max(1, round(SHIFT * max(width, height))))
        return _alike(_aligned(then.astype(np.float32), now.astype(np.float32)), now.astype(np.float32))


def overlap(one: Box, other: Box) -> float:
    """Return the share of the smaller box that lies in the other, in [0, 1]."""
    width = min(one[0] + one[2], other[0] + other[2]) - max(one[0], other[0])
    height = min(one[1] + one[3], other[1] + other[3]) - max(one[1], other[1])
    smaller = min(one[2] * one[3], other[2] * other[3])
    return max(0, width) * max(0, height) / smaller if smaller > 0 else 0.0


def _cut(image: NDArray[np.uint8], box: Box, margin: int) -> NDArray[np.uint8]:
    """Return the box and a margin around it; what reaches out of the frame repeats its edge."""
    x, y, width, height = box
    rows = np.clip(np.arange(y - margin, y + height + margin), 0, image.shape[0] - 1)
    columns = np.clip(np.arange(x - margin, x + width + margin), 0, image.shape[1] - 1)
    return image[rows[:, None], columns[None, :]]


def _resized(image: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """Return the image with this width and height."""
    return np.asarray(cv2.resize(image, (max(1, size[0]), max(1, size[1])), interpolation=cv2.INTER_AREA), np.uint8)


def _aligned(then: NDArray[np.float32], now: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the part of `then` (larger by its margin) that fits `now` best."""
    scores = cv2.matchTemplate(then.mean(axis=2), now.mean(axis=2), cv2.TM_CCOEFF_NORMED)
    row, column = np.unravel_index(np.nan_to_num(scores, nan=-1, posinf=-1, neginf=-1).argmax(), scores.shape)
    return then[row : row + now.shape[0], column : column + now.shape[1]]


def _alike(then: NDArray[np.float32], now: NDArray[np.float32]) -> bool:
    """Whether (h, w, 3) pictures differ by light and noise alone, nowhere by something that lies there."""
    gain, offset = _light(then, now)
    left = cv2.GaussianBlur(np.clip(gain * then + offset, 0, 255) - np.clip(now, 0, 255), (3, 3), 0.7)
    strongest = np.abs(left).max(axis=2)
    rows, columns = (np.linspace(0, side, BLOCKS - 2 * EDGE + 1).astype(int) for side in strongest.shape)
    sums = np.add.reduceat(np.add.reduceat(strongest, rows[:-1], axis=0), columns[:-1], axis=1)
    blocks = sums / np.outer(np.diff(rows), np.diff(columns))
    return bool(strongest.mean() <= MOST_MEAN and blocks.max() <= MOST_BLOCK)


def _light(then: NDArray[np.float32], now: NDArray[np.float32]) -> tuple[float, float]:
    """Return the gain and offset, within their limits, that bring `then` closest to `now` (least squares)."""
    spread = float(then.var())
    gain = 1.0 if spread < 1.0 else float(((then - then.mean()) * (now - now.mean())).mean()) / spread
    gain = min(max(gain, LEAST_GAIN), MOST_GAIN)
    offset = float(now.mean() - gain * then.mean())
    return gain, min(max(offset, -MOST_OFFSET), MOST_OFFSET)
