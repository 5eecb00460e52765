"""A ChArUco board, whole or with a hole for the object in its middle: from it a camera knows where it stands."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from taintwatch_calibration.printing.pages import Box
from taintwatch_calibration.printing.sheet import Sheet
from taintwatch_models.errors import UsageError

__all__ = ["MARKER_SHARE", "PoseBoard", "board_around", "draw_board", "draw_marker", "full_board", "marker_dictionary"]

MARKER_SHARE = 0.78
"""Side of a marker as a share of its square: the rest is the white that finding it takes."""
QUIET_MM = 2.0
SQUARES_OF_A_BOARD = 120  # white squares that have ids of their own; the dictionary holds two such boards and the chart
_MARKERS = 250
_MOST_COLUMNS = 12
_BLACK = (0, 0, 0)


def marker_dictionary() -> cv2.aruco.Dictionary:
    """Return the markers of every sheet: 4 x 4 bits, the fewest, so that they are found from far away."""
    return cv2.aruco.getPredefinedDictionary(cv2.aruco.DICT_4X4_250)


@dataclass(frozen=True, slots=True)
class PoseBoard:
    """Geometry of a board in millimetres from its top left corner. JSON-ready."""

    columns: int
    rows: int
    square_mm: float
    first_marker: int = 0
    hole: tuple[int, int, int, int] | None = None
    """(first column, first row, end column, end row) in squares that is left out."""

    @property
    def width_mm(self) -> float:
        """Of the whole board."""
        return self.columns * self.square_mm

    @property
    def height_mm(self) -> float:
        """Of the whole board."""
        return self.rows * self.square_mm

    def squares(self) -> tuple[tuple[int | None, Box], ...]:
        """Return every square that is printed: None and its box for a black one, a marker's id and *its* box else."""
        found: list[tuple[int | None, Box]] = []
        marker, inset = self.first_marker, (1 - MARKER_SHARE) / 2 * self.square_mm
        for row in range(self.rows):
            for column in range(self.columns):
                left, top, side = column * self.square_mm, row * self.square_mm, self.square_mm
                white = (row + column) % 2 == 1
                if not self._in_hole(column, row):
                    box = Box(left + inset, top + inset, side - 2 * inset, side - 2 * inset)
                    found.append((marker, box) if white else (None, Box(left, top, side, side)))
                marker += white
        return tuple(found)

    def marker_corners(self) -> dict[int, NDArray[np.float64]]:
        """Return each marker's corners (4, 2) in mm, clockwise from its top left, as they are found in a picture."""
        return {
            marker: np.array([(b.left_mm, b.top_mm), (b.right_mm, b.top_mm), (b.right_mm, b.bottom_mm),
                              (b.left_mm, b.bottom_mm)])
            for marker, b in self.squares() if marker is not None
        }  # fmt: skip

    def _in_hole(self, column: int, row: int) -> bool:
        if self.hole is None:
            return False
        left, top, right, bottom = self.hole
        return left <= column < right and top <= row < bottom

    def chessboard(self) -> cv2.aruco.CharucoBoard:
        """Return it as OpenCV knows it, the hole's markers included."""
        count = self.columns * self.rows // 2
        ids = np.arange(self.first_marker, self.first_marker + count, dtype=np.int32)
        side = self.square_mm
        return cv2.aruco.CharucoBoard((self.columns, self.rows), side, side * MARKER_SHARE, marker_dictionary(), ids)

    def as_json(self) -> dict[str, Any]:
        """Return it for a file."""
        return asdict(self)


def board_around(width_mm: float, height_mm: float, area: Box, number: int = 0) -> PoseBoard:
    """Return a board for `area` whose hole, in its middle, holds an object of this size: squares as large as can be.

    `number` (0 or 1) chooses between two sets of markers, so that two sheets may be in one picture. Raises
    `UsageError` where there is no room for squares.
    """
    _check_number(number)
    for columns in range(3, _MOST_COLUMNS + 1):
        side = math.floor(area.width_mm / columns * 10) / 10  # tenths of a millimetre read well
        inside = math.ceil((height_mm + 2 * QUIET_MM) / side - 1e-9)
        fits = (columns - 2) * side >= width_mm + 2 * QUIET_MM and (inside + 2) * side <= area.height_mm
        if fits and columns * (inside + 2) // 2 <= SQUARES_OF_A_BOARD:
            hole = (1, 1, columns - 1, inside + 1)
            return PoseBoard(columns, inside + 2, side, number * SQUARES_OF_A_BOARD, hole)
    raise UsageError(
        f"A board of markers does not fit round {width_mm:g} x {height_mm:g} mm on this page: choose a smaller object."
    )


def full_board(area: Box, columns: int, number: int = 0) -> PoseBoard:
    """Return a board without a hole that fills `area` with so many columns. Raises `UsageError`."""
    _check_number(number)
    if not 3 <= columns <= _MOST_COLUMNS:
        raise UsageError(f"A board has 3 to {_MOST_COLUMNS} columns, not {columns}.")
    side = math.floor(area.width_mm / columns * 10) / 10
    return PoseBoard(columns, int(area.height_mm // side), side, number * SQUARES_OF_A_BOARD)


def draw_board(sheet: Sheet, board: PoseBoard, left_mm: float, top_mm: float) -> None:
    """Draw it as vectors with its top left corner here."""
    for marker, box in board.squares():
        moved = Box(left_mm + box.left_mm, top_mm + box.top_mm, box.width_mm, box.height_mm)
        if marker is None:
            _rectangle(sheet, moved, _BLACK)
        else:
            draw_marker(sheet, marker, moved)


def draw_marker(sheet: Sheet, marker: int, box: Box) -> None:
    """Draw one marker as vectors. `marker` is 0 to 249."""
    if not 0 <= marker < _MARKERS:
        raise UsageError(f"There is no marker {marker}: they go from 0 to {_MARKERS - 1}.")
    bits = cv2.aruco.generateImageMarker(marker_dictionary(), marker, 6)  # six cells with the border, a pixel each
    cell = box.width_mm / 6
    _rectangle(sheet, box, _BLACK)
    for row, column in np.argwhere(bits > 127):
        white = Box(box.left_mm + column * cell, box.top_mm + row * cell, cell, cell)
        _rectangle(sheet, white, (255, 255, 255))


def _rectangle(sheet: Sheet, box: Box, fill: tuple[int, int, int]) -> None:
    corners = [(box.left_mm, box.top_mm), (box.right_mm, box.top_mm)]
    sheet.polygon(fill, [*corners, (box.right_mm, box.bottom_mm), (box.left_mm, box.bottom_mm)])


def _check_number(number: int) -> None:
    if number not in (0, 1):
        raise UsageError(f"There are boards 0 and 1, not {number}.")
