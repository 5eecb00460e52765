"""The region attack beside PGD on the same photographs: how often they succeed, and how faint the change is.

    python -m benchmarks.region_attack --model ../shared/data/models/mobilenet_v2_imagenet.onnx \
        --images ../shared/data/imagenet --count 96 --json docs/results/region_attack.json

Prints success, SSIM, l2 and the largest change of each, and writes them as JSON with the machine. What each
attack does to each 16 photographs is kept in --work, so that an interrupted run does only what is missing.
"""

from __future__ import annotations

import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
import torch

from benchmarks.blocks import in_blocks, weighted_means
from benchmarks.scripts import run_script
from taintwatch_calibration.bench.attacks import pixels_of
from taintwatch_calibration.bench.cache import Cache
from taintwatch_calibration.craft.attack_folder import whole
from taintwatch_calibration.craft.digital import digital_attack
from taintwatch_calibration.craft.materials import (
    Labelled,
    classify,
    differentiable,
    load_classifier,
    read_pictures,
    to_pictures,
)
from taintwatch_calibration.craft.measurement import faintness
from taintwatch_calibration.craft.region import RegionRecipe, region_attack
from taintwatch_calibration.machine import machine
from taintwatch_calibration.rates import wilson_interval
from taintwatch_calibration.results import write_json
from taintwatch_calibration.torch_tuning import keep_freed_memory
from taintwatch_models.onnx_classifier import OnnxRadar
from taintwatch_models.onnx_session import SessionSettings
from taintwatch_models.radar_file import RadarFile

ATTACKS: dict[str, dict[str, Any]] = {
    "region": {},
    "pgd, eps 8/255": {"eps": 8 / 255, "eps_step": 1 / 255, "max_iter": 20},
    "pgd, eps 2/255": {"eps": 2 / 255, "eps_step": 0.5 / 255, "max_iter": 20},
}


def attack(name: str, radar: RadarFile, chosen: Labelled, recipe: RegionRecipe) -> dict[str, Any]:
    """Attack all pictures; the success is what the product sees in the pictures as PNG keeps them."""
    preprocessing = radar.info.preprocessing
    pictures, model = to_pictures(chosen, preprocessing), differentiable(radar)
    started = time.process_time()
    if name == "region":
        made = region_attack(model, pictures, preprocessing, recipe).pixels
    else:
        made = digital_attack("pgd", model, pictures, preprocessing, radar.info.classes, settings=ATTACKS[name])
    seconds = time.process_time() - started
    made = whole(made)
    seen = classify(OnnxRadar(radar, (), session=SessionSettings(threads=1)), pixels_of(made, preprocessing))
    wins = int((seen != chosen.labels).sum())
    faint = asdict(faintness(pictures.pixels, made))
    return {"attempts": len(chosen), "successes": wins, "cpu_seconds_per_picture": seconds / len(chosen), **faint}


def together(name: str, blocks: list[dict[str, Any]]) -> dict[str, Any]:
    """Return one row for all blocks of pictures: counts added, means weighted by their pictures."""
    attempts, wins = (sum(block[key] for block in blocks) for key in ("attempts", "successes"))
    means = weighted_means(blocks, ("ssim", "l2", "linf", "changed", "cpu_seconds_per_picture"), 5)
    interval = wilson_interval(wins, attempts)
    return {"attack": name, "attempts": attempts, "successes": wins, "success_rate": wins / attempts,
            "success_interval": interval, **means}  # fmt: skip


@click.command()
@click.option("--model", required=True)
@click.option("--images", required=True, type=click.Path(path_type=Path))
@click.option("--count", default=96, show_default=True, help="Photographs, of those that the model gets right.")
@click.option("--seed", default=0, show_default=True)
@click.option("--work", default=Path("build/region_attack"), show_default=True, type=click.Path(path_type=Path))
@click.option("--json", "document", type=click.Path(path_type=Path, dir_okay=False))
def main(model: str, images: Path, count: int, seed: int, work: Path, document: Path | None) -> None:
    """Attack the same photographs with the region attack and with PGD."""
    torch.set_num_threads(1)
    keep_freed_memory()
    radar = load_classifier(model)
    right = read_pictures(images, radar, most=round(count * 1.3), seed=seed)
    chosen = right.subset(range(min(count, len(right))))
    recipe = RegionRecipe(seed=seed)
    cache, rows = Cache(work), []
    for name, settings in ATTACKS.items():
        identity = (settings, recipe, radar.info.source_sha256, chosen.names)

        def attacked(rows: slice, name: str = name) -> dict[str, Any]:
            return attack(name, radar, chosen.subset(range(len(chosen))[rows]), recipe)

        blocks = in_blocks(cache, name, identity, len(chosen), attacked)
        row = together(name, blocks)
        rows.append(row)
        print(f"{name:16s} success {row['success_rate']:.3f}  SSIM {row['ssim']:.4f}  l2 {row['l2']:.3f}  "
              f"linf {row['linf']:.4f}  changed {row['changed']:.2f}  {row['cpu_seconds_per_picture']:.2f} s/picture",
              flush=True)  # fmt: skip
    print("the papers' shape: success >= 0.99, SSIM >= 0.98, l2 far below PGD's", file=sys.stderr)
    if document is not None:
        result = {**machine(), "model": radar.info.name, "model_sha256": radar.info.source_sha256, "seed": seed,
                  "pictures": len(chosen), "recipe": asdict(recipe), "rows": rows}  # fmt: skip
        write_json(document, result)


if __name__ == "__main__":
    sys.exit(run_script(main, "region_attack"))
