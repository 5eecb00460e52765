"""A pair of glasses to cut out and fold: the front at true size for a wearer's eyes, two temples to glue on."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from taintwatch_calibration.faces.glasses_shape import GlassesShape
from taintwatch_calibration.printing.pages import Box, Page
from taintwatch_calibration.printing.printable import PrintedSheet
from taintwatch_calibration.printing.sheet import Sheet, footer, printable_area
from taintwatch_calibration.printing.sheet_metadata import SheetMetadata, sheet_id
from taintwatch_models.errors import UsageError

__all__ = ["glasses_sheet"]

_LEAST_IPD_MM, _MOST_IPD_MM = 45.0, 80.0  # of children and of the widest adults
_TEMPLE_MM = 130.0
_TAB_MM = 12.0
_GAP_MM = 10.0
_GREY = (120, 120, 120)


def glasses_sheet(
    picture: NDArray[np.uint8] | None, ipd_mm: float, page: Page, shape: GlassesShape | None = None
) -> PrintedSheet:
    """Return the sheet; `picture` (H, W, 3 or 4) RGB covers the frame's bounding box, None leaves it white.

    The box is that of `GlassesShape.mask`. Of a picture with transparent parts, as crafting writes it for a whole face,
    it is what the visible part spans. `ipd_mm` is the distance between the wearer's pupils. Raises `UsageError`.
    """
    if not _LEAST_IPD_MM <= ipd_mm <= _MOST_IPD_MM:
        raise UsageError(
            f"An interpupillary distance of {ipd_mm:g} mm is not a person's: give {_LEAST_IPD_MM:g} to "
            f"{_MOST_IPD_MM:g} mm (63 is common)."
        )
    shape = shape or GlassesShape()
    area = printable_area(page)
    width, height = 2 * shape.half_width * ipd_mm, 2 * shape.half_height * ipd_mm
    if width > area.width_mm:
        raise UsageError(f"Glasses {width:.0f} mm wide do not fit on {page.name}: check the interpupillary distance.")
    name = sheet_id("glasses", page, b"" if picture is None else picture.tobytes(), ipd_mm)
    sheet = Sheet(page, f"Taintwatch glasses {name}")
    box = Box(area.left_mm + (area.width_mm - width) / 2, area.top_mm + 6, width, height)
    _front(sheet, picture, box, shape, ipd_mm)
    _temples(sheet, box, shape.hinge_height * ipd_mm, area)
    footer(sheet, f"Taintwatch glasses {name}: for pupils {ipd_mm:g} mm apart")
    info = SheetMetadata("glasses", name, page.name, page.width_mm, page.height_mm, box, words=f"{ipd_mm:g} mm")
    return PrintedSheet(sheet.pdf(), info, 1)


def _front(sheet: Sheet, picture: NDArray[np.uint8] | None, box: Box, shape: GlassesShape, ipd_mm: float) -> None:
    middle = np.array([box.left_mm + box.width_mm / 2, box.top_mm + box.height_mm / 2])
    outline = shape.outline()
    polygons = [
        [(float(x), float(y)) for x, y in (polygon - (0, shape.drop)) * ipd_mm + middle]
        for polygon in (outline.outer, *outline.holes)
    ]
    if picture is not None:
        with sheet.within(polygons):
            sheet.image(_front_picture(picture), box)
    for polygon in polygons:
        sheet.outline(polygon, width_mm=0.15, colour=_GREY)
    reach = shape.hinge_reach * ipd_mm
    for x in (box.left_mm + reach, box.right_mm - reach):  # the hinges are folded back along these
        half = shape.hinge_height * ipd_mm / 2 + 3
        y = middle[1] - (0.08 + shape.drop) * ipd_mm
        sheet.line((x, y - half), (x, y + half), width_mm=0.15, colour=_GREY, dash_mm=(1.0, 1.0))
    for side in (-0.5, 0.5):  # where the pupils are: to check the size against the wearer
        x, y = middle[0] + side * ipd_mm, middle[1] - shape.drop * ipd_mm
        sheet.line((x - 2, y), (x + 2, y), width_mm=0.1, colour=_GREY)
        sheet.line((x, y - 2), (x, y + 2), width_mm=0.1, colour=_GREY)


def _front_picture(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return what covers the front, (H, W, 3): the visible part, its colours continued beyond its edge."""
    if picture.shape[2] == 3 or (picture[..., 3] > 0).all():
        return np.ascontiguousarray(picture[..., :3])
    visible = picture[..., 3] > 127
    if not visible.any():
        raise UsageError("The picture for the glasses is transparent everywhere: give one with a visible part.")
    rows, columns = np.flatnonzero(visible.any(axis=1)), np.flatnonzero(visible.any(axis=0))
    cut = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    # The outline is printed finer than the picture's pixels: white must not show between the two.
    hidden = np.where(visible[cut], 0, 255).astype(np.uint8)
    return np.asarray(cv2.inpaint(np.ascontiguousarray(picture[cut][..., :3]), hidden, 3, cv2.INPAINT_TELEA), np.uint8)


def _temples(sheet: Sheet, front: Box, hinge_mm: float, area: Box) -> None:
    """Draw two bars with a tab to glue behind the hinge and a hook for the ear."""
    length = min(_TEMPLE_MM, area.width_mm - _TAB_MM - 10)
    left = area.left_mm + (area.width_mm - length - _TAB_MM) / 2
    for index in range(2):
        top = front.bottom_mm + _GAP_MM + index * (hinge_mm + 24 + _GAP_MM)
        start, end = left, left + _TAB_MM + length
        points = [(start, top), (end - 14, top), (end, top + 22), (end - 6, top + 24), (end - 20, top + hinge_mm)]
        sheet.outline([*points, (start, top + hinge_mm)], width_mm=0.15, colour=_GREY)
        fold = start + _TAB_MM
        sheet.line((fold, top), (fold, top + hinge_mm), width_mm=0.15, colour=_GREY, dash_mm=(1.0, 1.0))
        sheet.text("glue", start + 2, top + hinge_mm / 2 + 1, height_mm=2.6, colour=_GREY)
        sheet.text("cut along the lines, fold along the dashes", fold + 6, top + hinge_mm / 2 + 1, height_mm=2.6,
                   colour=_GREY)  # fmt: skip
