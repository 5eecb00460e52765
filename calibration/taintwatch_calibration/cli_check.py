"""`taintwatch calibrate check`: whether thresholds still hold on new benign footage."""

from __future__ import annotations

import json
from dataclasses import replace

import click
from rich.console import Console
from rich.table import Table

from taintwatch_calibration.benign_options import threads_option
from taintwatch_calibration.drift import Drift, check_drift
from taintwatch_calibration.progress import bars, read_with_progress
from taintwatch_models.errors import TaintwatchError
from taintwatch_models.loading import LoadedModel, load_model
from taintwatch_models.model_files import ModelSettings, default_detectors
from taintwatch_models.onnx_session import SessionSettings

__all__ = ["check"]


@click.command("check")
@click.option("--model", help="ONNX file, plain or prepared; default: the bundled sign model.")
@click.option("--benign", required=True, help="New footage or pictures with no attack in them.")
@click.option("--calibration", help="Default: the one beside the model.")
@click.option("--cmag", help="Reconstructors; default: those beside the model.")
@click.option("--detector", "detectors", multiple=True,
              type=click.Choice(["combined", "tight", "paper", "cmag", "joint"]),
              help="Default: combined where the model was learnt, else tight.")  # fmt: skip
@click.option("--reference", help="What combined learnt; default: the one beside the model.")
@click.option("--target-fpr", type=float, help="Of combined: 0.001 or 0.02 a frame.  [default: 0.001]")
@click.option("--max-frames", default=2000, show_default=True, help="A longer source is thinned evenly.")
@click.option("--preprocessing", help="The model's TOML; default: the one beside it.")
@threads_option
@click.option("--json", "as_json", is_flag=True, help="Print the result as one line of JSON.")
def check(
    model: str | None,
    benign: str,
    calibration: str | None,
    cmag: str | None,
    detectors: tuple[str, ...],
    reference: str | None,
    target_fpr: float | None,
    max_frames: int,
    preprocessing: str | None,
    threads: int,
    as_json: bool,
) -> None:
    """Say whether a model's thresholds still hold on new BENIGN footage; it exits with 1 where they do not.

    The false alarms are counted with their 95% Wilson interval; where even its lower end is above the target rate,
    the footage differs from what was calibrated on: another lens, light, season or scene.
    """
    settings = ModelSettings(
        path=model, preprocessing=preprocessing, calibration=calibration, cmag=cmag, reference=reference,
        target_fpr=target_fpr, session=SessionSettings(threads=threads),
    )  # fmt: skip
    settings = replace(settings, detectors=detectors or default_detectors(settings))
    loaded = load_model(settings)
    found = _run(loaded, benign, max_frames)
    if as_json:
        click.echo(json.dumps([_row(one) for one in found]))
    else:
        _show(found)
    broken = [one.detector for one in found if not one.holds]
    if broken:
        raise TaintwatchError(
            f"the thresholds of {', '.join(broken)} no longer hold on {benign}; calibrate again on footage like it"
        )


def _run(loaded: LoadedModel, benign: str, most: int) -> tuple[Drift, ...]:
    with bars() as bar:
        frames = read_with_progress(bar, benign, loaded.preprocessing, most)
        judging = bar.add_task("judging", total=len(frames.pixels))
        return check_drift(loaded, frames, progress=lambda n: bar.update(judging, completed=n))


def _row(one: Drift) -> dict[str, object]:
    return {
        "detector": one.detector, "target_fpr": one.target_fpr, "frames": one.frames, "alarms": one.alarms,
        "rate": one.rate, "low": one.low, "high": one.high, "holds": one.holds,
    }  # fmt: skip


def _show(found: tuple[Drift, ...]) -> None:
    table = Table("detector", "target FPR", "false alarms", "95% interval (Wilson)", "the thresholds")
    for one in found:
        table.add_row(
            one.detector,
            f"{one.target_fpr:.2%}",
            f"{one.rate:.2%} ({one.alarms} of {one.frames})",
            f"{one.low:.2%} to {one.high:.2%}",
            one.conclusion,
        )
    Console().print(table)
