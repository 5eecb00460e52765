"""Train the bundled network that says whether a place looks like an optimised pattern.

Patterns are crafted on networks of the zoo that the detection bench takes no patches from, and stored in WORK: a run
that was stopped goes on. `python -m benchmarks.detection` measures what the network is worth.
"""

from __future__ import annotations

import io
import sys
import time
from collections.abc import Callable
from pathlib import Path

import click
import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks import zoo
from benchmarks.appearance.network import to_onnx, train
from benchmarks.appearance.patterns import craft_patterns, rounds
from benchmarks.appearance.scenes import Material, Scenes
from benchmarks.scripts import run_script
from taintwatch_calibration.craft.materials import load_classifier
from taintwatch_models.bundled import bundled_path
from taintwatch_models.detection.general import unpack
from taintwatch_models.storage import write_atomically

NETWORKS = ("objects_14_occluded", "objects_residual_occluded", "signs_backdoor", "signs_vgg_occluded")
"""Of the zoo; the detection bench takes no patch from these."""
_SHARES = (0.55, 0.25, 0.2)
_SIGNS = 3000

Report = Callable[[str], None]


@click.command()
@click.option("--data", type=click.Path(path_type=Path, exists=True), required=True, help="Folder of measuring data.")
@click.option("--work", type=click.Path(path_type=Path), required=True, help="Keep networks and patterns here.")
@click.option("--rounds", "count", type=click.IntRange(1), default=24, show_default=True,
              help="Batches of 16 patterns crafted on each network.")  # fmt: skip
@click.option("--network", "only", multiple=True, help="Craft on this network alone, and do not train.")
@click.option("--steps", type=click.IntRange(50), default=2400, show_default=True, help="Batches of 48 scenes.")
@click.option("--seed", type=int, default=0, show_default=True)
@click.option("--threads", type=click.IntRange(1), default=1, show_default=True)
@click.option("--output", type=click.Path(path_type=Path), help="Write the network here (ONNX).")
def command(
    data: Path, work: Path, count: int, only: tuple[str, ...], steps: int, seed: int, threads: int, output: Path | None
) -> None:
    """Train the bundled network that says whether a place looks like an optimised pattern."""
    torch.set_num_threads(threads)
    started = time.monotonic()

    def report(line: str) -> None:
        click.echo(f"{time.monotonic() - started:6.0f} s {line}", err=True)

    patterns = np.concatenate([_patterns(name, data, work, count, seed, report) for name in only or NETWORKS])
    if only:
        return
    report(f"{len(patterns)} patterns; training for {steps} steps")
    scenes = Scenes(Material(_benign(data, seed), _SHARES, patterns), seed)
    net = train(scenes, steps, seed, lambda step, loss: report(f"step {step} of {steps}, loss {loss:.4f}"))
    target = output or work / "appearance.onnx"
    write_atomically(target, to_onnx(net).SerializeToString())
    report(f"wrote {target}")


def _patterns(name: str, data: Path, work: Path, count: int, seed: int, report: Report) -> NDArray[np.uint8]:
    """Return the patterns crafted on one network, from the store as far as they are there."""
    radar = load_classifier(str(zoo.load_or_train(name, data, work / "zoo", report=report)))
    pictures = zoo.training_pictures(name, data)[0]
    found = []
    for index, kind in enumerate(rounds(count)):
        path = work / "patterns" / f"{name}_{seed}_{index}.npz"
        if not path.is_file():
            made = craft_patterns(radar, pictures, kind, seed * 1000 + index)
            path.parent.mkdir(parents=True, exist_ok=True)
            content = io.BytesIO()
            np.savez_compressed(content, patterns=made)
            write_atomically(path, content.getvalue())
            report(f"{name}: {index + 1} of {count}, {kind.name}")
        with np.load(path, allow_pickle=False) as stored:
            found.append(stored["patterns"])
    return np.concatenate(found)


def _benign(data: Path, seed: int) -> list[NDArray[np.uint8]]:
    """Training photographs of objects and of signs, and the rendered general pictures; RGB."""
    objects = zoo.training_pictures("objects_14", data)[0]
    signs = zoo.training_pictures("signs_vgg", data)[0]
    some = np.random.default_rng(seed).permutation(len(signs))[:_SIGNS]
    rendered = [picture[:, :, ::-1] for picture in unpack(bundled_path("general.npz"))]
    return [objects, signs[some], np.stack(rendered)]


if __name__ == "__main__":
    sys.exit(run_script(command, "appearance"))
