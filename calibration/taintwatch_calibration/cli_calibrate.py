"""`taintwatch calibrate`: thresholds from benign footage."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from taintwatch_calibration.anomaly import fit_anomaly
from taintwatch_calibration.benign_options import benign_option, reading_options
from taintwatch_calibration.cli_check import check
from taintwatch_calibration.cli_colour import colour
from taintwatch_calibration.cli_gate import gate
from taintwatch_calibration.cli_learn import learn_command
from taintwatch_calibration.cli_objects import objects
from taintwatch_calibration.cli_refit import refit
from taintwatch_calibration.cli_sign import sign, verify
from taintwatch_calibration.paper_thresholds import PaperSurface
from taintwatch_calibration.progress import bars, read_with_progress
from taintwatch_calibration.thresholds import calibrate
from taintwatch_models.calibration_file import (
    Calibration,
    HeldOut,
    PaperCalibration,
    TightCalibration,
    write_calibration,
)
from taintwatch_models.errors import UsageError
from taintwatch_models.loading import load_radar_file
from taintwatch_models.model_files import ModelSettings, calibration_path
from taintwatch_models.radar_file import write_radar

__all__ = ["calibrate_group"]


@click.group("calibrate")
def calibrate_group() -> None:
    """Learn what is benign, and choose thresholds, from benign footage alone."""


@calibrate_group.command("thresholds")
@click.option("--model", help="ONNX file, plain or prepared; default: the bundled sign model.")
@benign_option
@click.option("--fpr", default=0.02, show_default=True, help="False-positive rate per frame that you accept.")
@click.option("--out", type=click.Path(path_type=Path), help="Default: <model>.calibration.json beside the model.")
@click.option("--variant", "variants", type=click.Choice(["tight", "paper"]), multiple=True, help="Default: both.")
@click.option(
    "--saliency-threshold", default=0.8, show_default=True, help="Region of tight: above this share of the maximum."
)
@click.option("--fill", default="mean", show_default=True, help="Tight's fill: mean, average (the picture's own), "
              "noise, fresh-noise, blur, inpaint, or an image.")  # fmt: skip
@click.option("--swing-weight", default=0.5, show_default=True, help="Tight's score: 0 is the margin, 1 the swing.")
@click.option(
    "--concentration-weight",
    default=0.0,
    show_default=True,
    help="Adds so much of log saliency concentration to tight's score.",
)
@click.option("--learn", type=click.Path(path_type=Path, dir_okay=False), help="Learn what the maps of all layers look "
              "like in benign frames, too, and write the model with it to this file (NAME.radar.onnx).")  # fmt: skip
@click.option("--paper-fill", default="noise", show_default=True, help="The paper variant's fill.")
@reading_options
@click.option("--labels", help="Class names: a JSON list or a text file.")
@click.option("--json", "as_json", is_flag=True, help="Print the calibration as one line of JSON.")
def thresholds(
    model: str | None,
    benign: str,
    fpr: float,
    out: Path | None,
    variants: tuple[str, ...],
    saliency_threshold: float,
    fill: str,
    swing_weight: float,
    concentration_weight: float,
    learn: Path | None,
    paper_fill: str,
    max_frames: int,
    preprocessing: str | None,
    labels: str | None,
    seed: int,
    threads: int,
    as_json: bool,
) -> None:
    """Choose the thresholds of both TaintRadar variants from BENIGN frames and a target false-positive rate.

    Half of the frames choose the thresholds; the false-positive rate is measured on the other half. With --learn,
    tight also weighs how anomalous the layers' maps are for the label (give at least 20 frames of each thing seen).
    """
    if not 0 < saliency_threshold < 1:
        raise UsageError(f"--saliency-threshold must lie between 0 and 1, not {saliency_threshold}")
    if model is None and out is None:
        raise UsageError("the bundled model's own calibration is not overwritten; say where yours goes with --out")
    radar = load_radar_file(ModelSettings(path=model, preprocessing=preprocessing, labels=labels))
    target = out or calibration_path(ModelSettings(path=model if learn is None else str(learn)))
    for path in (target, learn):
        if path is not None and not path.parent.is_dir():
            raise UsageError(f"{path}: its folder does not exist")
    if learn is not None and not learn.name.endswith(".radar.onnx"):
        raise UsageError(f"--learn {learn}: the file's name must end in .radar.onnx, as prepared models' names do")
    with bars() as bar:
        frames = read_with_progress(bar, benign, radar.info.preprocessing, max_frames)
        anomaly = None
        if learn is not None:
            learning = bar.add_task("learning", total=len(frames.pixels))
            fitted = fit_anomaly(
                radar, frames, seed=seed, threads=threads, progress=lambda done: bar.update(learning, completed=done)
            )
            radar, anomaly = fitted.radar, fitted.scores
        tasks = {what: bar.add_task(what, total=len(frames.pixels)) for what in variants or ("tight", "paper")}
        calibration, curve = calibrate(
            radar,
            frames,
            target_fpr=fpr,
            tight=TightCalibration(
                saliency_threshold=saliency_threshold,
                fill=fill,
                swing_weight=swing_weight,
                concentration_weight=concentration_weight,
            ),
            paper=PaperCalibration(fill=paper_fill),
            variants=tuple(tasks),
            anomaly=anomaly,
            seed=seed,
            threads=threads,
            progress=lambda what, done, total: bar.update(tasks[what], completed=done),
        )
    if learn is not None:
        write_radar(radar, learn)
    write_calibration(calibration, target)
    if as_json:
        click.echo(json.dumps({"file": str(target), **dataclasses.asdict(calibration)}))
    else:
        _show(Console(), calibration, curve, target, frames.bad)


def _show(console: Console, calibration: Calibration, curve: PaperSurface | None, target: Path, bad: int) -> None:
    skipped = f" ({bad} unreadable ones skipped)" if bad else ""
    console.print(f"{calibration.benign_frames} benign frames of {calibration.benign}{skipped}")
    table = Table("variant", "chosen", "held-out false-positive rate", "95% interval (Wilson)")
    tight, paper = calibration.tight, calibration.paper
    if tight.held_out is not None:
        chosen = f"score > {tight.threshold:.3f} (saliency threshold {tight.saliency_threshold}, fill {tight.fill})"
        table.add_row("tight", chosen, *_rate(tight.held_out))
    if paper.held_out is not None:
        chosen = f"K = {paper.labels}, dR = {paper.rank_change} (saliency threshold {paper.saliency_threshold}, "
        chosen += f"fill {paper.fill})"
        table.add_row("paper", chosen, *_rate(paper.held_out))
    console.print(table)
    if curve is not None:
        steps = ", ".join(f"{count}: {rate:.1%}" for count, rate in curve.false_positive_rates.items())
        console.print(f"paper, share of frames whose rank changes, by K: {steps}")
    console.print(f"written to {target}")


def _rate(found: HeldOut) -> tuple[str, str]:
    return f"{found.rate:.2%} ({found.alarms} of {found.frames})", f"{found.low:.2%} to {found.high:.2%}"


calibrate_group.add_command(learn_command)
calibrate_group.add_command(check)
calibrate_group.add_command(colour)
calibrate_group.add_command(gate)
calibrate_group.add_command(objects)
calibrate_group.add_command(refit)
calibrate_group.add_command(sign)
calibrate_group.add_command(verify)
