"""TaintRadar's adaptive attackers as published: misleading the region over lambda, and BPDA end to end.

    python -m benchmarks.published.misleading --model MODEL.onnx --images FOLDER --target LABEL --json r.json

Misleading (section VII): (1 - lambda) misclassify + lambda mislead, a patch for each lambda; the IoU of the estimated
region L_est with the patch, the success without the detector, and with it. `away` takes the region off the patch,
`smallest` makes it small, `given` draws it into the picture's upper left quarter.

End to end (BPDA): each binarisation of `paper` has the slope of 1 / (1 + exp(-t (L - T_bin))), t from 1, one more each
100 steps; the paper has 2,000 steps of Adam at 1 and 7% of the picture.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.scripts import run_script
from taintwatch_calibration.benign import BenignFrames
from taintwatch_calibration.craft.adaptive import binarised, evade_paper, pooled_label_map
from taintwatch_calibration.craft.attack_folder import whole
from taintwatch_calibration.craft.engine import Schedule, optimise
from taintwatch_calibration.craft.materials import (
    classify,
    differentiable,
    find_label,
    load_classifier,
    read_pictures,
    to_pictures,
)
from taintwatch_calibration.craft.physical import (
    AttackedBatch,
    DetectorLoss,
    Model,
    Pattern,
    PhysicalObjective,
    Pictures,
    normaliser,
    start_values,
)
from taintwatch_calibration.craft.placement import Placement
from taintwatch_calibration.craft.shapes import shape_mask
from taintwatch_calibration.machine import machine
from taintwatch_calibration.rates import wilson_interval
from taintwatch_calibration.results import write_json
from taintwatch_calibration.thresholds import calibrate
from taintwatch_calibration.torch_tuning import denormals_flushed
from taintwatch_models.onnx_classifier import OnnxRadar
from taintwatch_models.onnx_session import SessionSettings

__all__ = ["MISLEADING", "estimated_region", "intersection_over_union", "main", "misleading", "published_steepness"]

LAMBDAS = (0.1, 0.3, 0.5, 0.7, 0.9)
_CUT = 0.15
_QUARTER = (0.0, 0.5)  # rows and columns of the given region, as shares


def _shares(model: Model, batch: AttackedBatch) -> Tensor:
    """The region map over its sum, enlarged, (B, 1, H, W)."""
    maps = pooled_label_map(model, batch.maps)[:, None]
    large = F.interpolate(maps, size=batch.inputs.shape[2:], mode="bilinear", align_corners=False)
    return large / large.sum((1, 2, 3), keepdim=True).clamp_min(1e-12)


def _away(model: Model, batch: AttackedBatch) -> Tensor:
    return (_shares(model, batch) * batch.covered).sum((1, 2, 3)).mean()


def _smallest(model: Model, batch: AttackedBatch) -> Tensor:
    large = _shares(model, batch)
    share = large / large.amax((1, 2, 3), keepdim=True).clamp_min(1e-12)
    return binarised(share, _CUT, 10.0).mean()


def _given(model: Model, batch: AttackedBatch) -> Tensor:
    height, width = (round(_QUARTER[1] * side) for side in batch.inputs.shape[2:])
    return 1 - _shares(model, batch)[:, :, :height, :width].sum((1, 2, 3)).mean()


MISLEADING: dict[str, Callable[[Model, AttackedBatch], Tensor]] = {
    "away": _away, "smallest": _smallest, "given": _given,
}  # fmt: skip


def misleading(kind: str, share: float, model: Model) -> DetectorLoss:
    """Return lambda / (1 - lambda) times the loss `kind`: beside misclassifying, the paper's sum up to its scale."""
    loss = MISLEADING[kind]
    return lambda batch: share / (1 - share) * loss(model, batch)


def published_steepness(iterations: int) -> Callable[[float], float]:
    """Return the slope t of the paper's sigmoid by progress: 1 at first, one more each 100 steps."""
    return lambda progress: 1.0 + int(progress * iterations + 1e-9) // 100


def estimated_region(model: Model, inputs: Tensor) -> Tensor:
    """Return L_est of inputs (B, 3, H, W): (B, H, W) bool, above 15% of the map's maximum."""
    maps = pooled_label_map(model, model.maps(inputs)).detach()[:, None]
    large = F.interpolate(maps, size=inputs.shape[2:], mode="bilinear", align_corners=False)[:, 0]
    top = large.amax((1, 2), keepdim=True)
    return (large > _CUT * top) & (top > 0)


def intersection_over_union(first: Tensor, second: Tensor) -> Tensor:
    """Return the IoU of masks (B, H, W) bool, (B,); 0 where both are empty."""
    both, either = (first & second).flatten(1).sum(1), (first | second).flatten(1).sum(1)
    return both / either.clamp_min(1)


