"""The whole story on one picture: each attack before, during and after, and the scores over time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from taintwatch.demo.annotated import Scenery, annotate
from taintwatch.demo.drawing import AMBER, GREEN, GREY, INK, PALE, RED, WHITE, canvas, text
from taintwatch.demo.observed import Seen
from taintwatch.demo.verdict import ActResult

__all__ = ["Panel", "Row", "contact_sheet"]

PANEL_W = 392
GAP = 12
STRIP_H = 164


@dataclass(frozen=True, slots=True, eq=False)
class Panel:
    """One moment."""

    caption: str
    seen: Seen
    truth: Scenery


@dataclass(frozen=True, slots=True, eq=False)
class Row:
    """One attack: its moments, and all of its frames for the strip below them."""

    title: str
    panels: Sequence[Panel]
    frames: Sequence[Seen]
    result: ActResult
    detector: str
    """Whose score the strip shows."""


def contact_sheet(title: str, subtitle: str, rows: Sequence[Row]) -> NDArray[np.uint8]:
    """Return the sheet, (height, width, 3) uint8 blue-green-red."""
    count = max(len(row.panels) for row in rows)
    width = GAP + count * (PANEL_W + GAP)
    head = canvas(78, width, WHITE)
    text(head, title, GAP, 34, 19, INK, bold=True)
    text(head, subtitle, GAP, 62, 12, (90, 90, 90))
    return np.vstack([head, *(_row(row, width) for row in rows)])


def _row(row: Row, width: int) -> NDArray[np.uint8]:
    head = canvas(34, width, PALE)
    text(head, row.title, GAP, 23, 13, INK)
    pictures = [_panel(panel) for panel in row.panels]
    strip = canvas(pictures[0].shape[0], width, WHITE)
    for column, picture in enumerate(pictures):
        left = GAP + column * (PANEL_W + GAP)
        strip[:, left : left + PANEL_W] = picture
    return np.vstack([head, strip, _strip(row, width), canvas(10, width, WHITE)])


def _panel(panel: Panel) -> NDArray[np.uint8]:
    large = annotate(panel.seen, panel.truth)
    height = round(large.shape[0] * PANEL_W / large.shape[1])
    small = cv2.resize(large, (PANEL_W, height), interpolation=cv2.INTER_AREA)
    caption = canvas(34, PANEL_W, WHITE)
    text(caption, panel.caption, 2, 24, 11.5, INK)
    return np.vstack([caption, np.asarray(small, np.uint8)])


def _strip(row: Row, width: int) -> NDArray[np.uint8]:
    """Draw the score over time, where the patch was there and where the alert stood."""
    strip = canvas(STRIP_H, width, WHITE)
    seen = [one for one in row.frames if row.detector in one.judgements]
    if len(seen) < 2:
        return strip
    first, last = seen[0].index, seen[-1].index
    left, right, top, bottom = GAP + 4, width - GAP - 4, 44, STRIP_H - 34
    scores = np.array([one.judgements[row.detector].score for one in seen])
    limit = seen[0].judgements[row.detector].threshold
    low, high = min(scores.min(), limit, 0.0), max(scores.max(), limit) * 1.08 + 1e-9

    def x(index: float) -> int:
        return round(left + (index - first) / (last - first) * (right - left))

    def y(score: float) -> int:
        return round(float(bottom - (min(score, high) - low) / (high - low) * (bottom - top)))

    result = row.result
    if result.entered is not None and result.left is not None:
        cv2.rectangle(strip, (x(result.entered), top), (x(result.left), bottom), (205, 240, 255), cv2.FILLED)
        text(strip, "the patch is in the picture", x(result.entered) + 6, bottom - 6, 10, (20, 120, 170))
    if result.raised is not None:
        end = last if result.cleared is None else result.cleared
        cv2.rectangle(strip, (x(result.raised), bottom + 5), (x(end), bottom + 19), RED, cv2.FILLED)
        text(strip, "alert", x(result.raised) + 6, bottom + 16, 9, WHITE)
    cv2.line(strip, (left, y(limit)), (right, y(limit)), GREY, 1, cv2.LINE_AA)
    text(strip, f"threshold {limit:.3g}", left, y(limit) - 5, 9, (110, 110, 110))
    points = np.array([[x(one.index), y(score)] for one, score in zip(seen, scores, strict=True)], np.int32)
    cv2.polylines(strip, [points.reshape(-1, 1, 2)], False, INK, 1, cv2.LINE_AA)
    for one, point in zip(seen, points, strict=True):
        colour = RED if one.judgements[row.detector].suspicious else GREEN
        cv2.circle(strip, (int(point[0]), int(point[1])), 2, colour, cv2.FILLED, cv2.LINE_AA)
    for panel in row.panels:  # where on the line the pictures above are from
        cv2.line(strip, (x(panel.seen.index), top - 6), (x(panel.seen.index), bottom), AMBER, 1, cv2.LINE_AA)
        text(strip, panel.caption[:1], x(panel.seen.index) - 4, top - 9, 10, (20, 120, 170))
    text(strip, f"score of '{row.detector}', frame by frame", left, 16, 10, (90, 90, 90))
    return strip
