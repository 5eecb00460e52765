"""Our patch and ART's `AdversarialPatchPyTorch` with the same budget: success and time per step side by side.

    python -m benchmarks.art_comparison --model ../shared/data/models/mobilenet_v2_imagenet.onnx \
        --images ../shared/data/imagenet --json docs/results/art_comparison.json

Same photographs to craft on, same number of steps of the same batch, size, rotation and resolution; both patches are
tried by our placing on the same held-out photographs, and ART's by ART's own placing too. Times are CPU seconds of this
process. ART's is run with each of its optimisers, and the best is compared. What is done is kept in --work.
"""

from __future__ import annotations

import sys
import time
import warnings
from functools import partial
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.scripts import run_script
from taintwatch.alarm_rates import wilson_interval
from taintwatch_calibration.bench.cache import Cache
from taintwatch_calibration.bench.patch_grid import with_patch
from taintwatch_calibration.craft.digital import art_classifier
from taintwatch_calibration.craft.engine import Schedule
from taintwatch_calibration.craft.materials import (
    Labelled,
    classify,
    differentiable,
    find_label,
    load_classifier,
    read_pictures,
    to_pictures,
)
from taintwatch_calibration.craft.physical import Pattern, craft_patterns
from taintwatch_calibration.craft.placement import Placement
from taintwatch_calibration.craft.shapes import shape_mask
from taintwatch_calibration.machine import machine
from taintwatch_calibration.results import write_json
from taintwatch_calibration.torch_tuning import denormals_flushed, keep_freed_memory
from taintwatch_models.onnx_radar import OnnxRadar
from taintwatch_models.onnx_session import SessionSettings
from taintwatch_models.radar_file import RadarFile

SIZE, ROTATION, RESOLUTION, BATCH = 0.3, 20.0, 64, 16
MAKERS: dict[str, tuple[str, float] | None] = {
    "ours": None,
    "ART, Adam, 0.05": ("Adam", 0.05),
    "ART, pgd, 8/255": ("pgd", 8 / 255),
}


def ours(radar: RadarFile, craft: Labelled, target: int, steps: int) -> tuple[NDArray[np.uint8], float, None]:
    """Return our patch, (s, s, 3), and the CPU seconds of a step."""
    mask = shape_mask("square", RESOLUTION)[None]
    pattern = Pattern(target, Placement(sizes=(SIZE,), rotation_degrees=ROTATION), batch=BATCH)
    pictures = to_pictures(craft, radar.info.preprocessing)
    model, preprocessing, schedule = differentiable(radar), radar.info.preprocessing, Schedule(iterations=steps)
    started = time.process_time()
    patch = craft_patterns(model, pictures, preprocessing, mask, pattern, schedule)[0]
    return _whole(patch.permute(1, 2, 0).numpy()), (time.process_time() - started) / steps, None


def arts(
    radar: RadarFile, craft: Labelled, target: int, steps: int, how: tuple[str, float], test_images: Labelled
) -> tuple[NDArray[np.uint8], float, float]:
    """Return ART's patch, the CPU seconds of a step, and its success by ART's own placing on the test images."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from art.attacks.evasion import AdversarialPatchPyTorch

        info = radar.info
        wrapped = art_classifier(differentiable(radar), info.preprocessing, info.classes)
        torch.manual_seed(0)
        np.random.seed(0)
        each = len(craft) // BATCH  # ART's max_iter counts passes over the pictures
        made = AdversarialPatchPyTorch(
            wrapped, rotation_max=ROTATION, scale_min=SIZE, scale_max=SIZE, learning_rate=how[1], optimizer=how[0],
            max_iter=max(1, round(steps / each)), batch_size=BATCH, patch_shape=(3, RESOLUTION, RESOLUTION),
            patch_type="square", targeted=True, verbose=False,
        )  # fmt: skip
        x = to_pictures(craft, info.preprocessing).pixels[: each * BATCH].numpy()
        y = np.eye(info.classes, dtype=np.float32)[np.full(len(x), target)]
        started = time.process_time()
        patch, _ = made.generate(x=x, y=y)
        seconds = (time.process_time() - started) / (max(1, round(steps / each)) * each)
        shown = made.apply_patch(to_pictures(test_images, info.preprocessing).pixels.numpy(), scale=SIZE)
        seen = wrapped.predict(shown, batch_size=32).argmax(1)
    return _whole(patch.transpose(1, 2, 0)), seconds, float((seen == target).mean())


def _whole(patch: NDArray[Any]) -> NDArray[np.uint8]:
    return np.asarray(np.clip(np.rint(patch * 255), 0, 255), np.uint8)


@click.command()
@click.option("--model", required=True)
@click.option("--images", required=True, type=click.Path(path_type=Path))
@click.option("--target", default="toaster", show_default=True)
@click.option("--steps", default=120, show_default=True, type=click.IntRange(min=1), help="Steps for each patch.")
@click.option("--seed", default=0, show_default=True)
@click.option("--work", default=Path("build/art_comparison"), show_default=True, type=click.Path(path_type=Path))
@click.option("--json", "document", type=click.Path(path_type=Path, dir_okay=False))
def main(model: str, images: Path, target: str, steps: int, seed: int, work: Path, document: Path | None) -> None:
    """Craft one patch with each and try all on the same held-out photographs."""
    torch.set_num_threads(1)
    keep_freed_memory()
    radar = load_classifier(model)
    label = find_label(target, radar.info.labels)
    right = read_pictures(images, radar)
    order = np.random.default_rng(seed).permutation(np.flatnonzero(right.labels != label))
    craft, test_images = right.subset(order[:128]), right.subset(order[128:])
    plain, rows = OnnxRadar(radar, (), session=SessionSettings(threads=1)), []
    cache, preprocessing = Cache(work), radar.info.preprocessing
    identity = (radar.info.source_sha256, label, steps, seed, len(right))

    def try_maker(name: str, how: tuple[str, float] | None) -> dict[str, Any]:
        with denormals_flushed():
            made = (
                ours(radar, craft, label, steps) if how is None else arts(radar, craft, label, steps, how, test_images)
            )
        patch, seconds, own = made
        placement = Placement(sizes=(SIZE,), rotation_degrees=ROTATION)
        wins = int(
            (classify(plain, with_patch(test_images, patch, placement, preprocessing, 1000 + seed)) == label).sum()
        )
        return {
            "maker": name, "attempts": len(test_images), "successes": wins, "success_rate": wins / len(test_images),
            "success_interval": wilson_interval(wins, len(test_images)), "success_by_its_own_placing": own,
            "cpu_seconds_per_step": round(seconds, 3),
        }  # fmt: skip

    for name, how in MAKERS.items():
        file = name.replace(", ", "_").replace("/", "_")
        row = cache.document(file, (name, *identity), partial(try_maker, name, how))
        rows.append(row)
        by_own = row["success_by_its_own_placing"]
        print(f"{name:16s} success {row['success_rate']:.3f} of {row['attempts']}"
              f"{'' if by_own is None else f' (by its own placing {by_own:.3f})'}, "
              f"{row['cpu_seconds_per_step']:.3f} CPU s a step", flush=True)  # fmt: skip
    if document is not None:
        result = {
            **machine(), "model": radar.info.name, "model_sha256": radar.info.source_sha256, "target": target,
            "steps": steps, "batch": BATCH, "size": SIZE, "rotation_degrees": ROTATION, "seed": seed,
            "crafted_on": len(craft), "rows": rows,
        }  # fmt: skip
        write_json(document, result)


if __name__ == "__main__":
    sys.exit(run_script(main, "art_comparison"))
