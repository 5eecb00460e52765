"""`taintwatch calibrate gate`: which frames deserve a check."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import click

from taintwatch_calibration.benign_options import benign_option, reading_options
from taintwatch_calibration.gate import calibrate_gate
from taintwatch_calibration.progress import bars, read_with_progress
from taintwatch_models.calibration_file import read_calibration, write_calibration
from taintwatch_models.errors import UsageError
from taintwatch_models.loading import load_radar_file
from taintwatch_models.model_files import ModelSettings, calibration_path

__all__ = ["gate"]


@click.command("gate")
@click.option("--model", help="ONNX file, plain or prepared; default: the bundled sign model.")
@benign_option
@click.option("--share", default=0.12, show_default=True, help="Share of benign frames that may be checked.")
@click.option("--calibration", type=click.Path(path_type=Path), help="The thresholds; default: those beside the model.")
@click.option("--out", type=click.Path(path_type=Path), help="Default: the calibration itself.")
@reading_options
@click.option("--json", "as_json", is_flag=True, help="Print what was chosen as one line of JSON.")
def gate(
    model: str | None,
    benign: str,
    share: float,
    calibration: Path | None,
    out: Path | None,
    max_frames: int,
    preprocessing: str | None,
    seed: int,
    threads: int,
    as_json: bool,
) -> None:
    """Choose the gate's threshold from BENIGN frames and put it into the model's calibration.

    The gate lets frames pass with one forward where the classifier's head shows nothing worth a check. Attacks that
    it lets pass are lost: the smaller the share that is checked, the more. `benchmarks.gate` measures how many.
    """
    if model is None and out is None:
        raise UsageError("the bundled model's own calibration is not overwritten; say where yours goes with --out")
    radar = load_radar_file(ModelSettings(path=model, preprocessing=preprocessing))
    source = calibration or calibration_path(ModelSettings(path=model))
    target = out or source
    before = read_calibration(source, model_hash=radar.info.source_sha256)
    if not target.parent.is_dir():
        raise UsageError(f"{target}: its folder does not exist")
    with bars() as bar:
        frames = read_with_progress(bar, benign, radar.info.preprocessing, max_frames)
        scoring = bar.add_task("gate", total=len(frames.pixels))
        chosen = calibrate_gate(
            radar,
            frames,
            share=share,
            tight=before.tight,
            seed=seed,
            threads=threads,
            progress=lambda done: bar.update(scoring, completed=done),
        )
    write_calibration(dataclasses.replace(before, gate=chosen), target)
    found = chosen.held_out
    if as_json:
        click.echo(json.dumps({"file": str(target), **dataclasses.asdict(chosen)}))
    elif found is not None:
        click.echo(
            f"checked are frames with a gate score above {chosen.threshold:.3f}: {found.rate:.1%} of {found.frames} "
            f"held-out benign frames (95% interval {found.low:.1%} to {found.high:.1%}); written to {target}"
        )
