"""Sheets with one thing at true size (a patch, its control, a sign), with a board of markers round it or without.

What is larger than a page goes over several that are glued together.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from taintwatch_calibration.printing.marks import cut_lines, footer, printable_area
from taintwatch_calibration.printing.pages import Box, Page, fit_grid
from taintwatch_calibration.printing.pose_board import PoseBoard, board_around, draw_board, full_board
from taintwatch_calibration.printing.sheet import Sheet
from taintwatch_calibration.printing.sidecar import BoardPlace, SheetInfo, sheet_id
from taintwatch_calibration.printing.sign_cards import draw_vector
from taintwatch_models.errors import UsageError
from taintwatch_models.signs import SIGN_NAMES, draw_sign
from taintwatch_models.signs.geometry import Drawing

__all__ = ["Printed", "Thing", "board_sheet", "picture_thing", "sign_thing", "sticker_sheet", "thing_sheet"]

LEAST_MM, MOST_MM = 5.0, 2000.0
GLUE_MM = 10.0
"""Paper that each tile keeps beyond its part, under the next tile."""


@dataclass(frozen=True, slots=True, eq=False)
class Thing:
    """What is printed at true size."""

    words: str
    width_mm: float
    height_mm: float
    pixels: NDArray[np.uint8] | None = None
    """(H, W, 3) uint8 red-green-blue; None for a drawing."""
    drawing: Drawing = ()
    label: int | None = None

    @property
    def digest(self) -> bytes:
        """What makes its sheet differ from another's."""
        return self.words.encode() if self.pixels is None else self.pixels.tobytes()


@dataclass(frozen=True, slots=True)
class Printed:
    """A PDF and what is on it."""

    pdf: bytes
    info: SheetInfo
    pages: int


def picture_thing(pixels: NDArray[np.uint8], width_mm: float, words: str) -> Thing:
    """Return a picture (H, W, 3 or 4) whose visible part has this width; what is transparent is left white.

    Raises `UsageError`.
    """
    if not LEAST_MM <= width_mm <= MOST_MM:
        raise UsageError(f"{width_mm:g} mm cannot be printed: choose {LEAST_MM:g} to {MOST_MM:g} mm.")
    pixels = _visible(pixels)
    flat = pixels[..., :3]
    if pixels.shape[2] == 4:
        alpha = pixels[..., 3:].astype(np.float32) / 255.0
        flat = np.round(alpha * flat + (1 - alpha) * 255.0).astype(np.uint8)
    return Thing(words, width_mm, width_mm * pixels.shape[0] / pixels.shape[1], np.ascontiguousarray(flat))


