"""A scored clip, and the file that holds all of a trial's."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from taintwatch_calibration.json_file import read_json_file, write_json_file
from taintwatch_calibration.trial.clips import ClipMetadata
from taintwatch_calibration.trial.matrix import Cell

__all__ = ["SCORES", "ScoredClip", "Trial", "read_trial", "write_trial"]

FORMAT = "taintwatch-trial/1"
SCORES = "scores.json"


@dataclass(frozen=True, slots=True)
class ScoredClip:
    """One clip, frame by frame; every list has one entry for each frame that was classified. JSON-ready."""

    video: str
    sha256: str
    info: ClipMetadata
    time_s: list[float]
    attacked: list[bool]
    distance_m: list[float | None]
    angle_deg: list[float | None]
    labels: list[str]
    right: list[bool | None]
    """Whether the label is the object's; None where the truth is not known."""
    hit: list[bool | None]
    """Whether it is the one that the attack wants; None where it wants any wrong one."""
    scores: dict[str, list[float]]
    """By detector."""
    raised: list[bool]
    """The vote, of the first detector."""
    poses_from: str
    """`markers`, `csv`, `plan`, `truth` (of a simulated clip whose markers are in no picture) or `none`."""
    rejected: int
    """Frames that gave no prediction."""
    examples: list[tuple[float, str]]
    """(time, picture as a `data:` address)."""


@dataclass(frozen=True, slots=True)
class Trial:
    """A trial's clips and what they were scored with. JSON-ready."""

    clips: tuple[ScoredClip, ...]
    thresholds: dict[str, float]
    """By detector, in order; the first one votes."""
    settings: dict[str, Any]
    """Model, hashes, vote, machine: what the figures hang on."""

    @property
    def detectors(self) -> tuple[str, ...]:
        """Their names; the first one votes."""
        return tuple(self.thresholds)

    @property
    def cells(self) -> tuple[Cell, ...]:
        """Every planned cell, in order."""
        return tuple(sorted({clip.info.cell for clip in self.clips if clip.info.cell is not None}))


def write_trial(trial: Trial, path: Path) -> None:
    """Write it whole or not at all. Raises `UsageError`."""
    write_json_file(path, trial, FORMAT, indent=None)


def read_trial(path: Path) -> Trial:
    """Read a trial from its file or the folder that holds it. Raises `UsageError`."""
    path = path / SCORES if path.is_dir() else path
    return read_json_file(
        path, Trial, FORMAT, what="file of a trial's scores", advice="make it with `taintwatch trial score`"
    )
