"""The region attacks as published, in every reading, beside ours and the papers' peers; and what the region is worth.

    python -m benchmarks.published.region --model ../shared/data/models/mobilenet_v2_imagenet.onnx \
        --images ../shared/data/imagenet --count 16 --json docs/results/published_region_mobilenet.json

Every attack changes each picture by itself, untargeted; success is counted on whole 255ths. `--onto` tries what was
made on other models of the same classes. What is done to each 16 pictures is kept in --work: a stopped run goes on.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from torch import Tensor

from benchmarks.blocks import BLOCK, in_blocks, weighted_means
from benchmarks.scripts import run_script
from taintwatch.alarm_rates import wilson_interval
from taintwatch_calibration.bench.attacks import pixels_of
from taintwatch_calibration.bench.cache import Cache
from taintwatch_calibration.craft.attack_folder import whole
from taintwatch_calibration.craft.digital import digital_attack
from taintwatch_calibration.craft.engine import Schedule
from taintwatch_calibration.craft.materials import (
    Labelled,
    classify,
    differentiable,
    load_classifier,
    read_pictures,
    to_pictures,
)
from taintwatch_calibration.craft.measurement import faintness
from taintwatch_calibration.craft.physical import Pattern, Pictures, craft_patterns, normaliser
from taintwatch_calibration.craft.placement import Placement, apply_patterns
from taintwatch_calibration.craft.published_region import READINGS, PublishedRecipe, published_region_attack
from taintwatch_calibration.craft.region import RegionRecipe, region_attack, soft_mask
from taintwatch_calibration.craft.shapes import shape_mask
from taintwatch_calibration.machine import machine
from taintwatch_calibration.results import write_json
from taintwatch_calibration.torch_tuning import keep_freed_memory
from taintwatch_models.onnx_radar import OnnxRadar
from taintwatch_models.onnx_session import SessionSettings
from taintwatch_models.radar_file import RadarFile
from taintwatch_models.torch_graph import TorchGraph

OURS = "ours"
THRESHOLDS = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5)
STEPS = (1, 2, 3, 5, 10, 20, 30)
TEMPERATURES = (0.01, 0.05, 0.1, 0.5, 1.0, 2.0)
PEERS: dict[str, tuple[str, dict[str, Any]]] = {
    "PGD": ("pgd", {"eps": 16 / 255, "eps_step": 2 / 255, "max_iter": 20}),
    "PGD, eps 8/255": ("pgd", {"eps": 8 / 255, "eps_step": 1 / 255, "max_iter": 20}),
    "PGD, eps 2/255": ("pgd", {"eps": 2 / 255, "eps_step": 0.5 / 255, "max_iter": 20}),
    "C&W": (
        "cw",
        {
            "initial_const": 1.0,
            "learning_rate": 0.01,
            "max_iter": 1000,
            "binary_search_steps": 1,
            "max_halving": 3,
            "max_doubling": 3,
            "batch_size": 16,
        },
    ),
    "MI-FGSM": ("MomentumIterativeMethod", {"eps": 16 / 255, "eps_step": 2 / 255, "max_iter": 20, "decay": 1.0}),
    "JSMA": ("SaliencyMapMethod", {"theta": 0.3, "gamma": 0.01}),
    "one-pixel (5)": ("PixelAttack", {"th": 5, "es": 1, "max_iter": 100}),
}
"""The papers' peers with the settings that they give, and PGD at what is usual, through ART. It has no input diversity:
MI-FGSM stands in."""
_MANY = 100
PATCHES = {"Adversarial Patch (15%)": (0.15**0.5, None), "LaVAN (2%)": (0.02**0.5, (0.0, 0.0))}
"""Share of the side, and place: anywhere, or a corner."""


class Bench:
    """One model and the pictures that it gets right."""

    def __init__(self, radar: RadarFile, chosen: Labelled, onto: Sequence[RadarFile], work: Path) -> None:
        self.radar, self.chosen, self.onto, self._cache = radar, chosen, onto, Cache(work)
        self.model: TorchGraph = differentiable(radar)
        self.pictures = to_pictures(chosen, radar.info.preprocessing)
        self._judges = {r.info.name: OnnxRadar(r, (), session=SessionSettings(threads=1)) for r in (radar, *onto)}
        self._identity = (radar.info.source_sha256, [r.info.source_sha256 for r in onto], chosen.names)

    def row(self, name: str, settings: Any, attack: Callable[[Pictures], Tensor]) -> dict[str, Any]:
        """Attack all pictures in blocks; return counts and means."""

        def attacked(rows: slice) -> dict[str, Any]:
            part = Pictures(self.pictures.pixels[rows], self.pictures.own[rows])
            began = time.process_time()
            made = whole(attack(part))
            return {"cpu_seconds_per_picture": (time.process_time() - began) / len(part), **self._measure(part, made)}

        blocks = in_blocks(self._cache, name, (*self._identity, settings), len(self.chosen), attacked)
        total = sum(block["attempts"] for block in blocks)
        wins = {judge: sum(block["wins"][judge] for block in blocks) for judge in self._judges}
        faint = tuple(name for name in blocks[0] if name not in ("attempts", "wins", "cpu_seconds_per_picture"))
        means, own = weighted_means(blocks, faint, 4), wins[self.radar.info.name]
        seconds = weighted_means(blocks, ("cpu_seconds_per_picture",), 3)
        row = {"attack": name, "attempts": total, "successes": own, "interval": wilson_interval(own, total), **means,
               **seconds, "onto": wins}  # fmt: skip
        print(f"{name:28s} {own}/{total}  SSIM {means['ssim']:.3f} (global {means['ssim_global']:.3f})  l0 "
              f"{means['l0']:.0f}  l1 {means['l1']:.1f}  l2 {means['l2']:.2f}  linf {means['linf']:.2f}  PSNR "
              f"{means['psnr_255']:.1f}", flush=True)  # fmt: skip
        return row

    def _measure(self, part: Pictures, made: Tensor) -> dict[str, Any]:
        pixels = pixels_of(made, self.radar.info.preprocessing)
        labels = part.own.numpy()
        wins = {name: int((classify(judge, pixels) != labels).sum()) for name, judge in self._judges.items()}
        return {"attempts": len(part), "wins": wins, **asdict(faintness(part.pixels, made))}

    def published(self, name: str, recipe: PublishedRecipe) -> dict[str, Any]:
        """Return the row of a published recipe."""
        preprocessing = self.radar.info.preprocessing
        return self.row(
            name, recipe, lambda part: published_region_attack(self.model, part, preprocessing, recipe).pixels
        )

    def ours(self, seed: int) -> dict[str, Any]:
        """Return the row of our own region attack."""
        recipe, preprocessing = RegionRecipe(seed=seed), self.radar.info.preprocessing
        return self.row(OURS, recipe, lambda part: region_attack(self.model, part, preprocessing, recipe).pixels)

    def peer(self, name: str, share: float = 1.0) -> dict[str, Any]:
        """Return the row of one of ART's attacks; `share`: of the steps of those that have a hundred and more."""
        kind, settings = PEERS[name]
        if settings.get("max_iter", 0) >= _MANY:
            settings = settings | {"max_iter": max(1, round(settings["max_iter"] * share))}
        info = self.radar.info
        return self.row(
            name, settings,
            lambda part: digital_attack(kind, self.model, part, info.preprocessing, info.classes, settings=settings),
        )  # fmt: skip

    def patch(self, name: str, iterations: int) -> dict[str, Any]:
        """Return the row of an untargeted patch, crafted on each block that it is shown on."""
        size, place = PATCHES[name]
        placement, mask = Placement((place,), (size,), rotation_degrees=0.0), shape_mask("square", 64)[None]

        def attack(part: Pictures) -> Tensor:
            pattern = Pattern(None, placement, batch=min(BLOCK, len(part)))
            made = craft_patterns(self.model, part, self.radar.info.preprocessing, mask, pattern, Schedule(iterations))
            return apply_patterns(part.pixels, made, mask, placement, torch.Generator().manual_seed(1))[0]

        return self.row(name, (size, place, iterations), attack)

    @torch.no_grad()
    def importance(self, threshold: float) -> dict[str, Any]:
        """Return how many labels stay where only the region is kept, and where it is set to 0 (000, 1.5)."""
        normalise = normaliser(self.radar.info.preprocessing)
        kept = {"region": 0, "rest": 0, "covered": 0.0}
        for start in range(0, len(self.pictures), BLOCK):
            pixels, own = self.pictures.pixels[start : start + BLOCK], self.pictures.own[start : start + BLOCK]
            with torch.enable_grad():
                inside = (soft_mask(self.model, normalise(pixels), own, threshold) > 0).float()
            for name, mask in (("region", inside), ("rest", 1 - inside)):
                kept[name] += int((self.model(normalise(pixels * mask)).argmax(1) == own).sum())
            kept["covered"] += float(inside.mean((1, 2, 3)).sum())
        total = len(self.pictures)
        shares = {name: round(value / total, 4) for name, value in kept.items()}
        print(f"threshold {threshold:g}: region alone {shares['region']:.1%}, rest alone {shares['rest']:.1%}, covers "
              f"{shares['covered']:.1%}", flush=True)  # fmt: skip
        return {"threshold": threshold, "pictures": total, **shares}


