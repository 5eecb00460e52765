"""The bench's reports: folders with a `report.html`, listed and opened, and nothing else of the disk."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path

__all__ = ["POLICY", "Trial", "Trials"]

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._ -]{0,99}")
REPORT = "report.html"
SUFFIXES = frozenset(
    {".css", ".csv", ".html", ".jpeg", ".jpg", ".json", ".mp4", ".pdf", ".png", ".svg", ".txt", ".webm"}
)
LONGEST_JSON = 4_000_000
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
        """Return the reports, newest first; empty where there is no folder."""
        if self._root is None or not self._root.is_dir():
            return []
        reports = [folder / REPORT for folder in self._root.iterdir() if NAME.fullmatch(folder.name)]
        found = [_trial(report) for report in reports if report.is_file() and self._is_inside(report)]
        return sorted(found, key=lambda trial: (-trial.changed_ms, trial.name))

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


def _trial(report: Path) -> Trial:
    return Trial(report.parent.name, _title(report), report.stat().st_mtime_ns // 1_000_000)


def _title(report: Path) -> str:
    """Return the title that the JSON beside a report gives; else its folder's name."""
    beside = report.with_suffix(".json")
    try:
        told = json.loads(beside.read_text()) if beside.stat().st_size <= LONGEST_JSON else None
    except (OSError, ValueError):
        told = None
    title = told.get("title") if isinstance(told, dict) else None
    return title[:200] if isinstance(title, str) and title else report.parent.name