class _Bench:
    """One model, its pictures, and `paper` calibrated on some of them."""

    def __init__(self, model: str, images: Path, target: str, count: int, size: float, seed: int) -> None:
        self.radar = load_classifier(model)
        info = self.radar.info
        self.target, self.model = find_label(target, info.labels), differentiable(self.radar)
        every = read_pictures(images, self.radar, most=count + 120, seed=seed)
        usable = every.subset(np.flatnonzero(every.labels != self.target))
        attacked, benign = usable.subset(np.arange(min(count, len(usable) // 2))), usable.pixels[len(usable) // 2 :]
        self.pictures = to_pictures(attacked, info.preprocessing)
        calibration, _ = calibrate(self.radar, BenignFrames(benign, False, 0, "bench"), target_fpr=0.06,
                                   variants=("paper",))  # fmt: skip
        self.settings = calibration.paper
        self.run = OnnxRadar(self.radar, ("paper",), calibration, SessionSettings(threads=1))
        self.pattern = Pattern(self.target, Placement((None,), (size,), rotation_degrees=0.0), batch=8)
        self.plain = OnnxRadar(self.radar, (), session=SessionSettings(threads=1))

    def row(self, name: str, detector: DetectorLoss | None, schedule: Schedule) -> dict[str, Any]:
        """Craft one patch on the pictures, show it on them, and measure."""
        info, mask = self.radar.info, shape_mask("square", 32)[None]
        pictures = Pictures(self.pictures.pixels, self.pictures.own)
        objective = PhysicalObjective(self.model, pictures, info.preprocessing, mask, self.pattern, detector)
        with denormals_flushed():
            values = optimise(objective, start_values(mask), schedule)
            shown, covered = objective.show(pictures.pixels, values, torch.Generator().manual_seed(1))
            shown = whole(shown)
            regions = estimated_region(self.model, normaliser(info.preprocessing)(shown))
        pixels = (shown * 255).round().byte().permute(0, 2, 3, 1).numpy()
        pixels = pixels[..., ::-1].copy() if info.preprocessing.order == "bgr" else pixels
        won = classify(self.plain, pixels) == self.target
        normalise = info.preprocessing.normalise
        ranks = np.concatenate([self.run(normalise(pixels[i : i + 8]))["paper_rank"] for i in range(0, len(pixels), 8)])
        unseen = int((won & (ranks <= self.settings.rank_change)).sum())
        overlap = float(intersection_over_union(regions, covered[:, 0] > 0.5).mean())
        row = {"attacker": name, "attempts": len(won), "succeeds": int(won.sum()), "unseen_by_paper": unseen,
               "iou": round(overlap, 4), "interval": wilson_interval(unseen, len(won))}  # fmt: skip
        click.echo(f"{name:20s} succeeds {row['succeeds']} of {len(won)}, unseen {unseen}, IoU {overlap:.3f}")
        return row


@click.command()
@click.option("--model", required=True, help="ONNX file.")
@click.option("--images", required=True, type=click.Path(path_type=Path), help="Folder of labelled pictures.")
@click.option("--target", required=True, help="The label that the patches show, by name or number.")
@click.option("--count", default=40, show_default=True, help="Pictures to attack.")
@click.option("--size", default=0.4, show_default=True, help="Side of the patch; the paper's (7%) is 0.26.")
@click.option("--iterations", default=200, show_default=True, help="Steps of each patch; the paper's BPDA has 2,000.")
@click.option("--kind", "kinds", multiple=True, type=click.Choice([*MISLEADING, "bpda"]), help="Only this; repeat.")
@click.option("--seed", default=0, show_default=True, help="Seed of the pictures and the patches.")
@click.option("--json", "document", type=click.Path(path_type=Path, dir_okay=False), help="Write the rows here.")
def main(
    model: str, images: Path, target: str, count: int, size: float, iterations: int, kinds: tuple[str, ...], seed: int,
    document: Path | None,
) -> None:  # fmt: skip
    """Craft patches that know TaintRadar as published, and show what they come to."""
    torch.set_num_threads(1)
    bench = _Bench(model, images, target, count, size, seed)
    schedule = Schedule(iterations, 0.03, "adam", seed=seed)
    rows = [bench.row("knows nothing", None, schedule)]
    for kind in (kind for kind in MISLEADING if not kinds or kind in kinds):
        for share in LAMBDAS:
            rows.append(bench.row(f"{kind}, lambda {share:g}", misleading(kind, share, bench.model), schedule))
    if not kinds or "bpda" in kinds:
        steep = published_steepness(iterations)
        evade = evade_paper(bench.model, bench.radar.info.preprocessing, bench.settings, steep)
        rows.append(bench.row("BPDA", evade, schedule))
    if document is not None:
        settings = {"labels": bench.settings.labels, "rank_change": bench.settings.rank_change}
        result = {**machine(), "model": bench.radar.info.name, "size": size, "iterations": iterations, "seed": seed,
                  "paper": settings, "rows": rows}  # fmt: skip
        write_json(document, result)


if __name__ == "__main__":
    sys.exit(run_script(main, "published.misleading"))
