"""The demo's output: annotated frames, the whole story on one contact sheet, and the summary as JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from taintwatch.demo.annotation import AMBER, GREEN, GREY, INK, PALE, RED, WHITE, GroundTruth, annotate, canvas, text
from taintwatch.demo.director import Director
from taintwatch.demo.frame_record import FrameRecord
from taintwatch.demo.show import DemoResult
from taintwatch.demo.verdict import ActResult, Chapter
from taintwatch_models.detection.detector import COMBINED
from taintwatch_models.errors import UsageError
from taintwatch_models.storage import write_atomically

__all__ = [
    "CONTACT_SHEET",
    "SUMMARY",
    "Panel",
    "Row",
    "contact_sheet",
    "encoded",
    "write_file",
    "write_pictures",
    "write_summary",
]

PANEL_W = 392
GAP = 12
STRIP_H = 164


@dataclass(frozen=True, slots=True, eq=False)
class Panel:
    """One moment."""

    caption: str
    seen: FrameRecord
    truth: GroundTruth


@dataclass(frozen=True, slots=True, eq=False)
class Row:
    """One attack: its moments, and all of its frames for the strip below them."""

    title: str
    panels: Sequence[Panel]
    frames: Sequence[FrameRecord]
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
    return np.vstack([head, *(_row_picture(row, width) for row in rows)])


def _row_picture(row: Row, width: int) -> NDArray[np.uint8]:
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
    seen = [one for one in row.frames if row.detector in one.readings]
    if len(seen) < 2:
        return strip
    first, last = seen[0].index, seen[-1].index
    left, right, top, bottom = GAP + 4, width - GAP - 4, 44, STRIP_H - 34
    scores = np.array([one.readings[row.detector].score for one in seen])
    limit = seen[0].readings[row.detector].threshold
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
        colour = RED if one.readings[row.detector].suspicious else GREEN
        cv2.circle(strip, (int(point[0]), int(point[1])), 2, colour, cv2.FILLED, cv2.LINE_AA)
    for panel in row.panels:  # where on the line the pictures above are from
        cv2.line(strip, (x(panel.seen.index), top - 6), (x(panel.seen.index), bottom), AMBER, 1, cv2.LINE_AA)
        text(strip, panel.caption[:1], x(panel.seen.index) - 4, top - 9, 10, (20, 120, 170))
    text(strip, f"score of '{row.detector}', frame by frame", left, 16, 10, (90, 90, 90))
    return strip


CONTACT_SHEET = "contact-sheet.png"
SUMMARY = "summary.json"
DETECTOR = COMBINED
SUBTITLE = (
    "Dashed: where the patch really is. Red outline: what made the classifier decide, as the detector found it. "
    "Bars: score against threshold."
)


def write_pictures(out: Path, result: DemoResult, director: Director) -> tuple[Path, ...]:
    """Write the annotated frames and the contact sheet; return their paths, the sheet's first.

    Raises `UsageError` where the folder cannot be written.
    """
    rows = [
        _row(chapter, act, result, director)
        for chapter, act in zip(result.chapters, result.acts, strict=True)
        if len(result.reel) and len(chapter.frames)
    ]
    written: list[Path] = []
    if rows:
        title = "Taintwatch demo: " + (
            "not as it should be" if result.problems else "attacks are seen, and nothing else"
        )
        sheet = contact_sheet(title, SUBTITLE, rows)
        written.append(write_file(out / CONTACT_SHEET, encoded(sheet, ".png")))
    for row in rows:
        for panel in row.panels:
            name = f"{row.result.attack}-{panel.caption[0]}-frame-{panel.seen.index:04}.jpg"
            picture = annotate(panel.seen, panel.truth)
            written.append(write_file(out / "frames" / name, encoded(picture, ".jpg")))
    return tuple(written)


def write_summary(out: Path, summary: dict[str, object]) -> Path:
    """Write the summary; return its path. Raises `UsageError`."""
    return write_file(out / SUMMARY, (json.dumps(summary, indent=2) + "\n").encode())


def _row(chapter: Chapter, act: ActResult, result: DemoResult, director: Director) -> Row:
    panels = []
    for number, (words, index) in enumerate(_moments(chapter, act), 1):
        seen = result.reel.nearest(index)
        panels.append(Panel(f"{number} {words}", seen, director.truth(seen.index)))
    frames = [seen for seen in result.reel.all() if seen.index in chapter.frames]
    return Row(f"{director.words(chapter)}: {_outcome(act)}", panels, frames, act, DETECTOR)


def _moments(chapter: Chapter, act: ActResult) -> list[tuple[str, int]]:
    """Return what is worth a picture: its caption and the frame."""
    if act.entered is None or act.left is None:
        return [("no patch came", chapter.frames.start + len(chapter.frames) // 2)]
    moments = [("before", max(chapter.frames.start, act.entered - 15))]
    moments.append(("the patch enters", act.entered))
    if act.raised is not None:
        moments.append((f"alert, {act.delay} frames later", act.raised))
    else:
        moments.append(("no alert", (act.entered + act.left) // 2))
    if act.cleared is not None:
        moments.append((f"cleared, {act.cleared - act.left} frames after", act.cleared))
    else:
        moments.append(("the patch is gone", min(chapter.frames.stop - 1, act.left + 10)))
    return moments


def _outcome(act: ActResult) -> str:
    if act.problems:
        return "; ".join(act.problems)
    return f"fools the classifier in {act.fooled:.0%} of its frames; alert after {act.delay} frames"


def encoded(picture: NDArray[np.uint8], suffix: str) -> bytes:
    """Return a picture as a file, `.png` or `.jpg`."""
    settings = [cv2.IMWRITE_PNG_COMPRESSION, 9] if suffix == ".png" else [cv2.IMWRITE_JPEG_QUALITY, 90]
    _, buffer = cv2.imencode(suffix, picture, settings)
    return bytes(buffer.tobytes())


def write_file(path: Path, content: bytes) -> Path:
    """Write a file whole, and the folders above it; return its path. Raises `UsageError`."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, content)
    except OSError as error:
        raise UsageError(f"{path} cannot be written ({error.strerror}): choose another --out") from error
    return path
