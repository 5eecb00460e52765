"""Accuracy of the recogniser, in all and by class."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from benchmarks.signs.network import MEAN, STD

__all__ = ["accuracy_report", "normalised", "predict"]


def normalised(images: Tensor, mean: Sequence[float] = MEAN, std: Sequence[float] = STD) -> Tensor:
    """(B, 3, H, W) in [0, 1] -> what the network takes, channels last in memory."""
    centre, scale = (torch.tensor(v, device=images.device)[None, :, None, None] for v in (mean, std))
    return ((images - centre) / scale).contiguous(memory_format=torch.channels_last)


@torch.no_grad()
def predict(
    network: nn.Module,
    images: NDArray[np.uint8],
    device: torch.device,
    batch: int = 250,
    mean: Sequence[float] = MEAN,
    std: Sequence[float] = STD,
) -> NDArray[np.int64]:
    """Return the top label of each picture (N, H, W, 3): (N,)."""
    network.eval()
    labels: list[Tensor] = []
    for start in range(0, len(images), batch):
        pixels = torch.from_numpy(images[start : start + batch]).to(device).permute(0, 3, 1, 2).float() / 255
        labels.append(network(normalised(pixels, mean, std)).argmax(dim=1).cpu())
    return torch.cat(labels).numpy().astype(np.int64) if labels else np.zeros(0, np.int64)


def accuracy_report(predicted: NDArray[np.int64], truth: NDArray[np.int64], names: tuple[str, ...]) -> dict[str, Any]:
    """Return `accuracy`, `correct`, `total` and `by_class` (name: correct, total, accuracy), JSON-ready."""
    by_class = {}
    for index, name in enumerate(names):
        chosen = truth == index
        total, correct = int(chosen.sum()), int((predicted[chosen] == index).sum())
        if total:
            by_class[name] = {"correct": correct, "total": total, "accuracy": round(correct / total, 4)}
    correct, total = int((predicted == truth).sum()), len(truth)
    return {
        "accuracy": round(correct / total, 4) if total else None,
        "correct": correct,
        "total": total,
        "by_class": by_class,
    }
