"""Paper sizes and where printables fit on them. All lengths are millimetres from the page's top left corner."""

from __future__ import annotations

from dataclasses import dataclass

from taintwatch_models.errors import UsageError

__all__ = ["A4", "LETTER", "PAGES", "Box", "Page", "fit_grid", "page_named"]


@dataclass(frozen=True, slots=True)
class Page:
    """A paper size, upright."""

    name: str
    width_mm: float
    height_mm: float
    margin_mm: float = 8.0
    """What common printers cannot print on, on each side, with some room."""


@dataclass(frozen=True, slots=True)
class Box:
    """An upright rectangle on a page."""

    left_mm: float
    top_mm: float
    width_mm: float
    height_mm: float

    @property
    def right_mm(self) -> float:
        """The right edge."""
        return self.left_mm + self.width_mm

    @property
    def bottom_mm(self) -> float:
        """The lower edge."""
        return self.top_mm + self.height_mm


A4 = Page("A4", 210.0, 297.0)
LETTER = Page("Letter", 215.9, 279.4)
PAGES = (A4, LETTER)


def page_named(name: str) -> Page:
    """Return the page called `name`, in any case. Raises `UsageError` for another."""
    for page in PAGES:
        if page.name.lower() == name.lower():
            return page
    raise UsageError(f"There is no page size {name!r}: choose {' or '.join(page.name for page in PAGES)}.")


def fit_grid(area: Box, width_mm: float, height_mm: float, gap_mm: float) -> tuple[Box, ...]:
    """Return the boxes of this size that fit in `area`, row by row, the grid centred from left to right.

    Empty where not even one fits.
    """
    columns = int((area.width_mm + gap_mm + 1e-9) // (width_mm + gap_mm))
    rows = int((area.height_mm + gap_mm + 1e-9) // (height_mm + gap_mm))
    if columns < 1 or rows < 1:
        return ()
    used = columns * width_mm + (columns - 1) * gap_mm
    left = area.left_mm + (area.width_mm - used) / 2
    return tuple(
        Box(left + column * (width_mm + gap_mm), area.top_mm + row * (height_mm + gap_mm), width_mm, height_mm)
        for row in range(rows)
        for column in range(columns)
    )
