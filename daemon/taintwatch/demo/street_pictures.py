"""The street as pictures: frames with every sign that was found, and four of them on one sheet."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from taintwatch.demo.annotation import AMBER, GREEN, INK, RED, WHITE, canvas, dashed_box, text, text_width
from taintwatch.demo.contact_sheet import CONTACT_SHEET, encoded, write_file
from taintwatch.demo.street_scene import StreetScene
from taintwatch.demo.street_show import SeenSign, StreetFrame, StreetResult

__all__ = ["annotate_street", "write_street_pictures"]

_HEAD = 40


def annotate_street(frame: StreetFrame, scene: StreetScene) -> NDArray[np.uint8]:
    """Return the frame with every sign's box, what it is taken for, and its score as a share of the threshold."""
    image = frame.image()
    unit = image.shape[1] / 640
    for sign in frame.signs:
        _mark(image, sign, unit)
    box = scene.ground_truth(frame.index).box
    if box is not None:
        dashed_box(image, box, AMBER, max(1, round(2 * unit)))
    return image


def _mark(image: NDArray[np.uint8], sign: SeenSign, unit: float) -> None:
    suspicious = sign.score > sign.threshold
    colour = RED if suspicious or sign.raised else GREEN
    x, y, width, height = sign.box
    cv2.rectangle(image, (x, y), (x + width, y + height), colour, max(1, round((3 if sign.raised else 2) * unit)))
    lines = [sign.label_name, f"{sign.score:.3g} {'>' if suspicious else '<='} {sign.threshold:.3g}"]
    if sign.raised:
        lines.insert(0, "ALERT")
    tall, size = round(18 * unit), 10 * unit
    wide = max(text_width(line, size) for line in lines) + round(10 * unit)
    left = max(0, min(x, image.shape[1] - wide))
    top = min(y + height, image.shape[0] - tall * len(lines))
    cv2.rectangle(image, (left, top), (left + wide, top + tall * len(lines)), colour, cv2.FILLED)
    for row, line in enumerate(lines):
        text(image, line, left + round(5 * unit), top + tall * row + round(13 * unit), size, WHITE)


def write_street_pictures(out: Path, result: StreetResult, scene: StreetScene) -> tuple[Path, ...]:
    """Write the annotated moments and the sheet of them; return their paths, the sheet's first. Raises `UsageError`."""
    act = result.act
    if not result.frames or act.entered is None or act.left is None:
        return ()
    alert = ("no alert", (act.entered + act.left) // 2) if act.raised is None else ("the alert", act.raised)
    last = act.left + 10 if act.cleared is None else act.cleared
    moments = [("before", act.entered - 15), ("the patch is stuck on", act.entered), alert, ("cleared", last)]
    panels, written = [], []
    for number, (words, index) in enumerate(moments, 1):
        frame = min(result.frames, key=lambda each: abs(each.index - index))
        picture = annotate_street(frame, scene)
        name = f"street-{number}-frame-{frame.index:04}.jpg"
        written.append(write_file(out / "frames" / name, encoded(picture, ".jpg")))
        head = canvas(_HEAD, picture.shape[1], WHITE)
        text(head, f"{number} {words}, frame {frame.index}", 8, 27, 14, INK)
        panels.append(np.vstack([head, picture]))
    sheet = np.vstack([np.hstack(panels[:2]), np.hstack(panels[2:])])
    return (write_file(out / CONTACT_SHEET, encoded(sheet, ".png")), *written)
