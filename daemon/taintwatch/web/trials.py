"""The bench's reports: folders with a `report.html`, listed and opened, and nothing else of the disk."""

from __future__ import annotations

import contextlib
import re
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from taintwatch_models.storage import read_json

__all__ = ["POLICY", "Trial", "Trials"]

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._ -]{0,99}")
REPORT = "report.html"
SUFFIXES = frozenset(
    {".css", ".csv", ".html", ".jpeg", ".jpg", ".json", ".mp4", ".pdf", ".png", ".svg", ".txt", ".webm"}
)
LARGEST_JSON = 4_000_000  # bytes
MOST = 1000
# A report brings its own styles, but no script and nothing from elsewhere; it cannot act as the page.
POLICY = (
    "sandbox; default-src 'none'; img-src 'self' data:; style-src 'self' 'unsafe-inline'; media-src 'self'; "
    "frame-ancestors 'none'"
)


@dataclass(frozen=True, slots=True)
class Trial:
    """One report. JSON-ready."""

    name: str
    title: str
    changed_ms: int


class Trials:
    """Report folders directly below one folder. Each call looks anew."""

    def __init__(self, root: Path | None) -> None:
        self._root = None if root is None else root.resolve()

    def all(self) -> list[Trial]:
        """Return the reports, newest first, of at most `MOST` folders; empty where there is no folder.

        Each folder is looked at by itself: one that cannot be read is left out, and hides no other.
        """
        if self._root is None:
            return []
        try:
            folders = list(islice(self._root.iterdir(), MOST))
        except OSError:
            return []
        reports = (self._report(folder) for folder in folders if NAME.fullmatch(folder.name))
        return sorted((each for each in reports if each is not None), key=lambda each: (-each.changed_ms, each.name))

    def _report(self, folder: Path) -> Trial | None:
        report = folder / REPORT
        try:
            if not report.is_file() or not self._is_inside(report):
                return None
            return Trial(folder.name, self._title(report), report.stat().st_mtime_ns // 1_000_000)
        except OSError:
            return None

    def _title(self, report: Path) -> str:
        """Return the title that the JSON beside a report gives; else its folder's name."""
        beside = report.with_suffix(".json")
        document = None
        with contextlib.suppress(OSError, ValueError):
            document = read_json(beside, LARGEST_JSON) if self._is_inside(beside) else None
        title = document.get("title") if isinstance(document, dict) else None
        return title[:200] if isinstance(title, str) and title else report.parent.name

    def file(self, name: str, path: str) -> Path | None:
        """Return a file of a report; None where there is none, it lies elsewhere, or is of another kind."""
        if self._root is None or not NAME.fullmatch(name) or "\0" in path:
            return None
        file = self._root / name / (path or REPORT)
        if file.suffix.lower() not in SUFFIXES or not file.is_file():
            return None
        resolved = file.resolve()
        return resolved if resolved.is_relative_to((self._root / name).resolve()) and self._is_inside(file) else None

    def _is_inside(self, path: Path) -> bool:
        return self._root is not None and path.resolve().is_relative_to(self._root)
