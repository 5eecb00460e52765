"""Floor marks: where the camera stands for each distance and angle of a trial, to lay out without a protractor."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

from taintwatch_calibration.printing.pages import Page, fit_grid
from taintwatch_calibration.printing.printable import PrintedSheet
from taintwatch_calibration.printing.sheet import Sheet, cut_lines, footer, printable_area
from taintwatch_calibration.printing.sheet_metadata import SheetMetadata, sheet_id
from taintwatch_models.errors import UsageError

__all__ = ["floor_sheet"]

_CARD_MM = (60.0, 34.0)
_GREY = (150, 150, 150)


def floor_sheet(distances_m: Sequence[float], angles_deg: Sequence[float], page: Page) -> PrintedSheet:
    """Return a protractor for the object's foot, then a card for every place. Raises `UsageError`."""
    if not distances_m or not angles_deg:
        raise UsageError("Floor marks need at least one distance and one angle.")
    if min(distances_m) <= 0 or max(distances_m) > 100 or max(abs(angle) for angle in angles_deg) >= 90:
        raise UsageError("Distances go up to 100 m, and angles lie between -90 and 90 degrees.")
    name = sheet_id("floor", page, tuple(distances_m), tuple(angles_deg))
    sheet = Sheet(page, f"Taintwatch floor marks {name}")
    _protractor(sheet, angles_deg)
    footer(sheet, f"Taintwatch floor marks {name}: the cross under the object, the middle line straight ahead")
    boxes = fit_grid(printable_area(page), *_CARD_MM, 4.0)
    places = [(distance, angle) for distance in distances_m for angle in angles_deg]
    for index, (distance, angle) in enumerate(places):
        if index % len(boxes) == 0:
            sheet.next_page()
            footer(sheet, f"Taintwatch floor marks {name}: the card's cross under the camera")
        box = boxes[index % len(boxes)]
        cut_lines(sheet, box)
        x, y = box.left_mm + 10, box.top_mm + box.height_mm / 2
        _cross(sheet, x, y)
        sheet.text(f"{distance:g} m, {angle:g}°", x + 10, y - 2, height_mm=6.0)
        ahead, aside = distance * math.cos(math.radians(angle)), distance * math.sin(math.radians(angle))
        sheet.text(f"{100 * ahead:.0f} cm ahead,", x + 10, y + 5, height_mm=3.2)
        side = "right" if aside >= 0 else "left"
        sheet.text(f"{100 * abs(aside):.0f} cm {side} (facing it)", x + 10, y + 10, height_mm=3.2)
    info = SheetMetadata("floor", name, page.name, page.width_mm, page.height_mm)
    return PrintedSheet(sheet.pdf(), info, 1 + math.ceil(len(places) / len(boxes)))


def _protractor(sheet: Sheet, angles_deg: Sequence[float]) -> None:
    area = printable_area(sheet.page)
    x, y = area.left_mm + area.width_mm / 2, area.bottom_mm - 12
    _cross(sheet, x, y)
    reach = min(area.width_mm / 2 - 4, y - area.top_mm - 8)
    for angle in sorted({0.0, *angles_deg}):
        # To the right of who looks at the object, which is to the left of who lays this page before its foot.
        direction = -math.sin(math.radians(angle)), -math.cos(math.radians(angle))
        near, far = ((x + length * direction[0], y + length * direction[1]) for length in (12, reach))
        sheet.line(near, far, width_mm=0.4 if angle == 0 else 0.2)
        sheet.text(f"{angle:g}°", far[0], far[1] - 2, height_mm=4.0, centred=True)
    for radius in range(20, int(reach), 20):
        arc = [(x + radius * math.sin(step), y - radius * math.cos(step)) for step in _steps()]
        for start, end in itertools.pairwise(arc):
            sheet.line(start, end, width_mm=0.1, colour=_GREY)


def _steps() -> list[float]:
    return [math.radians(angle) for angle in range(-85, 86, 5)]


def _cross(sheet: Sheet, x_mm: float, y_mm: float) -> None:
    sheet.line((x_mm - 6, y_mm), (x_mm + 6, y_mm), width_mm=0.4)
    sheet.line((x_mm, y_mm - 6), (x_mm, y_mm + 6), width_mm=0.4)
