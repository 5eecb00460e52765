"""Universal patches on one model and set of pictures, and what TaintRadar's two variants see of them.

K, dR and `tight`'s threshold are chosen for 6% on benign pictures that are not attacked.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from taintwatch.alarm_rates import wilson_interval
from taintwatch_calibration.benign import BenignFrames
from taintwatch_calibration.craft.adaptive import high_rank_target, pooled_label_map
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
from taintwatch_calibration.thresholds import calibrate
from taintwatch_calibration.torch_tuning import denormals_flushed
from taintwatch_models.detectors import tight_scores_of
from taintwatch_models.onnx_radar import OnnxRadar
from taintwatch_models.onnx_session import SessionSettings

__all__ = ["REGION_CUT", "PatchBench", "estimated_region", "intersection_over_union"]

REGION_CUT = 0.15
_FPR, _BENIGN, _TEXELS = 0.06, 200, 32


class PatchBench:
    """One model, its pictures, and `paper` and `tight` calibrated on some of them."""

    def __init__(self, model: str, images: Path, target: str, count: int, seed: int) -> None:
        """Raises `UsageError` for what cannot be read, or a label that the model lacks."""
        self.radar = load_classifier(model)
        info = self.radar.info
        self.target, self.model = find_label(target, info.labels), differentiable(self.radar)
        every = read_pictures(images, self.radar, most=count + _BENIGN, seed=seed)
        usable = every.subset(np.flatnonzero(every.labels != self.target))
        attacked = usable.subset(np.arange(min(count, len(usable) // 2)))
        benign = usable.pixels[len(attacked) :]
        self.pictures = to_pictures(attacked, info.preprocessing)
        frames, names = BenignFrames(benign, False, 0, "bench"), ("paper", "tight")
        self._calibration, _ = calibrate(self.radar, frames, target_fpr=_FPR, variants=names)
        self.settings, self._benign = self._calibration.paper, len(benign)
        self._run = OnnxRadar(self.radar, names, self._calibration, SessionSettings(threads=1))
        self._plain = OnnxRadar(self.radar, (), session=SessionSettings(threads=1))

    def about(self) -> dict[str, Any]:
        """Return the model and how `paper` was chosen, JSON-ready."""
        info = self.radar.info
        chosen = {"labels": self.settings.labels, "rank_change": self.settings.rank_change}
        return {"model": info.name, "model_sha256": info.source_sha256, "target": info.labels[self.target],
                "target_fpr": _FPR, "benign": self._benign, "paper": chosen}  # fmt: skip

    def high_rank(self) -> int:
        """Return the label that ranks highest on the pictures without being theirs."""
        return high_rank_target(self.model, self.pictures, normaliser(self.radar.info.preprocessing))

    def row(
        self, name: str, schedule: Schedule, placement: Placement, *, shape: str = "square", target: int | None = None,
        detector: DetectorLoss | None = None,
    ) -> dict[str, Any]:  # fmt: skip
        """Craft a patch for each of the placement's positions, show them on the pictures, and measure."""
        target = self.target if target is None else target
        kept = torch.nonzero(self.pictures.own != target)[:, 0]
        shown, covered = self._shown(kept, target, schedule, placement, shape, detector)
        return self._row(name, shown, covered, [target] * len(kept))

    def each(self, name: str, schedule: Schedule, placement: Placement, count: int) -> dict[str, Any]:
        """Craft a patch for each of the first pictures by itself, to show the label that it shows second."""
        normalise = normaliser(self.radar.info.preprocessing)
        with torch.no_grad():
            logits = self.model(normalise(self.pictures.pixels[:count]))
        seconds = logits.scatter(1, self.pictures.own[:count, None], -torch.inf).argmax(1).tolist()
        made = [self._shown(torch.tensor([index]), target, schedule, placement, "square", None)
                for index, target in enumerate(seconds)]  # fmt: skip
        return self._row(name, torch.cat([shown for shown, _ in made]), torch.cat([area for _, area in made]), seconds)

    def _shown(
        self, rows: Tensor, target: int, schedule: Schedule, placement: Placement, shape: str,
        detector: DetectorLoss | None,
    ) -> tuple[Tensor, Tensor]:  # fmt: skip
        """Craft on some pictures; return them with it (B, 3, H, W), as whole pixels, and what it covers."""
        masks = shape_mask(shape, _TEXELS)[None].expand(len(placement.positions), -1, -1, -1)
        pictures = Pictures(self.pictures.pixels[rows], self.pictures.own[rows])
        pattern = Pattern(target, placement, batch=8)
        objective = PhysicalObjective(self.model, pictures, self.radar.info.preprocessing, masks, pattern, detector)
        with denormals_flushed():
            values = optimise(objective, start_values(masks), schedule)
            shown, covered = objective.show(pictures.pixels, values, torch.Generator().manual_seed(1))
        return whole(shown), covered

    def _row(self, name: str, shown: Tensor, covered: Tensor, targets: Sequence[int]) -> dict[str, Any]:
        info = self.radar.info
        regions = estimated_region(self.model, normaliser(info.preprocessing)(shown))
        overlap = float(intersection_over_union(regions, covered[:, 0] > 0.5).mean())
        pixels = self.model_pixels(shown)
        won = self.labels(pixels) == np.array(targets)
        row = {"attacker": name, "targets": sorted({info.labels[target] for target in targets}),
               **self.judged(pixels, won), "iou": round(overlap, 4)}  # fmt: skip
        click.echo(f"{name:20s} succeeds {row['succeeds']} of {row['attempts']}, unseen by paper "
                   f"{row['unseen_by_paper']}, by tight {row['unseen_by_tight']}, IoU {overlap:.3f}")  # fmt: skip
        return row

    def labels(self, pixels: NDArray[np.uint8]) -> NDArray[np.int64]:
        """Return what the classifier takes pictures (N, H, W, 3) in its channel order for, (N,)."""
        return classify(self._plain, pixels)

    def model_pixels(self, shown: Tensor) -> NDArray[np.uint8]:
        """Return pictures (N, 3, H, W), RGB in [0, 1], as (N, H, W, 3) in the model's channel order."""
        pixels = np.asarray((shown * 255).round().byte().permute(0, 2, 3, 1).numpy(), np.uint8)
        return pixels[..., ::-1].copy() if self.radar.info.preprocessing.order == "bgr" else pixels

    def judged(self, pixels: NDArray[np.uint8], won: NDArray[np.bool_]) -> dict[str, Any]:
        """Count the attacks that succeed (`won`), and those of them that neither of the two variants sees."""
        normalise = self.radar.info.preprocessing.normalise
        outputs = [self._run(normalise(pixels[i : i + 8])) for i in range(0, len(pixels), 8)]
        ranks = np.concatenate([each["paper_rank"] for each in outputs])
        tight = np.concatenate([tight_scores_of(each, self._calibration.tight) for each in outputs])
        unseen = {"paper": won & (ranks <= self.settings.rank_change),
                  "tight": won & (tight <= self._calibration.tight.threshold)}  # fmt: skip
        counts = {f"unseen_by_{name}": int(misses.sum()) for name, misses in unseen.items()}
        interval = wilson_interval(counts["unseen_by_paper"], len(won))
        return {"attempts": len(won), "succeeds": int(won.sum()), **counts, "interval": interval}


def estimated_region(model: Model, inputs: Tensor) -> Tensor:
    """Return L_est of inputs (B, 3, H, W): (B, H, W) bool, above 15% of the map's maximum."""
    maps = pooled_label_map(model, model.maps(inputs)).detach()[:, None]
    large = F.interpolate(maps, size=inputs.shape[2:], mode="bilinear", align_corners=False)[:, 0]
    top = large.amax((1, 2), keepdim=True)
    return (large > REGION_CUT * top) & (top > 0)


def intersection_over_union(first: Tensor, second: Tensor) -> Tensor:
    """Return the IoU of masks (B, H, W) bool, (B,); 0 where both are empty."""
    both, either = (first & second).flatten(1).sum(1), (first | second).flatten(1).sum(1)
    return both / either.clamp_min(1)
