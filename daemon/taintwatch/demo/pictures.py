"""What the demo leaves behind: annotated frames, the contact sheet, and the summary as JSON."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from taintwatch.demo.annotated import annotate
from taintwatch.demo.contact_sheet import Panel, Row, contact_sheet
from taintwatch.demo.director import Director
from taintwatch.demo.show import DemoResult
from taintwatch.demo.verdict import ActResult, Chapter
from taintwatch_models.errors import UsageError
from taintwatch_models.storage import write_atomically

__all__ = ["CONTACT_SHEET", "SUMMARY", "write_pictures", "write_summary"]

CONTACT_SHEET = "contact-sheet.png"
SUMMARY = "summary.json"
DETECTOR = "tight"
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
        written.append(_write(out / CONTACT_SHEET, _encoded(sheet, ".png")))
    for row in rows:
        for panel in row.panels:
            name = f"{row.result.attack}-{panel.caption[0]}-frame-{panel.seen.index:04}.jpg"
            picture = annotate(panel.seen, panel.truth)
            written.append(_write(out / "frames" / name, _encoded(picture, ".jpg")))
    return tuple(written)


def write_summary(out: Path, summary: dict[str, object]) -> Path:
    """Write the summary; return its path. Raises `UsageError`."""
    return _write(out / SUMMARY, (json.dumps(summary, indent=2) + "\n").encode())


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


def _encoded(picture: NDArray[np.uint8], suffix: str) -> bytes:
    settings = [cv2.IMWRITE_PNG_COMPRESSION, 9] if suffix == ".png" else [cv2.IMWRITE_JPEG_QUALITY, 90]
    _, buffer = cv2.imencode(suffix, picture, settings)
    return bytes(buffer.tobytes())


def _write(path: Path, content: bytes) -> Path:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, content)
    except OSError as error:
        raise UsageError(f"{path} cannot be written ({error.strerror}): choose another --out") from error
    return path