def _visible(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the part that is not transparent: crafting writes a sticker as large as the picture that it is in."""
    if pixels.shape[2] == 3:
        return pixels
    rows, columns = (np.flatnonzero(pixels[..., 3].any(axis=axis)) for axis in (1, 0))
    if not rows.size:
        raise UsageError("The picture is transparent everywhere: give one with a visible part.")
    return pixels[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def sign_thing(index: int, size_mm: float) -> Thing:
    """Return a drawn sign. Raises `UsageError` for an unknown class or a size that cannot be printed."""
    if not LEAST_MM <= size_mm <= MOST_MM:
        raise UsageError(f"{size_mm:g} mm cannot be printed: choose {LEAST_MM:g} to {MOST_MM:g} mm.")
    drawing = draw_sign(index)  # refuses an unknown class with its own sentence
    return Thing(SIGN_NAMES[index], size_mm, size_mm, drawing=drawing, label=index)


def thing_sheet(thing: Thing, page: Page, kind: str, *, board: bool = False, number: int = 0) -> Printed:
    """Return one thing on a page, in the middle, or in tiles over several where it is larger.

    Raises `UsageError` where a board of markers has no room round it.
    """
    area = printable_area(page)
    name = sheet_id(kind, page, thing.digest, thing.width_mm, board, number)
    note = f"Taintwatch {kind} {name}: {thing.words}, {thing.width_mm:g} x {thing.height_mm:g} mm"
    if board:
        return _with_board(thing, page, kind, name, note, number)
    if thing.width_mm > area.width_mm or thing.height_mm > area.height_mm:
        return _tiled(thing, page, kind, name, note)
    sheet = Sheet(page, f"Taintwatch {kind} {name}")
    box = _centred(area, thing.width_mm, thing.height_mm)
    _draw(sheet, thing, box)
    cut_lines(sheet, box)
    footer(sheet, note)
    return Printed(sheet.pdf(), _info(kind, name, page, thing, box), 1)


def board_sheet(page: Page, *, columns: int, number: int = 0, hole_mm: tuple[float, float] | None = None) -> Printed:
    """Return a whole board, to stand beside an object, or one with an empty hole to put an object in."""
    area = printable_area(page)
    board = full_board(area, columns, number) if hole_mm is None else board_around(*hole_mm, area, number)
    name = sheet_id("board", page, columns, number, hole_mm)
    sheet = Sheet(page, f"Taintwatch board {name}")
    place = _board_place(area, board)
    draw_board(sheet, board, place.left_mm, place.top_mm)
    footer(sheet, f"Taintwatch board {name}: ChArUco, squares of {board.square_mm:g} mm, board {number}")
    thing = None
    if hole_mm is not None:
        middle = Box(place.left_mm, place.top_mm, board.width_mm, board.height_mm)
        thing = _centred(middle, *hole_mm)
        cut_lines(sheet, thing)
    info = SheetInfo("board", name, page.name, page.width_mm, page.height_mm, thing, place)
    return Printed(sheet.pdf(), info, 1)


def sticker_sheet(things: Sequence[Thing], page: Page, copies: int = 1) -> Printed:
    """Return many small things on as few pages as they take, each within its cut lines. Raises `UsageError`."""
    area = printable_area(page)
    wanted = [thing for thing in things for _ in range(copies)]
    width, height = max(t.width_mm for t in things), max(t.height_mm for t in things)
    boxes = fit_grid(area, width, height, 4.0)
    if not boxes:
        raise UsageError(f"A sticker of {width:g} x {height:g} mm does not fit on {page.name}: print it as a patch.")
    name = sheet_id("stickers", page, *(thing.digest for thing in things), width, copies)
    sheet = Sheet(page, f"Taintwatch stickers {name}")
    for start in range(0, len(wanted), len(boxes)):
        if start:
            sheet.next_page()
        for thing, box in zip(wanted[start : start + len(boxes)], boxes, strict=False):
            own = _centred(box, thing.width_mm, thing.height_mm)
            _draw(sheet, thing, own)
            cut_lines(sheet, own)
        footer(sheet, f"Taintwatch stickers {name}: {width:g} mm wide")
    first = _centred(boxes[0], things[0].width_mm, things[0].height_mm)
    pages = math.ceil(len(wanted) / len(boxes))
    return Printed(sheet.pdf(), _info("stickers", name, page, things[0], first), pages)


def _with_board(thing: Thing, page: Page, kind: str, name: str, note: str, number: int) -> Printed:
    area = printable_area(page)
    board = board_around(thing.width_mm, thing.height_mm, area, number)
    place = _board_place(area, board)
    sheet = Sheet(page, f"Taintwatch {kind} {name}")
    draw_board(sheet, board, place.left_mm, place.top_mm)
    box = _centred(Box(place.left_mm, place.top_mm, board.width_mm, board.height_mm), thing.width_mm, thing.height_mm)
    _draw(sheet, thing, box)
    footer(sheet, note)
    return Printed(sheet.pdf(), _info(kind, name, page, thing, box, place), 1)


def _tiled(thing: Thing, page: Page, kind: str, name: str, note: str) -> Printed:
    """Lay the thing over pages: each shows its part, and a strip of the next to glue under it."""
    area = printable_area(page)
    part_w, part_h = area.width_mm - GLUE_MM, area.height_mm - GLUE_MM
    columns, rows = math.ceil(thing.width_mm / part_w), math.ceil(thing.height_mm / part_h)
    sheet = Sheet(page, f"Taintwatch {kind} {name}")
    first = Box(area.left_mm, area.top_mm, min(part_w, thing.width_mm), min(part_h, thing.height_mm))
    for tile in range(rows * columns):
        if tile:
            sheet.next_page()
        row, column = divmod(tile, columns)
        left, top = column * part_w, row * part_h
        shown = Box(
            area.left_mm, area.top_mm,
            min(area.width_mm, thing.width_mm - left), min(area.height_mm, thing.height_mm - top),
        )  # fmt: skip
        _draw_part(sheet, thing, Box(area.left_mm - left, area.top_mm - top, thing.width_mm, thing.height_mm), shown)
        _tile_marks(sheet, shown, column < columns - 1, row < rows - 1, part_w, part_h)
        footer(sheet, f"{note}; row {row + 1} of {rows}, column {column + 1} of {columns}")
    info = _info(kind, name, page, thing, first)
    return Printed(sheet.pdf(), info, rows * columns)


def _draw_part(sheet: Sheet, thing: Thing, whole: Box, shown: Box) -> None:
    corners = [(shown.left_mm, shown.top_mm), (shown.right_mm, shown.top_mm)]
    corners += [(shown.right_mm, shown.bottom_mm), (shown.left_mm, shown.bottom_mm)]
    with sheet.within([corners]):
        _draw(sheet, thing, whole)


def _tile_marks(sheet: Sheet, shown: Box, right: bool, below: bool, part_w: float, part_h: float) -> None:
    """Draw where the next tile's edge lies, over the strip for the glue."""
    cut_lines(sheet, shown)
    if right:
        x = shown.left_mm + part_w
        sheet.line((x, shown.top_mm - 4), (x, shown.top_mm), width_mm=0.3)
        sheet.line((x, shown.bottom_mm), (x, shown.bottom_mm + 3), width_mm=0.3)
    if below:
        y = shown.top_mm + part_h
        sheet.line((shown.left_mm - 4, y), (shown.left_mm, y), width_mm=0.3)
        sheet.line((shown.right_mm, y), (shown.right_mm + 3, y), width_mm=0.3)


def _draw(sheet: Sheet, thing: Thing, box: Box) -> None:
    if thing.pixels is not None:
        sheet.image(thing.pixels, box)
    else:
        draw_vector(sheet, thing.drawing, box.left_mm, box.top_mm, box.width_mm)


def _centred(area: Box, width_mm: float, height_mm: float) -> Box:
    left, top = area.left_mm + (area.width_mm - width_mm) / 2, area.top_mm + (area.height_mm - height_mm) / 2
    return Box(left, top, width_mm, height_mm)


def _board_place(area: Box, board: PoseBoard) -> BoardPlace:
    box = _centred(area, board.width_mm, board.height_mm)
    return BoardPlace(board, box.left_mm, box.top_mm)


def _info(kind: str, name: str, page: Page, thing: Thing, box: Box, place: BoardPlace | None = None) -> SheetInfo:
    return SheetInfo(
        kind, name, page.name, page.width_mm, page.height_mm, box, place, words=thing.words, label=thing.label
    )  # fmt: skip
