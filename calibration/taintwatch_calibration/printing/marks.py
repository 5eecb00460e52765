"""What lets one check a printed sheet with a ruler and cut it: check square, millimetre ruler, cut lines."""

from __future__ import annotations

from taintwatch_calibration.printing.pages import Box, Page
from taintwatch_calibration.printing.sheet import Sheet

__all__ = ["CHECK_SQUARE_MM", "FOOTER_MM", "check_square", "cut_lines", "footer", "printable_area", "ruler"]

CHECK_SQUARE_MM = 50.0
FOOTER_MM = CHECK_SQUARE_MM + 4.0
"""Height that `footer` takes above the lower margin."""
_LINE_MM = 0.25
_GREY = (150, 150, 150)


def check_square(sheet: Sheet, left_mm: float, top_mm: float) -> None:
    """Draw a square whose *outer* edges are exactly 50 mm apart, with its size written inside."""
    near, far = _LINE_MM / 2, CHECK_SQUARE_MM - _LINE_MM / 2
    corners = [(near, near), (far, near), (far, far), (near, far)]
    for (x0, y0), (x1, y1) in zip(corners, [*corners[1:], corners[0]], strict=True):
        # Half a line longer at both ends closes the corners.
        grow_x, grow_y = (_LINE_MM / 2 * ((b > a) - (b < a)) for a, b in ((x0, x1), (y0, y1)))
        start = (left_mm + x0 - grow_x, top_mm + y0 - grow_y)
        sheet.line(start, (left_mm + x1 + grow_x, top_mm + y1 + grow_y), width_mm=_LINE_MM)
    middle = left_mm + CHECK_SQUARE_MM / 2
    for row, words in enumerate(("50 mm", "measure me: print at 100%,", "without fitting to the page")):
        sheet.text(words, middle, top_mm + 20 + 6 * row, height_mm=6.0 if row == 0 else 3.2, centred=True)


def ruler(sheet: Sheet, left_mm: float, top_mm: float, length_mm: int) -> None:
    """Draw a millimetre ruler to the right of (left, top): the first tick's middle is at `left_mm`."""
    for tick in range(length_mm + 1):
        x, height = left_mm + tick, 6.0 if tick % 10 == 0 else 4.5 if tick % 5 == 0 else 3.0
        sheet.line((x, top_mm), (x, top_mm + height), width_mm=0.15)
        if tick % 10 == 0:
            sheet.text(str(tick), x, top_mm + 9.0, height_mm=2.6, centred=True)
    sheet.line((left_mm, top_mm), (left_mm + length_mm, top_mm), width_mm=0.15)
    sheet.text("mm", left_mm + length_mm + 2.5, top_mm + 9.0, height_mm=2.6)


def cut_lines(sheet: Sheet, box: Box) -> None:
    """Draw a thin dashed line around `box` to cut along."""
    corners = [(box.left_mm, box.top_mm), (box.right_mm, box.top_mm)]
    corners += [(box.right_mm, box.bottom_mm), (box.left_mm, box.bottom_mm)]
    for start, end in zip(corners, [*corners[1:], corners[0]], strict=True):
        sheet.line(start, end, width_mm=0.15, colour=_GREY, dash_mm=(2.0, 1.5))


def footer(sheet: Sheet, note: str) -> None:
    """Draw the check square, a ruler and one line of text at the foot of the page."""
    page = sheet.page
    top = page.height_mm - page.margin_mm - CHECK_SQUARE_MM
    check_square(sheet, page.margin_mm, top)
    left = page.margin_mm + CHECK_SQUARE_MM + 8
    length = int((page.width_mm - page.margin_mm - left - 8) // 10 * 10)
    ruler(sheet, left, top + CHECK_SQUARE_MM - 11, length)
    sheet.text(note, left, top + 6, height_mm=3.2)


def printable_area(page: Page, *, with_footer: bool = True) -> Box:
    """Return what is left of `page` within its margins, above the footer where there is one."""
    height = page.height_mm - 2 * page.margin_mm - (FOOTER_MM if with_footer else 0.0)
    return Box(page.margin_mm, page.margin_mm, page.width_mm - 2 * page.margin_mm, height)
