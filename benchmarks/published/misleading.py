"""TaintRadar's adaptive attackers as published: misleading the region over lambda, and BPDA end to end.

    python -m benchmarks.published.misleading --model MODEL.onnx --images FOLDER --target LABEL --json r.json

Misleading (section VII): (1 - lambda) misclassify + lambda mislead, a patch for each lambda; the IoU of the estimated
region L_est with the patch, the success without the detector, and with it. `away` takes the region off the patch,
`smallest` makes it small, `given` draws it into the picture's upper left quarter.

BPDA: each binarisation of `paper` has the slope of 1 / (1 + exp(-t (L - T_bin))), t from 1, one more each 100 steps.
One patch for all pictures here; `benchmarks.published.end_to_end` has one for each, as the paper.
"""

from __future__ import annotations

import sys
from collections.abc import Callable

import click
import torch.nn.functional as F
from torch import Tensor

from benchmarks.published.patch_bench import REGION_CUT
from benchmarks.published.patch_command import PatchRun, patch_command
from benchmarks.scripts import run_script
from taintwatch_calibration.craft.adaptive import binarised, evade_paper, pooled_label_map
from taintwatch_calibration.craft.physical import AttackedBatch, DetectorLoss, Model
from taintwatch_calibration.craft.placement import Placement

__all__ = ["MISLEADING", "main", "misleading", "published_steepness"]

LAMBDAS = (0.1, 0.3, 0.5, 0.7, 0.9)
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
    return binarised(share, REGION_CUT, 10.0).mean()


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


@patch_command(size=0.4, iterations=200)
@click.option("--kind", "kinds", multiple=True, type=click.Choice([*MISLEADING, "bpda"]), help="Only this; repeat.")
def main(run: PatchRun, kinds: tuple[str, ...]) -> None:
    """Craft patches that know TaintRadar as published, and show what they come to."""
    bench, schedule = run.bench, run.schedule
    shown = Placement((None,), (run.size,), rotation_degrees=0.0)
    rows = [bench.row("knows nothing", schedule, shown)]
    for kind in (kind for kind in MISLEADING if not kinds or kind in kinds):
        for share in LAMBDAS:
            detector = misleading(kind, share, bench.model)
            rows.append(bench.row(f"{kind}, lambda {share:g}", schedule, shown, detector=detector))
    if not kinds or "bpda" in kinds:
        steep = published_steepness(run.iterations)
        evade = evade_paper(bench.model, bench.radar.info.preprocessing, bench.settings, steep)
        rows.append(bench.row("BPDA", schedule, shown, detector=evade))
    run.write(rows)


if __name__ == "__main__":
    sys.exit(run_script(main, "published.misleading"))
