"""TaintRadar attacked end to end (section VII, BPDA) as published: a patch for each picture by itself.

    python -m benchmarks.published.end_to_end --model MODEL.onnx --images FOLDER --target LABEL --count 16 --json r.json

7% of the picture (a side of 0.26), 2,000 steps of Adam at 1/255, no constraint of printing, in the right bottom corner;
each binarisation of `paper` has the slope of 1 / (1 + exp(-t (L - T_bin))), t from 1, one more each 100 steps. The
detector counts from where a picture is misclassified at all. Beside it, the same without the detector in the loop.
Eight pictures at a time are crafted together and kept in --work, so that a run goes on, and more pictures add to it.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click
import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.published.misleading import published_steepness
from benchmarks.published.patch_bench import PatchBench
from benchmarks.published.patch_command import PatchRun, patch_command
from benchmarks.scripts import run_script
from taintwatch.alarm_rates import wilson_interval
from taintwatch_calibration.craft.adaptive import evade_paper
from taintwatch_calibration.craft.attack_folder import whole
from taintwatch_calibration.craft.engine import Checkpoint, Outcome, Schedule, optimise
from taintwatch_calibration.craft.physical import AttackedBatch, DetectorLoss, Pictures, normaliser
from taintwatch_calibration.craft.placement import PlacementBatch, apply_patch
from taintwatch_calibration.torch_tuning import denormals_flushed

__all__ = ["PUBLISHED", "craft_each", "lay_each", "main"]

_CHUNK, _TEXELS, _STEP = 8, 32, 1 / 255
PUBLISHED = {"knows nothing": "79 of 200 misclassified, none as the target", "BPDA": "25% of 200 get through"}


def lay_each(pixels: Tensor, patches: Tensor, size: float) -> tuple[Tensor, Tensor]:
    """Lay patches (B, 3, s, s) in the right bottom corner of pictures (B, 3, H, W), each on its own.

    `size`: of the shorter side. Returns the pictures and what is covered, (B, 1, H, W).
    """
    rest, count = torch.full((len(pixels),), 1 - size), len(pixels)
    places = PlacementBatch(rest, rest, torch.full((count,), size), torch.zeros(count))
    shown, covered = apply_patch(pixels, patches, torch.ones(count, 1, *patches.shape[2:]), places)
    return shown.clamp(0, 1), covered


def craft_each(
    bench: PatchBench, pictures: Pictures, run: PatchRun, detector: DetectorLoss | None, checkpoint: Path | None = None
) -> Tensor:
    """Craft a patch for each picture, all at once; return the pictures with them, (B, 3, H, W), as whole pixels."""
    normalise, wanted = normaliser(bench.radar.info.preprocessing), torch.full_like(pictures.own, bench.target)

    def objective(patches: Tensor, generator: torch.Generator, progress: float) -> Outcome:
        shown, covered = lay_each(pictures.pixels, patches, run.size)
        inputs = normalise(shown)
        maps = bench.model.maps(inputs)
        logits = bench.model.head(maps)
        loss = F.cross_entropy(logits, wanted)
        if detector is not None:
            loss = loss + detector(AttackedBatch(inputs, maps, logits, pictures.own, None, covered, progress))
        return Outcome(loss, float((logits.argmax(1) != pictures.own).float().mean()))

    schedule = Schedule(run.iterations, _STEP, "adam", decay="none", seed=run.seed)
    point = None if checkpoint is None else Checkpoint(checkpoint, f"{run.size} {len(pictures)}", every=100)
    with denormals_flushed():
        patches = optimise(
            objective, lambda generator: torch.rand(len(pictures), 3, _TEXELS, _TEXELS, generator=generator), schedule,
            checkpoint=point,
        )  # fmt: skip
    return whole(lay_each(pictures.pixels, patches, run.size)[0])


def _row(name: str, run: PatchRun, detector: DetectorLoss | None, work: Path) -> dict[str, Any]:
    bench, made = run.bench, []
    for start in range(0, len(bench.pictures), _CHUNK):
        rows = slice(start, start + _CHUNK)
        pictures = Pictures(bench.pictures.pixels[rows], bench.pictures.own[rows])
        path = work / f"{name.replace(' ', '-')}-{run.size:g}-{run.iterations}-{run.seed}-{start}-{len(pictures)}.pt"
        if path.is_file():
            made.append(torch.load(path, weights_only=True))
            continue
        made.append(craft_each(bench, pictures, run, detector, path.with_suffix(".checkpoint")))
        torch.save(made[-1], path)
        path.with_suffix(".checkpoint").unlink(missing_ok=True)
        click.echo(f"{name}: {min(start + _CHUNK, len(bench.pictures))} of {len(bench.pictures)} pictures")
    pixels = bench.model_pixels(torch.cat(made))
    labels, own = bench.labels(pixels), bench.pictures.own.numpy()
    return {
        "attacker": name, **bench.judged(pixels, labels != own), "as_target": int((labels == bench.target).sum()),
        "misclassified_interval": wilson_interval(int((labels != own).sum()), len(own)), "published": PUBLISHED[name],
    }  # fmt: skip


@patch_command(size=0.26, iterations=2000)
@click.option("--work", default=Path("build/published/end_to_end"), show_default=True, type=click.Path(path_type=Path))
def main(run: PatchRun, work: Path) -> None:
    """Craft a patch for each picture with `paper` in the loop and without, and count what gets through."""
    work.mkdir(parents=True, exist_ok=True)
    bench = run.bench
    evade = evade_paper(
        bench.model, bench.radar.info.preprocessing, bench.settings, published_steepness(run.iterations)
    )
    rows = []
    for name, detector in (("knows nothing", None), ("BPDA", evade)):
        rows.append(_row(name, run, detector, work))
        row = rows[-1]
        click.echo(f"{name}: {row['succeeds']} of {row['attempts']} misclassified, {row['as_target']} as the target, "
                   f"{row['unseen_by_paper']} of these unseen by paper, {row['unseen_by_tight']} by tight")  # fmt: skip
    run.write(rows)


if __name__ == "__main__":
    sys.exit(run_script(main, "published.end_to_end"))
