"""What is on a sheet and where, in a JSON beside its PDF: trials read it to find the object and the pose."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from taintwatch_calibration.json_file import read_json_file, write_json_file
from taintwatch_calibration.printing.pages import Box, Page
from taintwatch_calibration.printing.pose_board import PoseBoard
from taintwatch_models.errors import UsageError
from taintwatch_models.storage import write_atomically

__all__ = ["BoardPlace", "CraftedAttack", "SheetMetadata", "read_sheet", "sheet_id", "write_sheet"]

FORMAT = "taintwatch-sheet/1"


@dataclass(frozen=True, slots=True)
class CraftedAttack:
    """Which attack is on a sheet: from its recipe, to travel with sheet, clip and report. JSON-ready."""

    kind: str
    """`patch`, `lavan`, `sticker`, `hat`, `glasses`, or a bundled attack's name."""
    target: str | None
    """The class that it was crafted for, by name; None: any but the right one."""
    size: float | None
    """Width of what shows, as a share of the picture's (where several were crafted for, their mean)."""
    recipe_sha256: str
    model_sha256: str
    """Of the classifier that it was crafted on."""


@dataclass(frozen=True, slots=True)
class BoardPlace:
    """A board on a page."""

    board: PoseBoard
    left_mm: float
    top_mm: float


@dataclass(frozen=True, slots=True)
class SheetMetadata:
    """One printed sheet, its first page; lengths in millimetres from the page's top left corner."""

    kind: str
    """`patch`, `control`, `stickers`, `glasses`, `board`, ..."""
    id: str
    """Eight hexadecimal digits, also printed on the sheet."""
    page: str
    page_width_mm: float
    page_height_mm: float
    printable: Box | None = None
    """The object that is shown or cut out."""
    board: BoardPlace | None = None
    words: str = ""
    label: int | None = None
    """The class that the object shows, where the sheet knows it (a drawn sign)."""
    attack: CraftedAttack | None = None
    """What is shown, where it was crafted (or made of it: a control)."""

    def board_corners_from_centre(self) -> dict[int, list[tuple[float, float]]]:
        """Return each marker's corners in mm from the middle of the object (of the board, where there is none)."""
        if self.board is None:
            return {}
        place = self.board
        x, y = self.centre()
        return {
            marker: [(place.left_mm + cx - x, place.top_mm + cy - y) for cx, cy in corners.tolist()]
            for marker, corners in place.board.marker_corners().items()
        }

    def centre(self) -> tuple[float, float]:
        """Return the middle of the object, of the board where there is none, else of the page."""
        if self.printable is not None:
            return (
                self.printable.left_mm + self.printable.width_mm / 2,
                self.printable.top_mm + self.printable.height_mm / 2,
            )
        if self.board is not None:
            board = self.board.board
            return self.board.left_mm + board.width_mm / 2, self.board.top_mm + board.height_mm / 2
        return self.page_width_mm / 2, self.page_height_mm / 2


def sheet_id(kind: str, page: Page, *parts: object) -> str:
    """Return eight hexadecimal digits that stand for the sheet's content."""
    digest = hashlib.sha256(repr((kind, page.name)).encode())
    for part in parts:
        digest.update(part if isinstance(part, bytes) else repr(part).encode())
    return digest.hexdigest()[:8]


def write_sheet(pdf: Path, content: bytes, info: SheetMetadata) -> None:
    """Write the PDF and, beside it, its JSON; each whole or not at all. Raises `UsageError`."""
    beside = pdf.with_suffix(".json")
    if beside == pdf:
        raise UsageError(f"{pdf}: a sheet is a PDF; give --out a name that ends in .pdf")
    write_json_file(beside, info, FORMAT)
    try:
        write_atomically(pdf, content)
    except OSError as error:
        raise UsageError(f"{pdf} cannot be written ({error.strerror or error}): choose another --out.") from error


def read_sheet(path: Path) -> SheetMetadata:
    """Read the JSON beside a PDF (either path will do). Raises `UsageError`."""
    return read_json_file(
        path.with_suffix(".json"), SheetMetadata, FORMAT, what="description of a sheet",
        advice="`taintwatch print` writes it beside each PDF: print the sheet anew",
    )  # fmt: skip
