"""`taintwatch trial score`: judge clips."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from taintwatch.csv_rows import csv_row
from taintwatch.footage.task_map import ENGINES
from taintwatch_calibration.printing.sheet_metadata import read_sheet
from taintwatch_calibration.progress import counted
from taintwatch_calibration.trial.clips import CONDITIONS, ClipMetadata, find_videos, read_poses
from taintwatch_calibration.trial.figures import Rate, figures_of
from taintwatch_calibration.trial.score import ScoringOptions, score_clips
from taintwatch_calibration.trial.scored import SCORES, Trial, write_trial
from taintwatch_models.detectors import DETECTOR_NAMES
from taintwatch_models.errors import UsageError
from taintwatch_models.model_files import ModelSettings
from taintwatch_models.onnx_session import SessionSettings

__all__ = ["score"]


@click.command()
@click.argument("videos", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--model", help="ONNX file, plain or prepared; default: the bundled sign model.")
@click.option("--calibration", help="Thresholds; default: those beside the model.")
@click.option("--detector", "detectors", multiple=True, type=click.Choice(DETECTOR_NAMES),
              help="Judge by this detector; repeat, the first one votes. Default: tight and paper.")  # fmt: skip
@click.option("--votes", default="3/5", show_default=True, help="Suspicious frames among the last frames that raise.")
@click.option("--sheet", type=click.Path(path_type=Path), help="Printed sheet of a video without JSON beside it.")
@click.option("--poses", type=click.Path(path_type=Path, dir_okay=False),
              help="CSV with from_s, to_s, distance_m, angle_deg (and video): instead of markers.")  # fmt: skip
@click.option("--condition", type=click.Choice(CONDITIONS), help="Condition of a video without JSON.")
@click.option("--truth", help="Label of the object in a video without JSON, name or number; default: the sheet's.")
@click.option("--attack", type=click.Path(path_type=Path), help="Printed sheet of the attack in a video without JSON.")
@click.option("--target", help="Label that this attack wants; default: its sheet's.")
@click.option("--light", default="office", show_default=True, help="Name of the light in a video without JSON.")
@click.option("--fov", default=60.0, show_default=True, help="Field of view of a video without JSON, degrees.")
@click.option("--workers", default=0, show_default=True, type=click.IntRange(0), help="0: one for each core.")
@click.option(
    "--engine",
    default="processes",
    show_default=True,
    type=click.Choice(list(ENGINES)),
    help="Score on this machine, or on a Ray cluster.",
)
@click.option("--out", required=True, type=click.Path(path_type=Path, file_okay=False), help="Folder for the trial.")
@click.option("--json", "as_json", is_flag=True, help="Print the rates as one JSON object, and nothing else.")
@click.option("--csv", "as_csv", is_flag=True, help="Print them as CSV with a header.")
def score(
    videos: tuple[Path, ...], model: str | None, calibration: str | None, detectors: tuple[str, ...], votes: str,
    sheet: Path | None, poses: Path | None, condition: str | None, truth: str | None, attack: Path | None,
    target: str | None, light: str, fov: float, workers: int, engine: str, out: Path,
    as_json: bool, as_csv: bool,
) -> None:  # fmt: skip
    """Score VIDEOS (files or folders): the attack's success, the detectors, the vote, by distance and angle.

    An interrupted run goes on where it was; `taintwatch trial report` then makes a page of it.
    """
    if as_json and as_csv:
        raise click.UsageError("--json and --csv exclude each other")
    found = find_videos(videos)
    defaults = _defaults(condition, sheet, truth, attack, target, light, fov)
    rows = () if poses is None else read_poses(poses)
    k, n = _votes(votes)
    settings = ModelSettings(
        path=model,
        calibration=calibration,
        detectors=detectors or ("tight", "paper"),
        session=SessionSettings(threads=1),
    )
    with counted(Console(stderr=True), "scoring") as progress:
        trial = score_clips(
            found, ScoringOptions(settings, k, n), out / ".done", poses=rows, defaults=defaults, workers=workers,
            engine=engine, progress=progress,
        )  # fmt: skip
    write_trial(trial, out / SCORES)
    for words in _unplaced(trial):
        click.echo(f"warning: {words}", err=True)
    rates = figures_of(trial).headline()
    if as_json:
        click.echo(json.dumps({words: asdict(rate) for words, rate in rates.items()}))
    elif as_csv:
        click.echo(csv_row(("rate", "count", "total", "share", "low", "high")))
        for words, rate in rates.items():
            click.echo(csv_row((words, *asdict(rate).values())))
    else:
        _show(rates)
        click.echo(f"{out / SCORES}: {len(found)} clips; make a page of it with `taintwatch trial report {out}`")


def _show(rates: Mapping[str, Rate]) -> None:
    table = Table("", "", "95% interval (Wilson)")
    for words, rate in rates.items():
        table.add_row(words, *_cells(rate))
    Console().print(table)


def _unplaced(trial: Trial) -> Iterator[str]:
    """Say of which clips the poses are not those of the markers."""
    names = {
        how: [Path(clip.video).name for clip in trial.clips if clip.poses_from == how] for how in ("truth", "none")
    }
    if names["truth"]:
        yield f"no marker is seen in {', '.join(names['truth'])}: the true poses beside the clips are taken"
    if names["none"]:
        yield f"no pose is known in {', '.join(names['none'])}: their frames count, but at no distance and angle"


def _cells(rate: Rate) -> tuple[str, str]:
    if rate.total == 0:
        return "none", ""
    return f"{rate.share:.1%} ({rate.count} of {rate.total})", f"{rate.low:.1%} to {rate.high:.1%}"


def _defaults(
    condition: str | None, sheet: Path | None, truth: str | None, attack: Path | None, target: str | None, light: str,
    fov: float,
) -> ClipMetadata | None:  # fmt: skip
    if condition is None:
        return None
    named = next(known for known in CONDITIONS if known == condition)
    info = None if sheet is None else read_sheet(sheet)
    corners = {} if info is None else info.board_corners_from_centre()
    if info is not None and not corners:
        raise UsageError(f"{sheet}: there are no markers on this sheet; print it with a board, or give --poses")
    label = truth if truth is not None else None if info is None else info.label
    shown = info if attack is None else read_sheet(attack)
    crafted = None if shown is None else shown.attack
    wanted = target if target is not None or crafted is None else crafted.target
    return ClipMetadata(
        named, fov, truth=_label(label), target=_label(wanted) if named == "attack" else None, light=light,
        attack=crafted if named != "clean" else None,
        markers_mm={str(i): [[x, y] for x, y in c] for i, c in corners.items()} or None, source="recorded",
    )  # fmt: skip


def _label(words: str | int | None) -> str | int | None:
    return int(words) if isinstance(words, str) and words.isdecimal() else words


def _votes(words: str) -> tuple[int, int]:
    k, slash, n = words.partition("/")
    if not (slash and k.isdecimal() and n.isdecimal()):
        raise UsageError(f"--votes has value {words!r}; give K/N, like 3/5")
    return int(k), int(n)
