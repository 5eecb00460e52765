"""The colour chart: known colours between markers, so that one photo tells what printer and camera do to them."""

from __future__ import annotations

from taintwatch.sources.colour_profile import chart_colours
from taintwatch_calibration.printing.pages import Box, Page
from taintwatch_calibration.printing.pose_board import draw_marker
from taintwatch_calibration.printing.printable import PrintedSheet
from taintwatch_calibration.printing.sheet import Sheet, footer, printable_area
from taintwatch_calibration.printing.sheet_metadata import SheetMetadata, sheet_id

__all__ = ["CHART_MARKERS", "COLUMNS", "PATCH_MM", "chart_boxes", "chart_marker_boxes", "chart_sheet"]

COLUMNS = 12
PATCH_MM = 14.0
CHART_MARKERS = (246, 247, 248, 249)
"""Top left, top right, bottom right, bottom left: beyond the ids of the first board, at the end of the second."""
_MARKER_MM = 20.0
_GAP_MM = 4.0


def chart_boxes() -> tuple[Box, ...]:
    """Return each colour's box in millimetres from the chart's top left corner, in the order of `chart_colours`."""
    return tuple(
        Box(index % COLUMNS * PATCH_MM, index // COLUMNS * PATCH_MM, PATCH_MM, PATCH_MM)
        for index in range(len(chart_colours()))
    )


def chart_marker_boxes() -> dict[int, Box]:
    """Return each marker's box in the same coordinates: above and below the colours."""
    side, below = COLUMNS * PATCH_MM, -(-len(chart_colours()) // COLUMNS) * PATCH_MM + _GAP_MM
    corners = ((0.0, -_GAP_MM - _MARKER_MM), (side - _MARKER_MM, -_GAP_MM - _MARKER_MM),
               (side - _MARKER_MM, below), (0.0, below))  # fmt: skip
    return {marker: Box(x, y, _MARKER_MM, _MARKER_MM) for marker, (x, y) in zip(CHART_MARKERS, corners, strict=True)}


def chart_sheet(page: Page) -> PrintedSheet:
    """Return the chart on one page."""
    area = printable_area(page)
    markers = chart_marker_boxes()
    left = area.left_mm + (area.width_mm - COLUMNS * PATCH_MM) / 2
    top = area.top_mm - min(box.top_mm for box in markers.values())
    name = sheet_id("chart", page)
    sheet = Sheet(page, f"Taintwatch colour chart {name}")
    for colour, box in zip(chart_colours(), chart_boxes(), strict=True):
        corners = [(box.left_mm, box.top_mm), (box.right_mm, box.top_mm), (box.right_mm, box.bottom_mm),
                   (box.left_mm, box.bottom_mm)]  # fmt: skip
        red, green, blue = (round(channel * 255) for channel in colour)
        sheet.polygon((red, green, blue), [(left + x, top + y) for x, y in corners])
    for marker, box in markers.items():
        draw_marker(sheet, marker, Box(left + box.left_mm, top + box.top_mm, box.width_mm, box.height_mm))
    footer(sheet, f"Taintwatch colour chart {name}: photograph it flat, evenly lit, without flash")
    info = SheetMetadata("chart", name, page.name, page.width_mm, page.height_mm)
    return PrintedSheet(sheet.pdf(), info, 1)
