"""`taintwatch cmag`: reconstructors from benign footage, and their thresholds."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import replace
from pathlib import Path

import click

from taintwatch_calibration.benign_options import benign_option, reading_options
from taintwatch_calibration.progress import bars, read_with_progress
from taintwatch_calibration.torch_tuning import denormals_flushed
from taintwatch_models.calibration_file import Calibration, HeldOut, read_calibration, write_calibration
from taintwatch_models.errors import UsageError
from taintwatch_models.loading import load_radar_file
from taintwatch_models.model_files import ModelSettings, calibration_path, cmag_path

__all__ = ["cmag_group"]


@click.group("cmag")
def cmag_group() -> None:
    """Detect by reconstruction (CMAG): train on benign footage, choose thresholds."""


@cmag_group.command("train")
@click.option("--model", help="ONNX file, plain or prepared; default: the bundled sign model.")
@benign_option
@click.option("--out", type=click.Path(path_type=Path), help="Default: <model>.cmag.onnx beside the model.")
@click.option("--full", is_flag=True, help="Convolve at the full resolution too: three times slower.")
@click.option("--size", default=32, show_default=True, type=click.IntRange(16, 128), help="Side that is rebuilt, px.")
@click.option("--width", default=16, show_default=True, type=click.IntRange(4, 256), help="Channels of the decoders.")
@click.option("--bottleneck", default=8, show_default=True, type=click.IntRange(0, 256),
              help="Channels that the maps are squeezed to; 0: no bottleneck, as in the paper.")  # fmt: skip
@click.option("--temperature", default=0.5, show_default=True, help="LR sees softmax(Z / T).")
@click.option(
    "--epochs", default=30, show_default=True, type=click.IntRange(1), help="Epochs of each network, at most."
)
@click.option("--patience", default=4, show_default=True, type=click.IntRange(1), help="Stop after so many no better.")
@click.option("--max-frames", default=4000, show_default=True, help="A longer source is thinned evenly.")
@click.option("--preprocessing", help="The model's TOML; default: the one beside it.")
@click.option("--seed", default=0, show_default=True, help="Seed of the weights, the order and the split.")
@click.option("--threads", default=0, show_default=True, type=click.IntRange(0), help="CPU threads; 0: all.")
@denormals_flushed()
def train(
    model: str | None,
    benign: str,
    out: Path | None,
    full: bool,
    size: int,
    width: int,
    bottleneck: int,
    temperature: float,
    epochs: int,
    patience: int,
    max_frames: int,
    preprocessing: str | None,
    seed: int,
    threads: int,
) -> None:
    """Train the three reconstructors of a model on BENIGN frames, one after the other.

    Writes the reconstructors, a checkpoint (a training that was interrupted goes on from it) and a contact sheet of
    input, FMR, LR and GR beside them. Then choose thresholds with `taintwatch cmag calibrate`.
    """
    import torch  # only a training needs it

    from taintwatch_calibration.cmag.contact_sheet import write_sheet
    from taintwatch_calibration.cmag.pipeline import train_cmag
    from taintwatch_calibration.cmag.training import STAGES, TrainingSettings
    from taintwatch_models.cmag.file import write_cmag

    if model is None and out is None:
        raise UsageError("the bundled model's own reconstructors are not overwritten; say where yours go with --out")
    if temperature <= 0:
        raise UsageError(f"--temperature must be above 0, not {temperature}")
    radar = load_radar_file(ModelSettings(path=model, preprocessing=preprocessing))
    target = out or cmag_path(ModelSettings(path=model))
    if not target.parent.is_dir():
        raise UsageError(f"{target}: its folder does not exist")
    if threads:
        torch.set_num_threads(threads)
    stem = target.with_suffix("")
    checkpoint, sheet = stem.with_name(stem.name + ".checkpoint.pt"), stem.with_name(stem.name + ".png")
    with bars() as bar:
        frames = read_with_progress(bar, benign, radar.info.preprocessing, max_frames)
        running = bar.add_task("classifying", total=len(frames.pixels))
        settings = TrainingSettings(epochs=epochs, patience=patience, seed=seed)
        stages = {stage: bar.add_task(stage.upper(), total=settings.epochs_of(stage)) for stage in STAGES}

        def on_epoch(stage: str, epoch: int, loss: float, held: float) -> None:
            text = f"{stage.upper()} loss {loss:.4f}, held out {held:.4f}"
            bar.update(stages[stage], completed=epoch, description=text)

        trained = train_cmag(
            radar,
            frames,
            size=size,
            width=width,
            bottleneck=bottleneck or None,
            temperature=temperature,
            light=not full,
            settings=settings,
            checkpoint=checkpoint,
            threads=threads,
            device="cuda" if torch.cuda.is_available() else "cpu",
            count=lambda n: bar.update(running, completed=n),
            progress=on_epoch,
        )
    write_cmag(trained.file, target)
    write_sheet(trained.sheet, sheet, radar.info.preprocessing.order)
    checkpoint.unlink(missing_ok=True)
    left_out = f" ({trained.flat} of a single colour left out)" if trained.flat else ""
    click.echo(f"trained on {trained.frames} benign frames of {frames.description}{left_out}")
    click.echo(f"written to {target}; look at {sheet}")


@cmag_group.command("calibrate")
@click.option("--model", help="ONNX file, plain or prepared; default: the bundled sign model.")
@click.option("--cmag", "cmag_file", help="Reconstructors; default: <model>.cmag.onnx beside the model.")
@benign_option
@click.option("--fpr", default=0.02, show_default=True, help="False-positive rate per frame that you accept.")
@click.option("--statistic", "statistics", multiple=True, help="Default: ssim and l2. Also novelty, error, "
              "texture, surprise, distance, disagreement, margin.")  # fmt: skip
@click.option("--rule", type=click.Choice(["quantile", "extreme"]), default="quantile", show_default=True,
              help="extreme: the most extreme benign value, as in the paper; it ignores --fpr.")  # fmt: skip
@click.option("--by-class", is_flag=True, help="Labels with enough frames have thresholds of their own.")
@click.option("--combine", type=click.Choice(["either", "both", "score"]),
              help="Calibrate `joint` too: tight and cmag together at the target rate.")  # fmt: skip
@click.option("--calibration", "given", type=click.Path(path_type=Path), help="Default: the one beside the model.")
@click.option("--out", type=click.Path(path_type=Path), help="Default: the calibration itself is extended.")
@reading_options
@click.option("--json", "as_json", is_flag=True, help="Print the calibration as one line of JSON.")
def calibrate(
    model: str | None,
    cmag_file: str | None,
    benign: str,
    fpr: float,
    statistics: tuple[str, ...],
    rule: str,
    by_class: bool,
    combine: str | None,
    given: Path | None,
    out: Path | None,
    max_frames: int,
    preprocessing: str | None,
    seed: int,
    threads: int,
    as_json: bool,
) -> None:
    """Choose CMAG's thresholds from BENIGN frames and a target false-positive rate.

    Half of the frames choose the thresholds, the rate is measured on the other half. The model's calibration is
    extended: make it first with `taintwatch calibrate thresholds`.
    """
    from taintwatch_calibration.cmag.frames import measure, structured
    from taintwatch_calibration.cmag.thresholds import calibrate_cmag, calibrate_joint, cmag_scores, require_enough
    from taintwatch_calibration.thresholds import tight_scores
    from taintwatch_models.cmag.file import read_cmag

    settings = ModelSettings(path=model, preprocessing=preprocessing, cmag=cmag_file)
    radar = load_radar_file(settings)
    source = given or calibration_path(settings)
    if out is None and model is None:
        raise UsageError("the bundled model's own calibration is not overwritten; say where yours goes with --out")
    before = read_calibration(source, model_hash=radar.info.source_sha256)
    path = cmag_path(settings)
    cmag = read_cmag(path, radar.info)
    with bars() as bar:
        frames = structured(read_with_progress(bar, benign, radar.info.preprocessing, max_frames))
        require_enough(frames, fpr)
        total = len(frames.pixels)
        rebuilding = bar.add_task("cmag", total=total)
        values = measure(radar, cmag, frames, threads=threads, count=lambda n: bar.update(rebuilding, completed=n))
        chosen = calibrate_cmag(
            values,
            frames,
            target_fpr=fpr,
            statistics=statistics or ("ssim", "l2"),
            rule=rule,
            by_class=by_class,
            seed=seed,
        )
        after = replace(before, cmag=chosen, combination=None)
        if combine is not None:
            filling = bar.add_task("tight", total=total)
            tight = tight_scores(
                radar,
                frames,
                before.tight,
                threads=threads,
                progress=lambda what, n, of: bar.update(filling, completed=n),
            )
            both = calibrate_joint(
                tight, cmag_scores(values, chosen.limits), frames, target_fpr=fpr, rule=combine, seed=seed
            )
            after = replace(after, combination=both)
    target = out or source
    write_calibration(after, target)
    if as_json:
        click.echo(json.dumps({"file": str(target), **dataclasses.asdict(after)}))
    else:
        _show(after, target)


def _show(calibration: Calibration, target: Path) -> None:
    if calibration.cmag is not None:
        for limit in calibration.cmag.limits:
            side = "below" if limit.statistic == "ssim" else "above"
            own = f", {len(limit.by_class)} labels have their own" if limit.by_class else ""
            click.echo(f"{limit.statistic}: suspicious {side} {limit.threshold:.4f}{own}")
        click.echo(f"cmag, held-out false-positive rate: {_rate(calibration.cmag.held_out)}")
    if calibration.combination is not None:
        rule = calibration.combination.rule
        click.echo(f"joint ({rule}), held-out false-positive rate: {_rate(calibration.combination.held_out)}")
    click.echo(f"written to {target}")


def _rate(found: HeldOut | None) -> str:
    if found is None:
        return "not measured"
    return f"{found.rate:.2%} ({found.alarms} of {found.frames}; 95%: {found.low:.2%} to {found.high:.2%})"
