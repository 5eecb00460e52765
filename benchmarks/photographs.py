"""Photographs of a folder in parts that share none, and the patches that are crafted on one of them."""

from __future__ import annotations

import csv
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from taintwatch_calibration.bench.cache import Cache
from taintwatch_calibration.craft.engine import Schedule, Step
from taintwatch_calibration.craft.materials import classify, differentiable
from taintwatch_calibration.craft.physical import Pattern, craft_patterns, label_pictures
from taintwatch_calibration.craft.placement import Placement, apply_patterns
from taintwatch_calibration.craft.shapes import shape_mask
from taintwatch_models.image_file import read_image
from taintwatch_models.onnx_radar import OnnxRadar
from taintwatch_models.onnx_session import SessionSettings
from taintwatch_models.radar_file import RadarFile

__all__ = ["PatchRecipe", "Photographs", "patch_recipes", "read_photographs", "split_photographs"]

_MASK = shape_mask("square", 96)[None]


@dataclass(frozen=True, slots=True)
class PatchRecipe:
    """One patch: how it is crafted, and at which sizes it is crafted and shown."""

    name: str
    target: int
    sizes: tuple[float, ...]
    schedule: Schedule

    @property
    def pattern(self) -> Pattern:
        """What is crafted: anywhere on the picture."""
        return Pattern(self.target, Placement(sizes=self.sizes))


def patch_recipes(target: int, iterations: int, seed: int) -> tuple[PatchRecipe, ...]:
    """Return the patches of the table: one at a single size, one at several."""

    def recipe(name: str, sizes: tuple[float, ...], seed: int) -> PatchRecipe:
        schedule = Schedule(iterations, 0.05, "adam", decay="none", box="sigmoid", seed=seed)
        return PatchRecipe(name, target, sizes, schedule)

    return recipe("single size 0.35", (0.35,), seed), recipe("sizes 0.25-0.45", (0.25, 0.3, 0.35, 0.4, 0.45), 2)


@dataclass(frozen=True, eq=False)
class Photographs:
    """Photographs (N, side, side, 3), RGB, and the rows of each part."""

    radar: RadarFile
    plain: OnnxRadar
    pixels: NDArray[np.uint8]
    craft: NDArray[np.intp]
    calibrate: NDArray[np.intp]
    held_out: NDArray[np.intp]
    test_images: NDArray[np.intp]
    accuracy: float

    def planes(self, rows: NDArray[np.intp]) -> Tensor:
        """Return photographs as crafting takes them, (N, 3, side, side) in [0, 1]."""
        return torch.from_numpy(self.pixels[rows]).permute(0, 3, 1, 2).float() / 255

    def patch(self, recipe: PatchRecipe, cache: Cache) -> Tensor:
        """Return a recipe's patch, (3, s, s) in [0, 1], from the cache where it is there."""

        def make() -> dict[str, NDArray[Any]]:
            model, preprocessing = differentiable(self.radar), self.radar.info.preprocessing
            pictures = label_pictures(model, self.planes(self.craft), preprocessing)
            report = _reporter(recipe.name, recipe.schedule.iterations)
            made = craft_patterns(model, pictures, preprocessing, _MASK, recipe.pattern, recipe.schedule, report=report)
            return {"patch": made[0].numpy()}

        identity = (self.radar.info.source_sha256, self.craft.tolist(), asdict(recipe))
        return torch.from_numpy(cache.arrays(recipe.name.replace(" ", "_"), identity, make)["patch"])

    def show(self, recipe: PatchRecipe, patch: Tensor) -> Tensor:
        """Return the test images with the patch on each, (N, 3, side, side) in [0, 1]."""
        generator = torch.Generator().manual_seed(1000 + recipe.schedule.seed)
        placement = recipe.pattern.placement
        return apply_patterns(self.planes(self.test_images), patch[None], _MASK, placement, generator)[0]


def _reporter(name: str, total: int) -> Callable[[Step], None]:
    start = time.monotonic()

    def report(step: Step) -> None:
        if step.iteration % 25 == 0:
            left = (time.monotonic() - start) / step.iteration * (total - step.iteration)
            done = f"{step.iteration}/{total} loss {step.loss:.2f} fooled {step.success:.0%}"
            print(f"  {name}: {done}, {left:.0f} s left", file=sys.stderr, flush=True)

    return report


def read_photographs(folder: Path, side: int) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Return centre crops, (N, side, side, 3) RGB uint8, and their labels."""
    pictures, labels = [], []
    with (folder / "labels.csv").open(newline="") as stream:
        for line in csv.DictReader(stream):
            image = read_image(folder / line["file"])
            top, left = (image.shape[0] - side) // 2, (image.shape[1] - side) // 2
            pictures.append(image[top : top + side, left : left + side, ::-1])
            labels.append(int(line["class_index"]))
    return np.stack(pictures), np.array(labels)


def split_photographs(radar: RadarFile, folder: Path, target: int, *, seed: int = 0, limit: int = 0) -> Photographs:
    """Read a folder's photographs (`limit`: only so many) and split them at random.

    A fifth is to craft on. What the model gets right of the rest, but for the target, is cut in three: to calibrate,
    to hold out and to attack.
    """
    pixels, truth = read_photographs(folder, radar.info.preprocessing.size[0])
    if limit:
        pixels, truth = pixels[:limit], truth[:limit]
    plain = OnnxRadar(radar, (), session=SessionSettings(threads=1, device="cpu"))
    seen = classify(plain, pixels)
    order = np.random.default_rng(seed).permutation(len(pixels))
    craft, rest = order[: len(order) // 5], order[len(order) // 5 :]
    rest = rest[(seen[rest] == truth[rest]) & (truth[rest] != target)]
    calibrate, held_out, test_images = np.array_split(rest, 3)
    return Photographs(radar, plain, pixels, craft, calibrate, held_out, test_images, float((seen == truth).mean()))
