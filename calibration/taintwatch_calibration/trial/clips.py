"""What is known of a clip: the JSON beside its video, and a CSV of poses where no markers are in the picture."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from taintwatch.sources.images import files_below
from taintwatch.sources.video import VIDEO_SUFFIXES
from taintwatch_calibration.camera_model.pinhole_camera import CameraPose
from taintwatch_calibration.json_file import read_json_file, write_json_file
from taintwatch_calibration.printing.sheet_metadata import CraftedAttack
from taintwatch_calibration.trial.matrix import Cell
from taintwatch_models.errors import UsageError

__all__ = [
    "CONDITIONS",
    "ClipMetadata",
    "Condition",
    "PoseRow",
    "find_videos",
    "pose_during",
    "read_clip",
    "read_poses",
    "write_clip_metadata",
]

FORMAT = "taintwatch-clip/1"
Condition = Literal["attack", "control", "clean"]
CONDITIONS: tuple[Condition, ...] = get_args(Condition)
COLUMNS = ("from_s", "to_s", "distance_m", "angle_deg")


@dataclass(frozen=True, slots=True)
class ClipMetadata:
    """One clip of a trial. JSON-ready."""

    condition: Condition
    """`attack`; `control`: a benign picture in the attack's place; `clean`: the object alone."""
    fov_deg: float
    """Horizontal field of view of the camera."""
    truth: str | int | None = None
    """The label (its name or number) that the object has: what else is said of it is a success of the attack."""
    target: str | int | None = None
    light: str = "office"
    cell: Cell | None = None
    """Where it was meant to be recorded."""
    attack_from_s: float = 0.0
    attack_to_s: float | None = None
    """When the attack is in the picture; None: to the end."""
    markers_mm: dict[str, list[list[float]]] | None = None
    """Corners of each marker by its id, (4, 2) from the object's middle: from them the pose is found."""
    source: str = ""
    """How it was made, for people."""
    attack: CraftedAttack | None = None
    """Which attack is shown, where its sheet says so."""
    made_of: str = ""
    """Digest of everything that a simulated clip follows from: the same is not made again."""

    def attacked(self, time_s: float) -> bool:
        """Whether the attack is in the picture at this time."""
        until = float("inf") if self.attack_to_s is None else self.attack_to_s
        return self.condition == "attack" and self.attack_from_s - 1e-6 <= time_s < until


@dataclass(frozen=True, slots=True)
class PoseRow:
    """A row of a CSV of poses."""

    from_s: float
    to_s: float
    pose: CameraPose
    video: str | None = None
    """The file's name it is about; None: any."""


def write_clip_metadata(video: Path, info: ClipMetadata) -> None:
    """Write NAME.json beside NAME.mp4, whole or not at all. Raises `UsageError`."""
    write_json_file(video.with_suffix(".json"), info, FORMAT)


def read_clip(video: Path) -> ClipMetadata | None:
    """Read the JSON beside a video; None where there is none. Raises `UsageError` for a damaged one."""
    path = video.with_suffix(".json")
    if not path.is_file():
        return None
    return read_json_file(
        path, ClipMetadata, FORMAT, what="description of a clip", advice="remove it, or record the clip anew"
    )


def read_poses(path: Path) -> tuple[PoseRow, ...]:
    """Read a CSV with the columns from_s, to_s, distance_m, angle_deg and, if wanted, video. Raises `UsageError`."""
    try:
        with path.open(newline="", encoding="utf-8") as stream:
            rows = list(csv.DictReader(stream))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"{path}: cannot be read as CSV ({error})") from None
    if not rows:
        raise UsageError(f"{path}: holds no pose; write lines of {', '.join(COLUMNS)} below such a heading")
    return tuple(_row(path, number, row) for number, row in enumerate(rows, 2))


def pose_during(rows: tuple[PoseRow, ...], video: str, time_s: float) -> CameraPose | None:
    """Return the pose that a CSV gives for this moment of a video."""
    for row in rows:
        if row.video in (None, "", video) and row.from_s - 1e-6 <= time_s < row.to_s:
            return row.pose
    return None


def find_videos(paths: tuple[Path, ...]) -> tuple[Path, ...]:
    """Return the videos named and those below the folders named. Raises `UsageError` where there are none."""
    found: list[Path] = []
    for path in paths:
        if path.is_dir():
            below = files_below(path, VIDEO_SUFFIXES)
            if not below:
                raise UsageError(f"{path} holds no video; record some with `taintwatch trial record`")
            found += below
        elif path.is_file():
            found.append(path)
        else:
            raise UsageError(f"{path} does not exist: give videos, or folders with videos")
    return tuple(dict.fromkeys(found))


def _row(path: Path, number: int, row: dict[str, str]) -> PoseRow:
    missing = [column for column in COLUMNS if not row.get(column)]
    if missing:
        raise UsageError(f"{path}, line {number}: {missing[0]} is missing; the columns are {', '.join(COLUMNS)}")
    try:
        start, end, distance, angle = (float(row[column]) for column in COLUMNS)
    except ValueError:
        raise UsageError(f"{path}, line {number}: {', '.join(COLUMNS)} must be numbers") from None
    if not (start < end and 0 < distance <= 1000 and abs(angle) < 90):
        raise UsageError(f"{path}, line {number}: from_s must be before to_s, distance_m above 0, angle_deg below 90")
    return PoseRow(start, end, CameraPose(distance, angle), row.get("video"))
