"""Sheets with one printable at true size (a patch, its control, a sign), with a board of markers round it or without.

What is larger than a page goes over several that are glued together.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from taintwatch_calibration.printing.pages import Box, Page, fit_grid
from taintwatch_calibration.printing.pose_board import PoseBoard, board_around, draw_board, full_board
from taintwatch_calibration.printing.sheet import Sheet, cut_lines, footer, printable_area
from taintwatch_calibration.printing.sheet_metadata import BoardPlace, CraftedAttack, SheetMetadata, sheet_id
from taintwatch_calibration.printing.sign_cards import draw_vector
from taintwatch_models.errors import UsageError
from taintwatch_models.signs import SIGN_NAMES, draw_sign
from taintwatch_models.signs.geometry import Drawing

__all__ = [
    "Printable",
    "PrintedSheet",
    "board_sheet",
    "picture_printable",
    "printable_sheet",
    "sign_printable",
    "sticker_sheet",
]

LEAST_MM, MOST_MM = 5.0, 2000.0
GLUE_MM = 10.0
"""Paper that each tile keeps beyond its part, under the next tile."""


@dataclass(frozen=True, slots=True, eq=False)
class Printable:
    """What is printed at true size."""

    words: str
    width_mm: float
    height_mm: float
    pixels: NDArray[np.uint8] | None = None
    """(H, W, 3) uint8 red-green-blue; None for a drawing."""
    drawing: Drawing = ()
    label: int | None = None
    attack: CraftedAttack | None = None

    @property
    def digest(self) -> bytes:
        """What makes its sheet differ from another's."""
        return self.words.encode() if self.pixels is None else self.pixels.tobytes()


@dataclass(frozen=True, slots=True)
class PrintedSheet:
    """A PDF and what is on it."""

    pdf: bytes
    info: SheetMetadata
    pages: int


def picture_printable(
    pixels: NDArray[np.uint8], width_mm: float, words: str, attack: CraftedAttack | None = None
) -> Printable:
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
    return Printable(
        words, width_mm, width_mm * pixels.shape[0] / pixels.shape[1], np.ascontiguousarray(flat), attack=attack
    )


