"""Compare vote policies: `python -m benchmarks.votes --help`."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Table

from benchmarks.scripts import run_script
from benchmarks.votes.compare import compare
from benchmarks.votes.page import page
from benchmarks.votes.picture import draw
from benchmarks.votes.scenes import FPS, LIGHTS, STREAM_S
from benchmarks.votes.scoring import Scenery, score_streams, threshold_in
from taintwatch_calibration.machine import machine
from taintwatch_calibration.progress import counted
from taintwatch_calibration.trial.clips import find_videos
from taintwatch_models.detectors import DETECTOR_NAMES
from taintwatch_models.errors import UsageError
from taintwatch_models.model_files import ModelSettings
from taintwatch_models.onnx_session import SessionSettings
from taintwatch_models.storage import write_atomically

__all__ = ["votes"]

_FOLDER = click.Path(path_type=Path, file_okay=False)


@click.command("votes")
@click.option("--footage", type=click.Path(path_type=Path), multiple=True, help="Benign videos or folders of them.")
@click.option("--scenes", help="Photographs that signs stand before, a folder or a tar; default: drawn streets.")
@click.option("--patches", type=_FOLDER, help="PNG files, or the --work of benchmarks.sign_attacks; the bundled "
              "attacks are always in.")  # fmt: skip
@click.option(
    "--hours",
    default=3.0,
    show_default=True,
    type=click.FloatRange(0.001),
    help="Simulated benign footage.",
)
@click.option(
    "--stream-seconds",
    default=STREAM_S,
    show_default=True,
    type=click.FloatRange(1, 3600),
    help="Length of one camera's view.",
)
@click.option(
    "--attacks", default=110, show_default=True, type=click.IntRange(2), help="Simulated scenes with a patch."
)
@click.option("--detector", default="tight", show_default=True, type=click.Choice(DETECTOR_NAMES))
@click.option("--calibration", help="Thresholds for the bundled model; default: its own.")
@click.option("--seed", default=0, show_default=True, type=click.IntRange(0), help="Seed of the simulation.")
@click.option("--workers", default=1, show_default=True, type=click.IntRange(1), help="Processes that score.")
@click.option("--work", default=Path("build/bench/votes"), show_default=True, type=_FOLDER, help="Folder of the score "
              "sequences: a later run goes on there.")  # fmt: skip
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), help="JSON, and beside it the "
              "tables (.md) and the picture (.png, .svg). Default: votes.json in --work.")  # fmt: skip
@click.option("--picture/--no-picture", default=True, show_default=True, help="Whether to draw it.")
def votes(
    footage: tuple[Path, ...], scenes: str | None, patches: Path | None, hours: float, stream_seconds: float,
    attacks: int, detector: str, calibration: str | None, seed: int, workers: int, work: Path, out: Path | None,
    picture: bool,
) -> None:  # fmt: skip
    """Compare vote policies on the bundled sign model: false alarms a camera-day, and frames to the alarm.

    Score sequences of simulated and real footage are replayed through the daemon's own vote. Half of the streams choose
    a policy, the other half say how good it is.
    """
    target = out or work / "votes.json"
    try:
        target.parent.mkdir(parents=True, exist_ok=True)  # told now, not after an hour of scoring
    except OSError as error:
        raise UsageError(f"{target}: its folder cannot be made ({error.strerror}); choose another --out") from None
    model = ModelSettings(calibration=calibration, detectors=(detector,), session=SessionSettings(threads=1))
    scenery = Scenery(model, scenes, None if patches is None else str(patches), seed, stream_seconds)
    videos = find_videos(footage) if footage else ()
    benign = max(2 * len(LIGHTS), round(hours * 3600 / stream_seconds))
    console = Console(stderr=True)
    with counted(console, "scoring") as progress:
        streams = score_streams(scenery, videos, benign, attacks, work / "scores", workers=workers, progress=progress)
    threshold, about = threshold_in(scenery)
    with Progress(TextColumn("voting"), BarColumn(), MofNCompleteColumn(), console=console) as bar:
        task = bar.add_task("voting")
        found = compare(streams, threshold, lambda done, total: bar.update(task, completed=done, total=total))
    options = {
        "scenes": Path(scenes).name if scenes else None,
        "hours": hours,
        "stream_s": stream_seconds,
        "attacks": attacks,
        "seed": seed,
    }
    document = {
        **machine(), **about, "detector": detector, "threshold": threshold, "fps": FPS, "options": options, **found
    }  # fmt: skip
    write_atomically(target, _text(document).encode())
    write_atomically(target.with_suffix(".md"), page(document, target.stem).encode())
    if picture:
        draw(target, document)
    _show(Console(), document)
    click.echo(f"written to {target}")


def _text(document: dict[str, Any]) -> str:
    """Return it as JSON, with a line for each policy."""
    head = json.dumps({**document, "rows": []}, indent=1)
    rows = ",\n  ".join(json.dumps(row) for row in document["rows"])
    return head.replace('"rows": []', f'"rows": [\n  {rows}\n ]') + "\n"


def _show(console: Console, document: dict[str, Any]) -> None:
    """Print the default and the best of each kind."""
    shown = {document["default"], *document["chosen_of_each_kind"].values()}
    table = Table("policy", "false alarms a day (95%)", "were frames independent", "median", "90%", "in 10", "missed")
    for row in document["rows"]:
        if row["name"] not in shown:
            continue
        benign, attack = row["reporting"]["benign"], row["reporting"]["attack"]
        low, high = (pick(benign["poisson"][i], benign["by_stream"][i]) for i, pick in enumerate((min, max)))
        expected = row["independent_a_day"]
        table.add_row(
            row["name"], f"{benign['a_day']:.1f} ({low:.1f} to {high:.1f})",
            "" if expected is None else f"{expected:.2g}", _number(attack["median"]), _number(attack["ninety"]),
            f"{attack['within']:.0%}", f"{attack['missed']} of {attack['attacks']}",
        )  # fmt: skip
    console.print(table)
    hours = document["rows"][0]["reporting"]["benign"]["hours"]
    console.print(f"chosen: {document['chosen']}; reported on {hours:.2f} hours that it was not chosen on")


def _number(value: float | None) -> str:
    return "never" if value is None else f"{value:g}"


if __name__ == "__main__":
    sys.exit(run_script(votes, "votes"))
