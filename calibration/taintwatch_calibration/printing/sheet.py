"""A PDF page drawn in millimetres, and the marks to measure and cut it by."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import cv2
import numpy as np
from numpy.typing import NDArray
from reportlab.lib.units import mm
from reportlab.lib.utils import ImageReader
from reportlab.pdfgen.canvas import Canvas

from taintwatch_calibration.printing.pages import Box, Page
from taintwatch_models.errors import UsageError

__all__ = ["CHECK_SQUARE_MM", "FOOTER_MM", "Sheet", "check_square", "cut_lines", "footer", "printable_area", "ruler"]

Colour = tuple[int, int, int]
_BLACK: Colour = (0, 0, 0)


class Sheet:
    """Pages of one size. Nothing is on disk until the caller writes `pdf()` somewhere.

    The same drawing gives the same bytes: the file holds no time and no random id.
    """

    def __init__(self, page: Page, title: str) -> None:
        self.page = page
        self._buffer = io.BytesIO()
        size = (page.width_mm * mm, page.height_mm * mm)
        self._canvas = Canvas(self._buffer, pagesize=size, invariant=1, pageCompression=1)
        self._canvas.setTitle(title)
        self._canvas.setCreator("Taintwatch")
        # Viewers then propose 100% instead of "fit to page", which is what spoils true size.
        self._canvas.setViewerPreference("PrintScaling", "None")
        # What is cut out of one page must not cut into another on its back.
        self._canvas.setViewerPreference("Duplex", "Simplex")

    def polygon(self, fill: Colour, points_mm: Iterable[tuple[float, float]]) -> None:
        """Fill a closed polygon."""
        path = self._canvas.beginPath()
        for index, (x, y) in enumerate(points_mm):
            (path.lineTo if index else path.moveTo)(*self._place(x, y))
        path.close()
        self._canvas.setFillColorRGB(*(channel / 255 for channel in fill))
        self._canvas.drawPath(path, stroke=0, fill=1)

    def line(
        self,
        start_mm: tuple[float, float],
        end_mm: tuple[float, float],
        *,
        width_mm: float = 0.2,
        colour: Colour = _BLACK,
        dash_mm: tuple[float, ...] = (),
    ) -> None:
        """Draw a straight line, centred on its two ends."""
        self._canvas.setStrokeColorRGB(*(channel / 255 for channel in colour))
        self._canvas.setLineWidth(width_mm * mm)
        self._canvas.setDash([length * mm for length in dash_mm])
        self._canvas.line(*self._place(*start_mm), *self._place(*end_mm))

    def text(
        self,
        words: str,
        x_mm: float,
        baseline_mm: float,
        *,
        height_mm: float = 3.0,
        centred: bool = False,
        colour: Colour = _BLACK,
    ) -> None:
        """Write one line in Helvetica whose capitals are about 0.7 `height_mm` high. Latin-1 characters only."""
        self._canvas.setFont("Helvetica", height_mm * mm)
        self._canvas.setFillColorRGB(*(channel / 255 for channel in colour))
        draw = self._canvas.drawCentredString if centred else self._canvas.drawString
        draw(*self._place(x_mm, baseline_mm), words)

    def text_width_mm(self, words: str, height_mm: float) -> float:
        """Return how wide `text` writes these words."""
        points: float = self._canvas.stringWidth(words, "Helvetica", height_mm * mm)
        return points / float(mm)

    def image(self, pixels: NDArray[np.uint8], box: Box) -> None:
        """Put a picture (H, W, 3) uint8 RGB into `box`, stretched to it, without loss.

        Raises `UsageError` for another shape or type.
        """
        if pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.dtype != np.uint8 or not pixels.size:
            raise UsageError(
                f"A picture on a sheet must be (height, width, 3) uint8, not {pixels.shape} {pixels.dtype}."
            )
        _, encoded = cv2.imencode(".png", pixels[..., ::-1])
        x, y = self._place(box.left_mm, box.bottom_mm)
        reader = ImageReader(io.BytesIO(encoded.tobytes()))
        self._canvas.drawImage(reader, x, y, box.width_mm * mm, box.height_mm * mm)

    @contextmanager
    def within(self, outlines_mm: Iterable[Iterable[tuple[float, float]]]) -> Iterator[None]:
        """Show what is drawn meanwhile only within closed outlines; one inside another is a hole."""
        path = self._canvas.beginPath()
        for outline in outlines_mm:
            for index, (x, y) in enumerate(outline):
                (path.lineTo if index else path.moveTo)(*self._place(x, y))
            path.close()
        self._canvas.saveState()
        self._canvas.clipPath(path, stroke=0, fill=0, fillMode=0)  # 0: even-odd
        try:
            yield
        finally:
            self._canvas.restoreState()

    def outline(
        self, points_mm: Iterable[tuple[float, float]], *, width_mm: float = 0.2, colour: Colour = _BLACK
    ) -> None:
        """Draw a closed line through the points."""
        points = list(points_mm)
        for start, end in zip(points, [*points[1:], points[0]], strict=True):
            self.line(start, end, width_mm=width_mm, colour=colour)

    def next_page(self) -> None:
        """End this page and begin another."""
        self._canvas.showPage()

    def pdf(self) -> bytes:
        """End the last page and return the whole file. Call once."""
        self._canvas.save()
        return self._buffer.getvalue()

    def _place(self, x_mm: float, y_mm: float) -> tuple[float, float]:
        """Millimetres from the top left -> points from the bottom left."""
        return x_mm * mm, (self.page.height_mm - y_mm) * mm


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


def printable_area(page: Page) -> Box:
    """Return what is left of `page` within its margins, above the footer."""
    height = page.height_mm - 2 * page.margin_mm - FOOTER_MM
    return Box(page.margin_mm, page.margin_mm, page.width_mm - 2 * page.margin_mm, height)
