"""A scored clip, and the file that holds all of a trial's."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from taintwatch_calibration.trial.clips import ClipMetadata
from taintwatch_calibration.trial.matrix import Cell
from taintwatch_models.errors import UsageError
from taintwatch_models.storage import write_atomically

__all__ = ["SCORES", "ScoredClip", "Trial", "clip_from_json", "read_trial", "write_trial"]

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
    """`markers`, `csv` or `plan`."""
    rejected: int
    """Frames that gave no prediction."""
    examples: list[tuple[float, str]]
    """(time, picture as a `data:` address)."""


@dataclass(frozen=True, slots=True)
class Trial:
    """A trial's clips and what they were scored with. JSON-ready."""

    clips: tuple[ScoredClip, ...]
    thresholds: Mapping[str, float]
    """By detector, in order; the first one votes."""
    settings: Mapping[str, Any]
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
    try:
        write_atomically(path, (json.dumps({"format": FORMAT, **asdict(trial)}) + "\n").encode())
    except OSError as error:
        raise UsageError(f"{path} cannot be written ({error.strerror or error}): choose another --out") from error


def read_trial(path: Path) -> Trial:
    """Read a trial from its file or the folder that holds it. Raises `UsageError`."""
    path = path / SCORES if path.is_dir() else path
    try:
        document: Any = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UsageError(f"{path}: no readable scores ({reason}); make them with `taintwatch trial score`") from None
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise UsageError(f"{path}: not a trial's scores ('{FORMAT}'); make them with `taintwatch trial score`")
    try:
        clips = tuple(clip_from_json(values) for values in document["clips"])
        return Trial(clips, document["thresholds"], document["settings"])
    except (KeyError, TypeError, ValueError) as error:
        raise UsageError(f"{path}: damaged scores ({error}); score the clips anew") from None


def clip_from_json(values: dict[str, Any]) -> ScoredClip:
    """Build a clip from `asdict`'s JSON. Raises `KeyError`, `TypeError`."""
    info = ClipMetadata(**values["info"])
    if info.cell is not None:
        info = replace(info, cell=Cell(**values["info"]["cell"]))
    examples = [(float(time_s), str(picture)) for time_s, picture in values["examples"]]
    return ScoredClip(**{**values, "info": info, "examples": examples})
