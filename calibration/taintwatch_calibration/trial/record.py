"""Guided recording: says where to stand next, sees by the markers when one does, and records."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import click
from rich.console import Console
from rich.live import Live
from rich.text import Text

from taintwatch.sources.factory import open_source
from taintwatch.sources.source import Grab, Source, grabs_of
from taintwatch_calibration.camera_model.pinhole_camera import CameraPose
from taintwatch_calibration.camera_model.video_recorder import recording
from taintwatch_calibration.printing.sheet_metadata import read_sheet
from taintwatch_calibration.trial.clips import CONDITIONS, ClipMetadata, read_clip, write_clip_metadata
from taintwatch_calibration.trial.markers import MarkerFinder
from taintwatch_calibration.trial.matrix import Cell, Matrix, numbers
from taintwatch_models.errors import SourceError, UsageError

__all__ = ["Progress", "RecordedMatrix", "RecordingLimits", "advice", "record", "record_matrix"]

CLOSE = 0.1
"""Largest error of the distance, as a share of it."""
CLOSE_DEG = 5.0


@dataclass(frozen=True, slots=True)
class RecordingLimits:
    """How long is recorded and waited, in seconds."""

    clip_s: float = 3.0
    settle_s: float = 0.5
    """One must have stood right for so long before it is recorded."""
    no_markers_s: float = 120.0
    """Without a marker for so long, it is given up."""


@dataclass(frozen=True, slots=True)
class Progress:
    """What one who records needs to know, after each picture."""

    cell: Cell
    number: int
    total: int
    pose: CameraPose | None
    """None: too few markers are seen."""
    recorded_s: float | None
    """None while one does not stand right."""


@dataclass(frozen=True, slots=True)
class RecordedMatrix:
    """What became of the matrix."""

    videos: tuple[Path, ...]
    """Recorded now."""
    kept: int
    """Recorded before."""
    missing: tuple[Cell, ...]
    """Not recorded, because the source ended."""


def advice(cell: Cell, pose: CameraPose | None) -> str:
    """Return what to do to get to the cell, in a few words; `hold still` where one is there."""
    if pose is None:
        return "show the markers: too few are seen"
    words = []
    off = cell.distance_m - pose.distance_m
    if abs(off) > CLOSE * cell.distance_m:
        words.append(f"{'back' if off > 0 else 'come'} {100 * abs(off):.0f} cm {'off' if off > 0 else 'closer'}")
    turn = cell.angle_deg - pose.angle_deg
    if abs(turn) > CLOSE_DEG:
        words.append(f"move {abs(turn):.0f} degrees to the {'right' if turn > 0 else 'left'}")
    return ", ".join(words) or "hold still"


def record_matrix(
    source: Source, cells: Sequence[Cell], clip: ClipMetadata, out: Path, limits: RecordingLimits, *,
    tell: Callable[[Progress], None] = lambda progress: None,
    clock: Callable[[], float] = time.monotonic,
) -> RecordedMatrix:  # fmt: skip
    """Record one clip for each cell into `out`; cells that are there already are passed over.

    `clip` says what is recorded (its cell is filled in). Pictures' times are those of the source, else of `clock`.
    Raises `UsageError` where no marker is ever seen, `SourceError`.
    """
    if clip.markers_mm is None:
        raise UsageError(
            "guided recording needs a sheet with markers; give one of `taintwatch print board` with --sheet"
        )
    wanted = [(n, cell, _video(out, clip, cell)) for n, cell in enumerate(cells, 1)]
    open_cells = [(n, cell, video) for n, cell, video in wanted if not _is_there(video)]
    kept = len(wanted) - len(open_cells)
    out.mkdir(parents=True, exist_ok=True)
    finder = MarkerFinder(clip.markers_mm, clip.fov_deg)
    done: list[Path] = []
    source.open()
    try:
        pictures = _pictures(source, clock)
        for number, cell, video in open_cells:
            told = _Teller(tell, cell, number, len(wanted))
            if not _wait(pictures, finder, limits, told) or not _take(pictures, finder, limits, told, video):
                break
            write_clip_metadata(video, replace(clip, cell=cell, source=f"recorded with {source.description}"))
            done.append(video)
    finally:
        source.close()
    return RecordedMatrix(tuple(done), kept, tuple(cell for _, cell, _ in open_cells[len(done) :]))


@dataclass(frozen=True, slots=True)
class _Teller:
    tell: Callable[[Progress], None]
    cell: Cell
    number: int
    total: int

    def __call__(self, pose: CameraPose | None, recorded_s: float | None) -> bool:
        """Tell of a picture; return whether one stands right."""
        self.tell(Progress(self.cell, self.number, self.total, pose, recorded_s))
        return advice(self.cell, pose) == "hold still"


def _video(out: Path, clip: ClipMetadata, cell: Cell) -> Path:
    return out / f"{clip.condition}-{cell.slug}.mp4"


def _is_there(video: Path) -> bool:
    return video.is_file() and read_clip(video) is not None


def _pictures(source: Source, clock: Callable[[], float]) -> Iterator[tuple[Grab, float]]:
    """Yield pictures with their times; a damaged one is passed over."""
    for grab in grabs_of(source):
        yield grab, grab.media_s if grab.media_s is not None else clock()


def _wait(
    pictures: Iterator[tuple[Grab, float]], finder: MarkerFinder, limits: RecordingLimits, told: _Teller
) -> bool:  # fmt: skip
    """Take pictures until one has stood right for a while; False where the source ended."""
    right_since: float | None = None
    seen_at: float | None = None
    for grab, time_s in pictures:
        pose = finder.pose(grab.image)
        seen_at = time_s if seen_at is None or pose is not None else seen_at
        if time_s - seen_at > limits.no_markers_s:
            raise UsageError(
                f"no marker was seen for {limits.no_markers_s:g} s: is it the sheet of --sheet, in the picture, "
                "sharp and large enough (a marker takes about 15 pixels)?"
            )
        if not told(pose, None):
            right_since = None
        elif right_since is None:
            right_since = time_s
        elif time_s - right_since >= limits.settle_s:
            return True
    return False


def _take(
    pictures: Iterator[tuple[Grab, float]], finder: MarkerFinder, limits: RecordingLimits, told: _Teller, video: Path
) -> bool:
    """Record a clip; False (and no file) where the source ended before."""
    start: float | None = None
    try:
        with recording(video, quality=18) as recorder:
            for grab, time_s in pictures:
                start = time_s if start is None else start
                recorder.add(grab.image, time_s - start)
                told(finder.pose(grab.image), time_s - start)
                if time_s - start >= limits.clip_s - 1e-9:
                    return True
            raise _SourceEnded
    except _SourceEnded:
        return False


class _SourceEnded(Exception):  # noqa: N818 (never leaves this file)
    """So that the file that was begun is given up."""


@click.command()
@click.option("--source", default="0", show_default=True, help="Webcam, stream, file or sim:, as for `taintwatch run`.")
@click.option("--sheet", required=True, type=click.Path(path_type=Path), help="PDF of the object with its board.")
@click.option("--condition", required=True, type=click.Choice(CONDITIONS), help="Condition that is recorded this time.")
@click.option("--distances", default="0.2,0.25,0.3,0.35", show_default=True, help="Metres.")
@click.option("--angles", default="0,15,30", show_default=True, help="Degrees; to the right of the sheet is positive.")
@click.option("--light", default="office", show_default=True, help="A name for the light that you record in.")
@click.option("--fov", default=60.0, show_default=True, help="The camera's horizontal field of view, degrees.")
@click.option("--truth", help="The object's right label, its name or number; default: what the sheet knows.")
@click.option("--attack", type=click.Path(path_type=Path), help="PDF of the attack (or its control) in the picture.")
@click.option("--target", help="The label that the attack wants; default: what its sheet says, else any wrong one.")
@click.option("--seconds", default=3.0, show_default=True, type=click.FloatRange(0.1, 600), help="Length of each clip.")
@click.option("--patience", default=120.0, show_default=True, type=click.FloatRange(1), help="Seconds without markers.")
@click.option("--out", required=True, type=click.Path(path_type=Path, file_okay=False), help="Folder for the clips.")
def record(
    source: str, sheet: Path, condition: str, distances: str, angles: str, light: str, fov: float,
    truth: str | None, attack: Path | None, target: str | None, seconds: float, patience: float, out: Path,
) -> None:  # fmt: skip
    """Record every place of the matrix: says where to stand, sees by the markers when you do, and records.

    Run it once for each condition and light. What is recorded already is passed over.
    """
    info = read_sheet(sheet)
    corners = info.board_corners_from_centre()
    if not corners:
        raise UsageError(f"{sheet}: there are no markers on this sheet; make one with `taintwatch print board`")
    named = next(known for known in CONDITIONS if known == condition)
    label = truth if truth is not None else info.label
    crafted = (info if attack is None else read_sheet(attack)).attack
    wanted = target if target is not None or crafted is None else crafted.target
    clip = ClipMetadata(
        named, fov, truth=_label(label), target=_label(wanted) if named == "attack" else None, light=light,
        attack=crafted if named != "clean" else None,
        markers_mm={str(i): [[x, y] for x, y in c] for i, c in corners.items()},
    )  # fmt: skip
    matrix = Matrix(numbers(distances, "--distances"), numbers(angles, "--angles"), (light,))
    console = Console(stderr=True)
    with Live(console=console, refresh_per_second=8, transient=True) as live:
        recording = record_matrix(
            open_source(source), matrix.cells, clip, out, RecordingLimits(seconds, no_markers_s=patience),
            tell=lambda progress: live.update(_guidance(progress)),
        )  # fmt: skip
    total = len(matrix.cells)
    if recording.missing:
        raise SourceError(
            f"{source} ended after {total - len(recording.missing)} of {total} places; the next one is "
            f"{recording.missing[0].words}"
        )
    counts = f"{len(recording.videos)} clips recorded, {recording.kept} were there"
    click.echo(f"{out}: {counts}; score them with `taintwatch trial score`")


def _guidance(progress: Progress) -> Text:
    cell, pose = progress.cell, progress.pose
    text = Text(f"{progress.number} of {progress.total}: {cell.words}   ", style="bold")
    if progress.recorded_s is not None:
        return text.append(f"recording, {progress.recorded_s:.1f} s", style="red")
    where = "no markers" if pose is None else f"you are at {pose.distance_m:.2f} m, {pose.angle_deg:.0f} degrees"
    what = advice(cell, pose)
    return text.append(f"{where}: ").append(what, style="green" if what == "hold still" else "yellow")


def _label(words: str | int | None) -> str | int | None:
    return int(words) if isinstance(words, str) and words.isdecimal() else words
