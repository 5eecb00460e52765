"""Train the sign finder on rendered streets: `python -m benchmarks.street --help`."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path

import click
import cv2
import torch

from benchmarks.scripts import run_script
from benchmarks.street.material import StreetBatches, read_backgrounds
from benchmarks.street.network import write_finder
from benchmarks.street.training import FinderPlan, found_share, train
from taintwatch_calibration.machine import machine
from taintwatch_calibration.torch_tuning import denormals_flushed
from taintwatch_models.storage import write_atomically

__all__ = ["street"]

_FOLDER = click.Path(path_type=Path, file_okay=False)
_PLAN = FinderPlan()
_HELD_OUT = 1_000_000
"""Number of the first batch that is measured on: training draws lower ones."""


@click.command("street")
@click.option("--out", required=True, type=_FOLDER, help="Folder for finder.onnx, finder.toml, finder.json.")
@click.option("--photographs", type=_FOLDER, help="Folder of photographs without signs, for half of the backgrounds.")
@click.option("--epochs", default=_PLAN.epochs, show_default=True, type=click.IntRange(1))
@click.option("--steps", default=_PLAN.steps, show_default=True, type=click.IntRange(1), help="Scenes in an epoch.")
@click.option("--most", type=click.IntRange(1), help="Train so many epochs and stop; the same command goes on.")
@click.option("--seed", default=0, show_default=True, help="Seed of the scenes and the first weights.")
@click.option("--threads", default=1, show_default=True, type=click.IntRange(1), help="CPU threads.")
@denormals_flushed()
def street(
    out: Path, photographs: Path | None, epochs: int, steps: int, most: int | None, seed: int, threads: int
) -> None:
    """Train what finds signs in a street. Goes on from the checkpoint in OUT where there is one."""
    torch.set_num_threads(threads)
    cv2.setNumThreads(threads)
    out.mkdir(parents=True, exist_ok=True)
    pictures = read_backgrounds(photographs)
    plan = FinderPlan(epochs=epochs, steps=steps, seed=seed)
    network = train(pictures, plan, out / "checkpoint.pt", lambda words: click.echo(words, err=True), most)
    if network is None:
        return
    write_finder(network, out / "finder.onnx")
    held_out = found_share(network.eval(), StreetBatches(pictures, plan.batch, seed), _HELD_OUT, 20)
    found = {"held_out": held_out, "photographs": len(pictures), "plan": asdict(plan), "machine": machine()}
    write_atomically(out / "finder.json", (json.dumps(found, indent=1) + "\n").encode())
    click.echo(json.dumps(found))


if __name__ == "__main__":
    sys.exit(run_script(street, "street"))
