"""Train the bundled traffic-sign recogniser: `python -m taintwatch_calibration.signs.train --help`."""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path

import click
import numpy as np
import torch

from taintwatch_calibration.signs.dataset import load_photographs, load_test, load_tracks, split_by_track
from taintwatch_calibration.signs.run import Settings, TrainingRun
from taintwatch_models.errors import TaintwatchError, UsageError

__all__ = ["main"]

_FOLDER = click.Path(path_type=Path, file_okay=False)


def choose_device(name: str) -> torch.device:
    """Return the device called `auto`, `cpu` or `cuda`. Raises `UsageError` where CUDA is asked for and missing."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda" and not torch.cuda.is_available():
        raise UsageError("There is no CUDA device for --device cuda: use --device cpu, or auto.")
    return torch.device(name)


def start_logging(out: Path) -> None:
    """Log to the terminal and to `out`/train.log."""
    out.mkdir(parents=True, exist_ok=True)
    handlers: list[logging.Handler] = [logging.StreamHandler(sys.stderr), logging.FileHandler(out / "train.log")]
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S", handlers=handlers)


@click.command()
@click.option("--data", required=True, type=_FOLDER, help="Folder with gtsrb_train_64.tar and gtsrb_test_32.npz.")
@click.option("--backgrounds", multiple=True, type=_FOLDER, help="Folder of photographs or videos without signs.")
@click.option("--out", required=True, type=_FOLDER, help="Folder for the model, the checkpoint and the log.")
@click.option("--epochs", default=30, show_default=True, type=click.IntRange(1))
@click.option("--batch", default=128, show_default=True, type=click.IntRange(2))
@click.option("--rate", default=3e-3, show_default=True, help="Highest learning rate of the one-cycle schedule.")
@click.option("--no-occlusion", is_flag=True, help="Leave random erasing out: for comparison only.")
@click.option("--resume", is_flag=True, help="Go on from the checkpoint in --out.")
@click.option("--seed", default=0, show_default=True, type=click.IntRange(0))
@click.option("--device", default="auto", show_default=True, type=click.Choice(["auto", "cpu", "cuda"]))
@click.option("--threads", default=2, show_default=True, type=click.IntRange(1), help="CPU threads.")
def command(
    data: Path,
    backgrounds: tuple[Path, ...],
    out: Path,
    epochs: int,
    batch: int,
    rate: float,
    no_occlusion: bool,
    resume: bool,
    seed: int,
    device: str,
    threads: int,
) -> None:
    """Train the traffic-sign recogniser and write signs.onnx, signs.toml and metrics.json."""
    torch.set_num_threads(threads)
    torch.set_flush_denormal(True)
    chosen = choose_device(device)
    start_logging(out)
    rng = np.random.default_rng(seed)
    training, validation = split_by_track(load_tracks(data), rng)
    test = load_test(data)
    photographs = [load_photographs(folder, rng) for folder in backgrounds]
    settings = Settings(epochs=epochs, batch=batch, rate=rate, occlude=not no_occlusion, seed=seed)
    run = TrainingRun(out, settings, training, validation, test, _joined(photographs), chosen)
    if resume:
        run.resume()
    run.train()


def _joined(
    stacks: list[np.ndarray[tuple[int, ...], np.dtype[np.uint8]]],
) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    return np.concatenate(stacks) if stacks else np.zeros((0, 64, 64, 3), np.uint8)


def main() -> None:
    """Run the command; errors of use end in one sentence."""
    try:
        command(standalone_mode=False)
    except (click.ClickException, click.Abort) as error:
        sys.exit(error.format_message() if isinstance(error, click.ClickException) else "Aborted.")
    except TaintwatchError as error:
        os.write(2, f"{error}\n".encode())
        sys.exit(error.exit_status)


if __name__ == "__main__":
    main()
