"""The bench's reports: folders with a `report.html`, listed and opened, and nothing else of the disk."""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, Field
from pydantic.dataclasses import dataclass as checked

from taintwatch_models.storage import read_json

__all__ = ["POLICY", "Share", "Trial", "Trials"]

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._ -]{0,99}")
REPORT = "report.html"
SUFFIXES = frozenset(
    {".css", ".csv", ".html", ".jpeg", ".jpg", ".json", ".mp4", ".pdf", ".png", ".svg", ".txt", ".webm"}
)
LARGEST_JSON = 4_000_000  # bytes
MOST = 1000
MOST_ATTACKS = 5
LONGEST = 200  # characters
# A report brings its own styles, but no script and nothing from elsewhere; it cannot act as the page.
POLICY = (
    "sandbox; default-src 'none'; img-src 'self' data:; style-src 'self' 'unsafe-inline'; media-src 'self'; "
    "frame-ancestors 'none'"
)


Count = Annotated[int, Field(ge=0)]
Part = Annotated[float, Field(ge=0, le=1)]


@checked(frozen=True, slots=True)
class Share:
    """A rate as `report.json` gives it, with its 95% interval."""

    count: Count
    total: Count
    share: Part | None
    low: Part
    high: Part


class _Attack(BaseModel):
    kind: str
    target: str | int | None = None
    size: str = ""


class _Figures(BaseModel):
    detected: dict[str, Share]
    false_positives: dict[str, Share]


class _Report(BaseModel):
    """What of a `report.json` (`taintwatch trial report`) is shown in the list."""

    title: str = ""
    attacks: list[_Attack] = []
    figures: _Figures | None = None


@dataclass(frozen=True, slots=True)
class Trial:
    """One report. JSON-ready."""

    name: str
    title: str
    changed_ms: int
    attacks: tuple[str, ...] = ()
    """Each crafted attack that was recorded, in words."""
    detector: str | None = None
    """The one that votes, which the rates are of."""
    detected: Share | None = None
    """Of frames in which an attack succeeded, those that are suspicious."""
    false_positives: Share | None = None
    """Of benign frames."""


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
            return _trial(folder.name, self._beside(report), report.stat().st_mtime_ns // 1_000_000)
        except OSError:
            return None

    def _beside(self, report: Path) -> _Report:
        """Return the JSON beside a report; an empty one where there is none, or it is something else."""
        beside = report.with_suffix(".json")
        if not self._is_inside(beside):
            return _Report()
        try:
            return _Report.model_validate(read_json(beside, LARGEST_JSON))
        except (OSError, ValueError):  # pydantic's own is a ValueError
            return _Report()

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


def _trial(name: str, report: _Report, changed_ms: int) -> Trial:
    """Put together what the list shows. The first detector of a report is the one that votes."""
    found = report.figures
    voting = None if found is None else next(iter(found.detected), None)
    return Trial(
        name,
        report.title[:LONGEST] or name,
        changed_ms,
        tuple(_attack(attack) for attack in report.attacks[:MOST_ATTACKS]),
        None if voting is None else voting[:LONGEST],
        None if found is None or voting is None else found.detected[voting],
        None if found is None or voting is None else found.false_positives.get(voting),
    )


def _attack(attack: _Attack) -> str:
    target = "" if attack.target is None else f" for {attack.target}"
    size = f", {attack.size}" if attack.size else ""
    return f"{attack.kind}{target}{size}"[:LONGEST]
