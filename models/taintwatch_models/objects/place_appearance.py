"""Which place of a picture looks most like an optimised pattern? A bundled network, run over all of it.

It was trained (`benchmarks.appearance`) on pictures of 96 pixels in which a pattern takes a fifth to three fifths of
the side. All its layers are convolutions, so it runs over a picture of any size as well: with 400 pixels on the longer
side a pattern as small as a twentieth of it is a fifth of 96. A detector's own input may be much smaller, and has then
lost the texture of a patch that the camera still shows.
"""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np
import onnx
from numpy.typing import NDArray

from taintwatch_models.bundled import bundled_path
from taintwatch_models.detection.appearance import WINDOW
from taintwatch_models.detection.windows import box_averages
from taintwatch_models.onnx_session import SessionSettings, open_session, run_session
from taintwatch_models.preprocessing import Placement

__all__ = ["LONGER_SIDE", "PICTURE_FILE", "Look", "PlaceAppearance", "appearance_at", "box_in_input", "looked_size"]

PICTURE_FILE = "appearance.onnx"
"""The bundled network's file: wider than a classifier's of the first look (`detection.appearance`), because no close-up
follows."""
LONGER_SIDE = 400
"""Pixels of the longer side of what is looked at."""

_CELL = 8
"""Pixels of one cell of the network's answer."""

_PATTERN = 0.8
"""Cells that answer at least this share of the largest, and lie together with it, are of the same pattern."""

Box = tuple[int, int, int, int]


class Look(NamedTuple):
    """What looks most like a pattern."""

    answer: float
    """A logit, averaged over three cells of 8 pixels a side."""
    box: tuple[float, float, float, float]
    """x, y, width and height of the pattern, in pixels of the picture."""


class PlaceAppearance:
    """Asks the network. Used by one thread only."""

    def __init__(self, settings: SessionSettings) -> None:
        """Raises `DeviceError`."""
        self._session, self._provider = open_session(_of_any_size().SerializeToString(), settings)
        self._input, self._output = self._session.get_inputs()[0].name, self._session.get_outputs()[0].name

    def __call__(self, image: NDArray[np.uint8]) -> Look:
        """Return the largest answer in a blue-green-red picture, (H, W, 3), that an optimised pattern lies there.

        Raises `InferenceError`.
        """
        height, width = image.shape[:2]
        rows, columns = looked_size(height, width)
        shrink = cv2.INTER_AREA if columns < width else cv2.INTER_LINEAR
        small = cv2.resize(image, (columns, rows), interpolation=shrink)
        planes = np.moveaxis(small[:, :, ::-1], -1, 0)[None].astype(np.float32) / np.float32(127.5) - np.float32(1)
        (answers,) = run_session(self._session, [self._output], {self._input: planes}, self._provider)
        answer, (x, y, across, down) = appearance_at(answers[0, 0])
        gain_x, gain_y = width * _CELL / columns, height * _CELL / rows
        return Look(answer, (x * gain_x, y * gain_y, across * gain_x, down * gain_y))


def looked_size(height: int, width: int) -> tuple[int, int]:
    """Return rows and columns at which a picture of (height, width) is looked at: whole cells, at least `WINDOW`."""
    scale = LONGER_SIDE / max(height, width)
    rows, columns = (max(WINDOW, round(scale * side / _CELL)) * _CELL for side in (height, width))
    return rows, columns


def appearance_at(answers: NDArray[np.float32]) -> tuple[float, Box]:
    """Return the largest average of 3 x 3 cells in (rows, columns) answers, and the pattern's x, y, width, height."""
    averages = box_averages(answers[None], WINDOW, WINDOW)[0]
    row, column = np.unravel_index(int(averages.argmax()), averages.shape)
    largest = float(averages[row, column])
    _, parts, boxes, _ = cv2.connectedComponentsWithStats((averages >= _PATTERN * max(largest, 0.0)).astype(np.uint8))
    part = int(parts[row, column])
    if part == 0:  # nothing looks like a pattern: the window itself
        return largest, (int(column), int(row), WINDOW, WINDOW)
    x, y, width, height = (int(value) for value in boxes[part][:4])
    return largest, (x, y, width + WINDOW - 1, height + WINDOW - 1)


def box_in_input(box: tuple[float, float, float, float], place: Placement, size: tuple[int, int]) -> Box:
    """Return a box of the picture in pixels of the input of (height, width), cut to it; at least one pixel."""
    left, top = box[0] * place.scale_x + place.offset_x, box[1] * place.scale_y + place.offset_y
    right, bottom = left + box[2] * place.scale_x, top + box[3] * place.scale_y
    x, y = (int(np.clip(round(value), 0, side - 1)) for value, side in ((left, size[1]), (top, size[0])))
    width, height = (max(1, min(round(end), side) - start)
                     for end, side, start in ((right, size[1], x), (bottom, size[0], y)))  # fmt: skip
    return x, y, width, height


def _of_any_size() -> onnx.ModelProto:
    network = onnx.load(bundled_path(PICTURE_FILE))
    for value in (*network.graph.input, *network.graph.output):
        for axis, name in ((2, "rows"), (3, "columns")):
            dimension = value.type.tensor_type.shape.dim[axis]
            dimension.dim_param = f"{value.name}_{name}"
    return network
