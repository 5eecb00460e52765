"""Train the bundled model's reconstructors: `python -m benchmarks.cmag.bundle --help`."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import click
import numpy as np
import torch

from benchmarks.cmag.sign_frames import sign_frames
from benchmarks.scripts import run_script
from taintwatch_calibration.benign import BenignFrames
from taintwatch_calibration.cmag.contact_sheet import write_sheet
from taintwatch_calibration.cmag.frames import measure
from taintwatch_calibration.cmag.pipeline import train_cmag
from taintwatch_calibration.cmag.thresholds import calibrate_cmag, calibrate_joint, cmag_scores
from taintwatch_calibration.cmag.training import TrainingSettings
from taintwatch_calibration.thresholds import tight_scores
from taintwatch_calibration.torch_tuning import denormals_flushed
from taintwatch_models.calibration_file import read_calibration, write_calibration
from taintwatch_models.cmag.file import read_cmag, write_cmag
from taintwatch_models.loading import load_radar_file
from taintwatch_models.model_files import ModelSettings

__all__ = ["command"]

_FILE = click.Path(path_type=Path, dir_okay=False)
_FOLDER = click.Path(path_type=Path, file_okay=False)


@click.group()
def command() -> None:
    """Reconstructors and thresholds of the bundled traffic-sign recogniser."""


@command.command("train")
@click.option("--model", required=True, type=_FILE, help="signs.onnx, with signs.toml beside it; or prepared.")
@click.option("--data", required=True, type=_FOLDER, help="Folder with gtsrb_train_64.tar and gtsrb_test_32.npz.")
@click.option("--backgrounds", multiple=True, type=_FOLDER, help="Folder of photographs or videos without signs.")
@click.option("--out", required=True, type=_FILE, help="signs.cmag.onnx; a checkpoint and a contact sheet go beside.")
@click.option("--size", default=32, show_default=True, type=click.IntRange(16, 128))
@click.option("--width", default=16, show_default=True, type=click.IntRange(4, 256))
@click.option("--bottleneck", default=8, show_default=True, type=click.IntRange(0, 256))
@click.option("--temperature", default=0.5, show_default=True)
@click.option("--epochs", default=12, show_default=True, type=click.IntRange(1))
@click.option("--patience", default=2, show_default=True, type=click.IntRange(1))
@click.option("--count", default=9000, show_default=True, type=click.IntRange(300), help="Augmented pictures.")
@click.option("--seed", default=0, show_default=True)
@click.option("--threads", default=1, show_default=True, type=click.IntRange(1))
@denormals_flushed()
def train(
    model: Path,
    data: Path,
    backgrounds: tuple[Path, ...],
    out: Path,
    size: int,
    width: int,
    bottleneck: int,
    temperature: float,
    epochs: int,
    patience: int,
    count: int,
    seed: int,
    threads: int,
) -> None:
    """Train on real and drawn signs."""
    torch.set_num_threads(threads)
    radar = load_radar_file(ModelSettings(path=str(model)))
    frames = sign_frames(data, backgrounds, count=count, seed=seed, fresh=0).training

    def report(stage: str, epoch: int, loss: float, held: float) -> None:
        click.echo(f"{stage} epoch {epoch}: loss {loss:.4f}, held out {held:.4f}", err=True)

    trained = train_cmag(
        radar,
        frames,
        size=size,
        width=width,
        bottleneck=bottleneck or None,
        temperature=temperature,
        settings=TrainingSettings(epochs=epochs, patience=patience, seed=seed),
        checkpoint=out.with_suffix(".checkpoint.pt"),
        threads=threads,
        progress=report,
    )
    write_cmag(trained.file, out)
    write_sheet(trained.sheet, out.with_suffix(".png"))
    click.echo(f"{out}: {out.stat().st_size / 1e6:.2f} MB, trained on {trained.frames} pictures")


@command.command("calibrate")
@click.option("--model", required=True, type=_FILE, help="signs.onnx or signs.radar.onnx.")
@click.option("--cmag", required=True, type=_FILE, help="signs.cmag.onnx.")
@click.option("--calibration", required=True, type=_FILE, help="signs.calibration.json: is extended.")
@click.option("--data", required=True, type=_FOLDER, help="Folder with gtsrb_train_64.tar and gtsrb_test_32.npz.")
@click.option("--backgrounds", multiple=True, type=_FOLDER, help="Folder of photographs or videos without signs.")
@click.option("--fpr", default=0.02, show_default=True)
@click.option("--statistic", "statistics", multiple=True, default=("ssim", "l2"), show_default=True)
@click.option(
    "--frames", default=9000, show_default=True, type=click.IntRange(200), help="Frames, at most; a third are mixed."
)
@click.option("--rule", default="either", show_default=True, type=click.Choice(["either", "both", "score"]))
@click.option("--seed", default=0, show_default=True)
@click.option("--threads", default=1, show_default=True, type=click.IntRange(1))
def calibrate(
    model: Path,
    cmag: Path,
    calibration: Path,
    data: Path,
    backgrounds: tuple[Path, ...],
    fpr: float,
    statistics: tuple[str, ...],
    frames: int,
    rule: str,
    seed: int,
    threads: int,
) -> None:
    """Choose the thresholds of cmag and joint on pictures that nothing was trained on."""
    torch.set_num_threads(threads)
    radar = load_radar_file(ModelSettings(path=str(model)))
    before = read_calibration(calibration, model_hash=radar.info.source_sha256)
    benign = _some(sign_frames(data, backgrounds, count=0, fresh=frames // 3, seed=seed).calibration, frames, seed)
    file = read_cmag(cmag)
    values = measure(radar, file, benign, threads=threads)
    chosen = calibrate_cmag(values, benign, target_fpr=fpr, statistics=statistics, seed=seed)
    tight = tight_scores(radar, benign, before.tight, threads=threads, progress=lambda what, done, total: None)
    joint = calibrate_joint(tight, cmag_scores(values, chosen.limits), benign, target_fpr=fpr, rule=rule, seed=seed)
    write_calibration(replace(before, cmag=chosen, combination=joint), calibration)
    click.echo(f"cmag held out: {chosen.held_out}\njoint held out: {joint.held_out}")


def _some(frames: BenignFrames, most: int, seed: int) -> BenignFrames:
    """Draw at most so many: the mixed ones, which come last, are all kept."""
    mixed = most // 3
    crops = len(frames.pixels) - mixed
    drawn = np.random.default_rng(seed).permutation(crops)[: most - mixed]
    rows = np.concatenate([np.sort(drawn), np.arange(crops, len(frames.pixels))])
    return BenignFrames(frames.pixels[rows], False, frames.bad, frames.description)


if __name__ == "__main__":
    sys.exit(run_script(command, "bundle"))