def usual(reading: str, step: float, seed: int) -> PublishedRecipe:
    """Return a reading with its paper's own settings."""
    return PublishedRecipe(reading, step=step, temperature=0.05 if reading.startswith("003") else 0.1, seed=seed)


@click.command()
@click.option("--model", required=True, help="ONNX file.")
@click.option("--images", required=True, type=click.Path(path_type=Path), help="Folder of labelled pictures.")
@click.option("--count", default=16, show_default=True, help="Pictures, of those that the model gets right.")
@click.option("--step", default=20.0, show_default=True, help="The papers' eta: 20 for photographs, 10 for CIFAR-10.")
@click.option("--reading", "readings", multiple=True, type=click.Choice([OURS, *READINGS]), default=(OURS, *READINGS),
              show_default="all", help="Our attack, or a paper's in this reading; repeat.")  # fmt: skip
@click.option("--peers", multiple=True, type=click.Choice([*PEERS, *PATCHES]), help="Measure this peer too; repeat.")
@click.option("--peer-steps", default=1.0, show_default=True, type=click.FloatRange(0, 1, min_open=True),
              help="Share of the steps of C&W and one-pixel.")  # fmt: skip
@click.option("--patch-iterations", default=200, show_default=True, help="Steps of the patches.")
@click.option("--studies/--no-studies", default=True, show_default=True, help="Thresholds, steps and temperatures too.")
@click.option("--onto", multiple=True, help="Try what was made on this ONNX file too; repeat.")
@click.option("--seed", default=0, show_default=True, help="Seed of the pictures and the noise.")
@click.option("--work", default=Path("build/published/region"), show_default=True, type=click.Path(path_type=Path))
@click.option("--json", "document", type=click.Path(path_type=Path, dir_okay=False), help="Write the tables here.")
def main(
    model: str, images: Path, count: int, step: float, readings: tuple[str, ...], peers: tuple[str, ...],
    peer_steps: float, patch_iterations: int, studies: bool, onto: tuple[str, ...], seed: int, work: Path,
    document: Path | None,
) -> None:  # fmt: skip
    """Attack the same pictures in every way, and measure how faint each is."""
    torch.set_num_threads(1)
    keep_freed_memory()
    radar = load_classifier(model)
    right = read_pictures(images, radar, most=round(count * 1.3), seed=seed)
    chosen = right.subset(np.arange(min(count, len(right))))
    bench = Bench(radar, chosen, [load_classifier(other) for other in onto], work)
    rows = [bench.ours(seed) if name == OURS else bench.published(name, usual(name, step, seed)) for name in readings]
    rows += [bench.peer(name, peer_steps) if name in PEERS else bench.patch(name, patch_iterations) for name in peers]
    result: dict[str, Any] = {
        **machine(), "model": radar.info.name, "model_sha256": radar.info.source_sha256, "pictures": len(chosen),
        "seed": seed, "step": step, "peer_steps": peer_steps, "rows": rows,
        "importance": [bench.importance(t) for t in THRESHOLDS],
    }  # fmt: skip
    if studies:
        base = usual("003", step, seed)
        result["thresholds"] = [bench.published(f"t = {t:g}", replace(base, threshold=t)) for t in THRESHOLDS]
        result["steps"] = [bench.published(f"N = {n}", replace(base, iterations=n)) for n in STEPS]
        scaled = usual("000", step, seed)
        result["temperatures"] = [bench.published(f"T = {t:g}", replace(scaled, temperature=t)) for t in TEMPERATURES]
    if document is not None:
        write_json(document, result)


if __name__ == "__main__":
    sys.exit(run_script(main, "published.region"))