def _visible(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the part that is not transparent: crafting writes a sticker as large as the picture that it is in."""
    if pixels.shape[2] == 3:
        return pixels
    rows, columns = (np.flatnonzero(pixels[..., 3].any(axis=axis)) for axis in (1, 0))
    if not rows.size:
        raise UsageError("The picture is transparent everywhere: give one with a visible part.")
    return pixels[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def sign_printable(index: int, size_mm: float) -> Printable:
    """Return a drawn sign. Raises `UsageError` for an unknown class or a size that cannot be printed."""
    if not LEAST_MM <= size_mm <= MOST_MM:
        raise UsageError(f"{size_mm:g} mm cannot be printed: choose {LEAST_MM:g} to {MOST_MM:g} mm.")
    drawing = draw_sign(index)  # refuses an unknown class with its own sentence
    return Printable(SIGN_NAMES[index], size_mm, size_mm, drawing=drawing, label=index)


def printable_sheet(
    printable: Printable, page: Page, kind: str, *, board: bool = False, number: int = 0
) -> PrintedSheet:
    """Return one printable on a page, in the middle, or in tiles over several where it is larger.

    Raises `UsageError` where a board of markers has no room round it.
    """
    area = printable_area(page)
    name = sheet_id(kind, page, printable.digest, printable.width_mm, board, number)
    note = f"Taintwatch {kind} {name}: {printable.words}, {printable.width_mm:g} x {printable.height_mm:g} mm"
    if board:
        return _with_board(printable, page, kind, name, note, number)
    if printable.width_mm > area.width_mm or printable.height_mm > area.height_mm:
        return _tiled(printable, page, kind, name, note)
    sheet = Sheet(page, f"Taintwatch {kind} {name}")
    box = _centred(area, printable.width_mm, printable.height_mm)
    _draw(sheet, printable, box)
    cut_lines(sheet, box)
    footer(sheet, note)
    return PrintedSheet(sheet.pdf(), _info(kind, name, page, printable, box), 1)


def board_sheet(
    page: Page, *, columns: int, number: int = 0, hole_mm: tuple[float, float] | None = None
) -> PrintedSheet:
    """Return a whole board, to stand beside an object, or one with an empty hole to put an object in."""
    area = printable_area(page)
    board = full_board(area, columns, number) if hole_mm is None else board_around(*hole_mm, area, number)
    name = sheet_id("board", page, columns, number, hole_mm)
    sheet = Sheet(page, f"Taintwatch board {name}")
    place = _board_place(area, board)
    draw_board(sheet, board, place.left_mm, place.top_mm)
    footer(sheet, f"Taintwatch board {name}: ChArUco, squares of {board.square_mm:g} mm, board {number}")
    printable = None
    if hole_mm is not None:
        middle = Box(place.left_mm, place.top_mm, board.width_mm, board.height_mm)
        printable = _centred(middle, *hole_mm)
        cut_lines(sheet, printable)
    info = SheetMetadata("board", name, page.name, page.width_mm, page.height_mm, printable, place)
    return PrintedSheet(sheet.pdf(), info, 1)


def sticker_sheet(printables: Sequence[Printable], page: Page, copies: int = 1) -> PrintedSheet:
    """Return many small printables on as few pages as they take, each within its cut lines. Raises `UsageError`."""
    area = printable_area(page)
    wanted = [printable for printable in printables for _ in range(copies)]
    width, height = max(t.width_mm for t in printables), max(t.height_mm for t in printables)
    boxes = fit_grid(area, width, height, 4.0)
    if not boxes:
        raise UsageError(f"A sticker of {width:g} x {height:g} mm does not fit on {page.name}: print it as a patch.")
    name = sheet_id("stickers", page, *(printable.digest for printable in printables), width, copies)
    sheet = Sheet(page, f"Taintwatch stickers {name}")
    for start in range(0, len(wanted), len(boxes)):
        if start:
            sheet.next_page()
        for printable, box in zip(wanted[start : start + len(boxes)], boxes, strict=False):
            own = _centred(box, printable.width_mm, printable.height_mm)
            _draw(sheet, printable, own)
            cut_lines(sheet, own)
        footer(sheet, f"Taintwatch stickers {name}: {width:g} mm wide")
    first = _centred(boxes[0], printables[0].width_mm, printables[0].height_mm)
    pages = math.ceil(len(wanted) / len(boxes))
    return PrintedSheet(sheet.pdf(), _info("stickers", name, page, printables[0], first), pages)


def _with_board(printable: Printable, page: Page, kind: str, name: str, note: str, number: int) -> PrintedSheet:
    area = printable_area(page)
    board = board_around(printable.width_mm, printable.height_mm, area, number)
    place = _board_place(area, board)
    sheet = Sheet(page, f"Taintwatch {kind} {name}")
    draw_board(sheet, board, place.left_mm, place.top_mm)
    box = _centred(
        Box(place.left_mm, place.top_mm, board.width_mm, board.height_mm), printable.width_mm, printable.height_mm
    )
    _draw(sheet, printable, box)
    footer(sheet, note)
    return PrintedSheet(sheet.pdf(), _info(kind, name, page, printable, box, place), 1)


def _tiled(printable: Printable, page: Page, kind: str, name: str, note: str) -> PrintedSheet:
    """Lay the printable over pages: each shows its part, and a strip of the next to glue under it."""
    area = printable_area(page)
    part_w, part_h = area.width_mm - GLUE_MM, area.height_mm - GLUE_MM
    columns, rows = math.ceil(printable.width_mm / part_w), math.ceil(printable.height_mm / part_h)
    sheet = Sheet(page, f"Taintwatch {kind} {name}")
    first = Box(area.left_mm, area.top_mm, min(part_w, printable.width_mm), min(part_h, printable.height_mm))
    for tile in range(rows * columns):
        if tile:
            sheet.next_page()
        row, column = divmod(tile, columns)
        left, top = column * part_w, row * part_h
        shown = Box(
            area.left_mm, area.top_mm,
            min(area.width_mm, printable.width_mm - left), min(area.height_mm, printable.height_mm - top),
        )  # fmt: skip
        _draw_part(
            sheet,
            printable,
            Box(area.left_mm - left, area.top_mm - top, printable.width_mm, printable.height_mm),
            shown,
        )
        _tile_marks(sheet, shown, column < columns - 1, row < rows - 1, part_w, part_h)
        footer(sheet, f"{note}; row {row + 1} of {rows}, column {column + 1} of {columns}")
    info = _info(kind, name, page, printable, first)
    return PrintedSheet(sheet.pdf(), info, rows * columns)


def _draw_part(sheet: Sheet, printable: Printable, whole: Box, shown: Box) -> None:
    corners = [(shown.left_mm, shown.top_mm), (shown.right_mm, shown.top_mm)]
    corners += [(shown.right_mm, shown.bottom_mm), (shown.left_mm, shown.bottom_mm)]
    with sheet.within([corners]):
        _draw(sheet, printable, whole)


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


def _draw(sheet: Sheet, printable: Printable, box: Box) -> None:
    if printable.pixels is not None:
        sheet.image(printable.pixels, box)
    else:
        draw_vector(sheet, printable.drawing, box.left_mm, box.top_mm, box.width_mm)


def _centred(area: Box, width_mm: float, height_mm: float) -> Box:
    left, top = area.left_mm + (area.width_mm - width_mm) / 2, area.top_mm + (area.height_mm - height_mm) / 2
    return Box(left, top, width_mm, height_mm)


def _board_place(area: Box, board: PoseBoard) -> BoardPlace:
    box = _centred(area, board.width_mm, board.height_mm)
    return BoardPlace(board, box.left_mm, box.top_mm)


def _info(
    kind: str, name: str, page: Page, printable: Printable, box: Box, place: BoardPlace | None = None
) -> SheetMetadata:
    return SheetMetadata(
        kind, name, page.name, page.width_mm, page.height_mm, box, place, words=printable.words, label=printable.label,
        attack=printable.attack,
    )  # fmt: skip
