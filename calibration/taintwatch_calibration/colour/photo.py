"""The chart in a photo: found by its four markers, its colours read."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from taintwatch_calibration.printing.chart import CHART_MARKERS, PATCH_MM, chart_boxes, chart_marker_boxes
from taintwatch_calibration.printing.pose_board import marker_dictionary
from taintwatch_models.errors import BadFrame, UsageError
from taintwatch_models.image_file import read_image

__all__ = ["chart_photo", "chart_place", "read_chart"]

_INNER = 0.5  # share of a patch's side that is read: its edge bleeds into the next
_PX_A_PATCH = 24
_LEAST_PX = 6.0


def chart_photo(path: Path) -> NDArray[np.uint8]:
    """Read the photo. Raises `UsageError`."""
    try:
        return read_image(path)
    except BadFrame as error:
        raise UsageError(f"{error}") from None


def chart_place(photo: NDArray[np.uint8], name: str) -> NDArray[np.float64]:
    """Return the (3, 3) map from chart millimetres to the photo's pixels. Raises `UsageError` without the chart."""
    parameters = cv2.aruco.DetectorParameters()
    parameters.cornerRefinementMethod = cv2.aruco.CORNER_REFINE_SUBPIX
    found, ids, _ = cv2.aruco.ArucoDetector(marker_dictionary(), parameters).detectMarkers(photo)
    seen = {} if ids is None else dict(zip(np.ravel(ids).tolist(), found, strict=True))
    missing = [marker for marker in CHART_MARKERS if marker not in seen]
    if missing:
        raise UsageError(
            f"{name}: the colour chart is not in this photo ({4 - len(missing)} of its 4 corner markers are seen); "
            "photograph the whole sheet of `taintwatch print chart`, sharp and flat"
        )
    chart, pixels = [], []
    for marker, box in chart_marker_boxes().items():
        chart += [(box.left_mm, box.top_mm), (box.right_mm, box.top_mm), (box.right_mm, box.bottom_mm),
                  (box.left_mm, box.bottom_mm)]  # fmt: skip
        pixels += np.reshape(seen[marker], (4, 2)).tolist()
    H, _ = cv2.findHomography(np.array(chart), np.array(pixels))
    return np.asarray(H, np.float64)


def read_chart(photo: NDArray[np.uint8], name: str) -> NDArray[np.float64]:
    """Return the colours as photographed, (colours, 3), red-green-blue in [0, 1], in the order of `chart_colours`.

    Raises `UsageError`: no chart, too small a chart, or one that is over- or underexposed.
    """
    H = chart_place(photo, name)
    boxes = chart_boxes()
    corners = np.array([[boxes[0].left_mm, boxes[0].top_mm], [boxes[-1].right_mm, boxes[-1].bottom_mm]])
    ends = cv2.perspectiveTransform(corners[None], H)[0]
    across = float(np.linalg.norm(ends[1] - ends[0]) / np.linalg.norm(corners[1] - corners[0]) * PATCH_MM)
    if across < _LEAST_PX:
        raise UsageError(f"{name}: the chart's patches are only {across:.0f} pixels wide in this photo; go nearer")
    scale = _PX_A_PATCH / PATCH_MM
    size = (round(corners[1][0] * scale), round(corners[1][1] * scale))
    flat = cv2.warpPerspective(photo, np.linalg.inv(H @ np.diag([1 / scale, 1 / scale, 1.0])), size)
    inset = (1 - _INNER) / 2 * PATCH_MM
    colours = []
    for box in boxes:
        rows = slice(round((box.top_mm + inset) * scale), round((box.bottom_mm - inset) * scale))
        columns = slice(round((box.left_mm + inset) * scale), round((box.right_mm - inset) * scale))
        colours.append(np.median(flat[rows, columns].reshape(-1, 3), axis=0)[::-1] / 255.0)
    found = np.array(colours)
    _check_exposure(found, name)
    return found


def _check_exposure(colours: NDArray[np.float64], name: str) -> None:
    greys = colours[-19:].mean(axis=1)
    if np.ptp(greys) < 0.15:
        raise UsageError(f"{name}: white and black of the chart look nearly alike; give it more light, less glare")
    if greys[-4] >= 0.995:
        raise UsageError(f"{name}: the chart's light greys are burnt out; take the photo with less exposure")
