"""Train the bundled traffic-sign recogniser: `python -m benchmarks.signs.train --help`."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click
import torch

from benchmarks.scripts import run_script
from benchmarks.signs.material import load_material
from benchmarks.signs.run import Settings, TrainingRun
from taintwatch_calibration.torch_tuning import denormals_flushed
from taintwatch_models.errors import UsageError

__all__ = ["command"]

_FOLDER = click.Path(path_type=Path, file_okay=False)


def choose_device(name: str) -> torch.device:
    """Return the device called `auto`, `cpu` or `cuda`. Raises `UsageError` where CUDA is asked for and missing."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda" and not torch.cuda.is_available():
        raise UsageError("There is no CUDA device for --device cuda: use --device cpu, or auto.")
    return torch.device(name)


@contextmanager
def logging_to(out: Path) -> Iterator[None]:
    """Log to the terminal and to `out`/train.log within the block."""
    handlers: list[logging.Handler] = [logging.StreamHandler(sys.stderr), logging.FileHandler(out / "train.log")]
    logger = logging.getLogger("taintwatch_calibration")
    level = logger.level
    logger.setLevel(logging.INFO)
    for handler in handlers:
        handler.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%H:%M:%S"))
        logger.addHandler(handler)
    try:
        yield
    finally:
        logger.setLevel(level)
        for handler in handlers:
            logger.removeHandler(handler)
            handler.close()


@click.command()
@click.option("--data", required=True, type=_FOLDER, help="Folder with gtsrb_train_64.tar and gtsrb_test_32.npz.")
@click.option("--backgrounds", multiple=True, type=_FOLDER, help="Folder of photographs or videos without signs.")
@click.option("--empty-scenes", multiple=True, type=_FOLDER, help="Folder of other such pictures, to measure with.")
@click.option("--out", required=True, type=_FOLDER, help="Folder for the model, the checkpoint and the log.")
@click.option("--epochs", default=30, show_default=True, type=click.IntRange(1))
@click.option("--batch", default=128, show_default=True, type=click.IntRange(2))
@click.option("--rate", default=3e-3, show_default=True, help="Highest learning rate of the one-cycle schedule.")
@click.option("--width", default=32, show_default=True, type=click.IntRange(4), help="Channels of the first maps.")
@click.option("--last-kernel", default=3, show_default=True, type=click.IntRange(1), help="On the 8 x 8 maps.")
@click.option("--critical-from", default=1.0, show_default=True, help="Erase critical regions after this share.")
@click.option("--critical-keep", default=0.2, show_default=True, help="Weight of the label in such a picture.")
@click.option("--critical-fifths", default=3, show_default=True, type=click.IntRange(1, 5), help="Pictures in five.")
@click.option("--ema-decay", default=0.998, show_default=True, help="Decay of the averaged weights.")
@click.option("--start", type=click.Path(path_type=Path, dir_okay=False), help="Checkpoint to begin from.")
@click.option("--no-occlusion", is_flag=True, help="Leave random erasing out: for comparison only.")
@click.option("--resume", is_flag=True, help="Go on from the checkpoint in --out.")
@click.option("--export-only", is_flag=True, help="Write the model of the checkpoint in --out; train no further.")
@click.option("--seed", default=0, show_default=True, type=click.IntRange(0))
@click.option("--device", default="auto", show_default=True, type=click.Choice(["auto", "cpu", "cuda"]))
@click.option("--threads", default=2, show_default=True, type=click.IntRange(1), help="CPU threads.")
@denormals_flushed()
def command(
    data: Path,
    backgrounds: tuple[Path, ...],
    empty_scenes: tuple[Path, ...],
    out: Path,
    epochs: int,
    batch: int,
    rate: float,
    width: int,
    last_kernel: int,
    critical_from: float,
    critical_keep: float,
    critical_fifths: int,
    ema_decay: float,
    start: Path | None,
    no_occlusion: bool,
    resume: bool,
    export_only: bool,
    seed: int,
    device: str,
    threads: int,
) -> None:
    """Train the traffic-sign recogniser and write signs.onnx, signs.toml and metrics.json."""
    torch.set_num_threads(threads)
    chosen = choose_device(device)
    out.mkdir(parents=True, exist_ok=True)
    material = load_material(data, backgrounds, empty_scenes, seed)
    settings = Settings(
        epochs=epochs,
        batch=batch,
        rate=rate,
        occlude=not no_occlusion,
        critical_from=critical_from,
        critical_keep=critical_keep,
        critical_fifths=critical_fifths,
        ema_decay=ema_decay,
        seed=seed,
        width=width,
        last_kernel=last_kernel,
    )
    run = TrainingRun(out, settings, material, chosen)
    with logging_to(out):
        if resume or export_only:
            run.resume()
        elif start is not None:
            run.start_from(start)
        if export_only:
            run.write()
        else:
            run.train()


if __name__ == "__main__":
    sys.exit(run_script(command, "train", interrupted="interrupted; --resume goes on after the last whole epoch"))
