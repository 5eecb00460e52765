"""Cards with one drawn sign each, at true size, to hold before a camera."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from taintwatch_calibration.printing.pages import Box, Page, fit_grid
from taintwatch_calibration.printing.sheet import Sheet, cut_lines, footer, printable_area
from taintwatch_models.errors import UsageError
from taintwatch_models.signs import SIGN_NAMES, draw_sign
from taintwatch_models.signs.geometry import CANVAS, Drawing
from taintwatch_models.storage import write_atomically

__all__ = ["MIN_SIGN_MM", "draw_vector", "parse_classes", "sign_cards_pdf", "write_sign_cards"]

MIN_SIGN_MM = 10.0
_BORDER_MM = 6.0
"""White paper around the sign: a camera must see where it ends."""
_CAPTION_MM = 8.0
_GAP_MM = 4.0


def parse_classes(words: str) -> tuple[int, ...]:
    """Return the class numbers in `words`: `14,1`, ranges like `0-8`, or `all`; in order, each once.

    Raises `UsageError` for anything that is not a class number from 0 to 42.
    """
    if words.strip().lower() == "all":
        return tuple(range(len(SIGN_NAMES)))
    chosen: list[int] = []
    for part in words.split(","):
        first, dash, last = part.strip().partition("-")
        if not first.isdecimal() or (dash and not last.isdecimal()):
            raise UsageError(f"{part.strip()!r} is not a sign class: give numbers and ranges like 14,1,33-37, or all.")
        for index in range(int(first), int(last if dash else first) + 1):
            draw_sign(index)  # refuses an unknown class with its own sentence
            if index not in chosen:
                chosen.append(index)
    if not chosen:
        raise UsageError(f"{words!r} names no sign class: a range goes from the smaller to the larger number.")
    return tuple(chosen)


def sign_cards_pdf(classes: Sequence[int], size_mm: float, page: Page) -> bytes:
    """Return a PDF with one card for each class, as many on a page as fit, in the order given.

    `size_mm` is the sign's width (and height) on paper. Raises `UsageError` where one card does not fit the page.
    """
    boxes = _card_boxes(size_mm, page)
    sheet = Sheet(page, "Taintwatch sign cards")
    for start in range(0, len(classes), len(boxes)):
        if start:
            sheet.next_page()
        for index, box in zip(classes[start : start + len(boxes)], boxes, strict=False):
            _draw_card(sheet, index, size_mm, box)
        footer(sheet, f"Taintwatch sign cards, {size_mm:g} mm, {page.name}. Cut along the dashed lines.")
    return sheet.pdf()


def write_sign_cards(out: Path, classes: Sequence[int], size_mm: float, page: Page) -> None:
    """Write `sign_cards_pdf` to the file `out`, whole or not at all. Raises `UsageError` where it cannot be written."""
    content = sign_cards_pdf(classes, size_mm, page)
    try:
        write_atomically(out, content)
    except OSError as error:
        raise UsageError(f"{out} cannot be written ({error.strerror}): choose another --out.") from error


def draw_vector(sheet: Sheet, drawing: Drawing, left_mm: float, top_mm: float, size_mm: float) -> None:
    """Draw a sign's shapes as vectors, its canvas `size_mm` wide with its top left corner here."""
    scale = size_mm / CANVAS
    for shape in drawing:
        sheet.polygon(shape.fill, [(left_mm + x * scale, top_mm + y * scale) for x, y in shape.points])


def _card_boxes(size_mm: float, page: Page) -> tuple[Box, ...]:
    area = printable_area(page)
    largest = min(area.width_mm - 2 * _BORDER_MM, area.height_mm - 2 * _BORDER_MM - _CAPTION_MM)
    if not MIN_SIGN_MM <= size_mm <= largest:
        raise UsageError(
            f"A sign of {size_mm:g} mm does not fit on {page.name} with its marks: choose {MIN_SIGN_MM:g} to "
            f"{int(largest)} mm."
        )
    card = size_mm + 2 * _BORDER_MM
    return fit_grid(area, card, card + _CAPTION_MM, _GAP_MM)


def _draw_card(sheet: Sheet, index: int, size_mm: float, box: Box) -> None:
    cut_lines(sheet, box)
    draw_vector(sheet, draw_sign(index), box.left_mm + _BORDER_MM, box.top_mm + _BORDER_MM, size_mm)
    words = f"{SIGN_NAMES[index]} (class {index}, {size_mm:g} mm)"
    height = min(3.6, 3.6 * (box.width_mm - 4) / sheet.text_width_mm(words, 3.6))
    sheet.text(words, box.left_mm + box.width_mm / 2, box.bottom_mm - 4.0, height_mm=height, centred=True)
