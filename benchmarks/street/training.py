"""Train the sign finder: focal loss on cells, overlap loss on boxes, averaged weights, a checkpoint to go on from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.street.material import StreetBatches
from benchmarks.street.network import CELL, FinderNet, centres, corners
from benchmarks.training_loop import Batch, TrainingLoop, TrainingPlan

__all__ = ["FinderPlan", "finder_loss", "found_share", "train"]

_CORE = 0.5
"""Share of a sign's sides within which a cell's middle must lie to answer for it."""


@dataclass(frozen=True, slots=True)
class FinderPlan:
    """What fixes a run, beside its photographs."""

    epochs: int = 10
    steps: int = 45
    """Batches of an epoch."""
    batch: int = 8
    rate: float = 4e-3
    seed: int = 0


def train(
    photographs: list[np.ndarray[tuple[int, ...], np.dtype[np.uint8]]], plan: FinderPlan, checkpoint: Path,
    report: Callable[[str], None], most: int | None = None,
) -> nn.Module | None:  # fmt: skip
    """Train from the checkpoint, or from the start where there is none; return the averaged network.

    `most`: epochs that this call trains; None is returned where that is not the end.
    """
    torch.manual_seed(plan.seed)
    batches = StreetBatches(photographs, plan.batch, plan.seed)
    loop = TrainingLoop(
        FinderNet(), TrainingPlan(plan.epochs, plan.steps, plan.rate, weight_decay=0.02, ema_decay=0.995),
        on_steps=lambda steps, loss, seconds: report(f"  step {steps}: loss {loss:.3f}, {seconds:.2f} s each"),
    )  # fmt: skip
    if checkpoint.is_file():
        loop.restore(torch.load(checkpoint, weights_only=True))
    last = plan.epochs if most is None else min(plan.epochs, loop.epoch + most)
    while loop.epoch < last:
        loss = loop.run_epoch(batches.epoch(loop.epoch * plan.steps, plan.steps), finder_loss)
        report(f"epoch {loop.epoch}/{plan.epochs}: loss {loss:.3f}, {loop.seconds_left / 60:.1f} min left")
        partial = checkpoint.with_suffix(".partial")
        torch.save(loop.state(), partial)
        partial.replace(checkpoint)
    return loop.average if loop.epoch == plan.epochs else None


def finder_loss(network: nn.Module, batch: Batch) -> Tensor:
    """Return the focal loss of the scores plus the generalised overlap loss of the boxes, for each answering cell."""
    if not isinstance(network, FinderNet):
        raise TypeError("the sign finder's loss is of a FinderNet")
    images, boxes = batch
    raw = network.raw(images)
    wanted, answering = assigned(boxes)
    count = answering.sum().clamp_min(1)
    scores = raw[:, 0]
    target = answering.to(scores)
    chance = F.binary_cross_entropy_with_logits(scores, target, reduction="none")
    rightness = torch.where(answering, scores.sigmoid(), 1 - scores.sigmoid())
    weight = torch.where(answering, 0.5, 0.5) * (1 - rightness) ** 2
    focal = (weight * chance).sum() / count
    found = corners(raw, centres())
    overlaps = generalised_overlap(found.transpose(1, 2)[answering], wanted[answering])
    return 4 * focal + (1 - overlaps).sum() / count


def assigned(boxes: Tensor) -> tuple[Tensor, Tensor]:
    """Return what box each cell is to give, (B, 432, 4), and which cells answer for a sign, (B, 432).

    A cell answers for the smallest sign in whose core its middle lies; the cell nearest to a sign's middle always does.
    """
    cells = centres().T  # (432, 2)
    known = ~boxes.isnan().any(-1)  # (B, M)
    safe = torch.nan_to_num(boxes, nan=-1e4)
    middle, sides = (safe[..., :2] + safe[..., 2:]) / 2, safe[..., 2:] - safe[..., :2]
    away = (cells[None, :, None] - middle[:, None]).abs()  # (B, 432, M, 2)
    reach = (sides * _CORE / 2).clamp_min(CELL / 2)[:, None]
    inside = (away <= reach).all(-1) & known[:, None]  # (B, 432, M)
    size = torch.where(inside, sides.prod(-1)[:, None], torch.inf)
    best = size.argmin(-1)  # (B, 432)
    return torch.gather(safe, 1, best[..., None].expand(-1, -1, 4)), inside.any(-1)


def generalised_overlap(first: Tensor, second: Tensor) -> Tensor:
    """Return the generalised intersection over union of boxes (N, 4) with their partners (Rezatofighi et al., 2019)."""
    low, high = torch.maximum(first[:, :2], second[:, :2]), torch.minimum(first[:, 2:], second[:, 2:])
    shared = (high - low).clamp_min(0).prod(1)
    union = (first[:, 2:] - first[:, :2]).prod(1) + (second[:, 2:] - second[:, :2]).prod(1) - shared
    around = torch.maximum(first[:, 2:], second[:, 2:]) - torch.minimum(first[:, :2], second[:, :2])
    hull = around.prod(1).clamp_min(1e-6)
    return shared / union.clamp_min(1e-6) - (hull - union) / hull


def found_share(network: nn.Module, batches: StreetBatches, first: int, count: int) -> dict[str, float]:
    """Return recall and precision at a score of 0.4 and an overlap of 0.5 in scenes that were not trained on.

    Each sign counts as found where any confident cell's box overlaps it; a confident cell is wrong where it overlaps
    none by half.
    """
    signs, hit, confident, right = 0, 0, 0, 0
    with torch.inference_mode():
        for images, boxes in batches.epoch(first, count):
            found = network(images)
            for row in range(len(images)):
                mine = boxes[row][~boxes[row].isnan().any(1)]
                kept = found[row][:, found[row, 4] >= 0.4].T  # (N, 5)
                given = torch.cat([kept[:, :2] - kept[:, 2:4] / 2, kept[:, :2] + kept[:, 2:4] / 2], 1)
                table = _overlaps(given, mine)
                signs, hit = signs + len(mine), hit + int((table >= 0.5).any(0).sum())
                confident, right = confident + len(given), right + int((table >= 0.5).any(1).sum())
    return {"signs": signs, "recall": round(hit / max(1, signs), 4), "precision": round(right / max(1, confident), 4)}


def _overlaps(first: Tensor, second: Tensor) -> Tensor:
    low = torch.maximum(first[:, None, :2], second[None, :, :2])
    high = torch.minimum(first[:, None, 2:], second[None, :, 2:])
    shared = (high - low).clamp_min(0).prod(2)
    areas = [(boxes[:, 2:] - boxes[:, :2]).prod(1) for boxes in (first, second)]
    return shared / (areas[0][:, None] + areas[1][None] - shared).clamp_min(1e-6)
