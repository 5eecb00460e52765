"""How good a network of the zoo is on pictures that it was not trained on."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from benchmarks.signs.erasing import erase
from benchmarks.signs.evaluate import accuracy_report, predict
from benchmarks.zoo.pictures import Dataset

__all__ = ["kept_when_erased", "measure_network"]

_CPU = torch.device("cpu")
_AT_ONCE = 250


def measure_network(
    network: nn.Module, dataset: Dataset, images: NDArray[np.uint8], labels: NDArray[np.int64], names: tuple[str, ...]
) -> dict[str, Any]:
    """Return the accuracy, in all and by class, and `kept_when_erased`; JSON-ready."""
    predicted = predict(network, images, _CPU, mean=dataset.mean, std=dataset.std)
    return {
        **accuracy_report(predicted, labels, names),
        "kept_when_erased": kept_when_erased(
            network, dataset, images[predicted == labels], labels[predicted == labels]
        ),
    }


def kept_when_erased(
    network: nn.Module, dataset: Dataset, images: NDArray[np.uint8], labels: NDArray[np.int64]
) -> float | None:
    """Return the share of `images` (N, H, W, 3) that are given their label when one or two regions are filled.

    Regions and fills are those of occlusion training (`signs.erasing`), from a fixed seed. None where N is 0.
    """
    generator = torch.Generator().manual_seed(0)
    kept = 0
    for start in range(0, len(images), _AT_ONCE):
        part = torch.from_numpy(images[start : start + _AT_ONCE]).permute(0, 3, 1, 2).float() / 255  # (B, 3, H, W)
        erased = erase(part, torch.ones(len(part), dtype=torch.bool), generator, dataset.mean)
        filled = (erased * 255).round().byte().permute(0, 2, 3, 1).numpy()  # (B, H, W, 3)
        found = predict(network, filled, _CPU, mean=dataset.mean, std=dataset.std)
        kept += int((found == labels[start : start + _AT_ONCE]).sum())
    return round(kept / len(images), 4) if len(images) else None
