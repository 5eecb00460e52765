"""`taintwatch trial record`: film the matrix with a camera, guided."""

from __future__ import annotations

from pathlib import Path

import click
from rich.console import Console
from rich.live import Live
from rich.text import Text

from taintwatch.sources.factory import open_source
from taintwatch_calibration.printing.sheet_metadata import read_sheet
from taintwatch_calibration.trial.clips import CONDITIONS, ClipMetadata
from taintwatch_calibration.trial.matrix import Matrix, numbers
from taintwatch_calibration.trial.record import Patience, Progress, advice, record_matrix
from taintwatch_models.errors import SourceError, UsageError

__all__ = ["record"]


@click.command()
@click.option("--source", default="0", show_default=True, help="Webcam, stream, file or sim:, as for `taintwatch run`.")
@click.option("--sheet", required=True, type=click.Path(path_type=Path), help="PDF of the object with its board.")
@click.option("--condition", required=True, type=click.Choice(CONDITIONS), help="What is in the picture this time.")
@click.option("--distances", default="0.2,0.25,0.3,0.35", show_default=True, help="Metres.")
@click.option("--angles", default="0,15,30", show_default=True, help="Degrees; to the right of the sheet is positive.")
@click.option("--light", default="office", show_default=True, help="A name for the light that you film in.")
@click.option("--fov", default=60.0, show_default=True, help="The camera's horizontal field of view, degrees.")
@click.option("--truth", help="The object's right label, its name or number; default: what the sheet knows.")
@click.option("--attack", type=click.Path(path_type=Path), help="PDF of the attack (or its control) in the picture.")
@click.option("--target", help="The label that the attack wants; default: what its sheet says, else any wrong one.")
@click.option("--seconds", default=3.0, show_default=True, type=click.FloatRange(0.1, 600), help="Of each clip.")
@click.option("--patience", default=120.0, show_default=True, type=click.FloatRange(1), help="Seconds without markers.")
@click.option("--out", required=True, type=click.Path(path_type=Path, file_okay=False), help="Folder for the clips.")
def record(
    source: str, sheet: Path, condition: str, distances: str, angles: str, light: str, fov: float,
    truth: str | None, attack: Path | None, target: str | None, seconds: float, patience: float, out: Path,
) -> None:  # fmt: skip
    """Film every place of the matrix: says where to stand, sees by the markers when you do, and records.

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
        filmed = record_matrix(
            open_source(source), matrix.cells, clip, out, Patience(seconds, no_markers_s=patience),
            tell=lambda progress: live.update(_shown(progress)),
        )  # fmt: skip
    total = len(matrix.cells)
    if filmed.missing:
        raise SourceError(
            f"{source} ended after {total - len(filmed.missing)} of {total} places; the next one is "
            f"{filmed.missing[0].words}"
        )
    counts = f"{len(filmed.videos)} clips recorded, {filmed.kept} were there"
    click.echo(f"{out}: {counts}; score them with `taintwatch trial score`")


def _shown(progress: Progress) -> Text:
    cell, pose = progress.cell, progress.pose
    text = Text(f"{progress.number} of {progress.total}: {cell.words}   ", style="bold")
    if progress.recorded_s is not None:
        return text.append(f"recording, {progress.recorded_s:.1f} s", style="red")
    where = "no markers" if pose is None else f"you are at {pose.distance_m:.2f} m, {pose.angle_deg:.0f} degrees"
    what = advice(cell, pose)
    return text.append(f"{where}: ").append(what, style="green" if what == "hold still" else "yellow")


def _label(words: str | int | None) -> str | int | None:
    return int(words) if isinstance(words, str) and words.isdecimal() else words
