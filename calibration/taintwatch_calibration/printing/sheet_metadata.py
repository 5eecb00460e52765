"""What is on a sheet and where, in a JSON beside its PDF: trials read it to find the object and the pose."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from taintwatch_calibration.printing.pages import Box, Page
from taintwatch_calibration.printing.pose_board import PoseBoard
from taintwatch_models.errors import UsageError
from taintwatch_models.storage import write_atomically

__all__ = ["BoardPlace", "SheetMetadata", "read_sheet", "sheet_id", "write_sheet"]

FORMAT = "taintwatch-sheet/1"


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
    """The object that is filmed or cut out."""
    board: BoardPlace | None = None
    words: str = ""
    label: int | None = None
    """The class that the object shows, where the sheet knows it (a drawn sign)."""

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
    document = {"format": FORMAT, **asdict(info)}
    beside = pdf.with_suffix(".json")
    if beside == pdf:
        raise UsageError(f"{pdf}: a sheet is a PDF; give --out a name that ends in .pdf")
    try:
        write_atomically(beside, (json.dumps(document, indent=1) + "\n").encode())
        write_atomically(pdf, content)
    except OSError as error:
        raise UsageError(f"{pdf} cannot be written ({error.strerror or error}): choose another --out.") from error


def read_sheet(path: Path) -> SheetMetadata:
    """Read the JSON beside a PDF (either path will do). Raises `UsageError`."""
    beside = path.with_suffix(".json")
    try:
        document: Any = json.loads(beside.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UsageError(
            f"{beside}: what is on the sheet cannot be read ({reason}); `taintwatch print` writes it beside each PDF"
        ) from None
    if not isinstance(document, dict) or document.pop("format", None) != FORMAT:
        raise UsageError(f"{beside}: does not describe a sheet ('{FORMAT}'); print the sheet anew")
    try:
        return _built(document)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UsageError(f"{beside}: a damaged description of a sheet ({error}); print the sheet anew") from None


def _built(document: dict[str, Any]) -> SheetMetadata:
    printable, place = document.pop("printable"), document.pop("board")
    info = SheetMetadata(**document)
    if printable is not None:
        info = replace(info, printable=Box(**printable))
    if place is not None:
        board = PoseBoard.from_json(place["board"])
        info = replace(info, board=BoardPlace(board, float(place["left_mm"]), float(place["top_mm"])))
    return info
