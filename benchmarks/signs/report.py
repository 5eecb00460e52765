"""The metrics of a trained recogniser, with what it was trained on."""

from __future__ import annotations

import platform
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from benchmarks.signs.cards import card_image
from benchmarks.signs.dataset import LabelledImages
from benchmarks.signs.evaluate import accuracy_report, predict
from benchmarks.signs.material import Material
from benchmarks.signs.network import SignNet
from benchmarks.signs.occlusion import kept_after_fill

__all__ = ["machine", "measure", "measure_one"]

_CARD_SHARE = 0.85
_THRESHOLDS = (0.4, 0.6, 0.8)


def measure_one(
    network: nn.Module, data: LabelledImages, classes: tuple[int, ...], labels: tuple[str, ...], device: torch.device
) -> dict[str, Any]:
    """Return the accuracy on those of `data` whose class is in use, as `accuracy_report` does."""
    chosen = data.subset(np.isin(data.labels, classes))
    truth = np.array([classes.index(int(label)) for label in chosen.labels], np.int64)
    return accuracy_report(predict(network, chosen.images, device), truth, labels)


def measure(
    network: SignNet, material: Material, classes: tuple[int, ...], labels: tuple[str, ...], device: torch.device
) -> dict[str, Any]:
    """Return the accuracy on `test`, `validation`, rendered `cards` and, where there are any, `empty_scenes`.

    For `test` also `kept_after_fill`: saliency threshold of the critical region -> share that keeps its
    label when it is filled.
    """
    numbers = np.array(classes, np.int64)
    cards = np.stack([card_image(index, _CARD_SHARE)[..., :3] for index in classes])
    parts = {
        "test": material.test,
        "validation": material.validation,
        "cards": LabelledImages(cards, numbers, numbers),
    }
    found = {name: measure_one(network, data, classes, labels, device) for name, data in parts.items()}
    if len(material.empty_scenes):
        predicted = predict(network, material.empty_scenes, device)
        found["empty_scenes"] = accuracy_report(predicted, np.full_like(predicted, len(classes)), labels)
    chosen = material.test.subset(np.isin(material.test.labels, classes))
    truth = np.array([classes.index(int(label)) for label in chosen.labels], np.int64)
    found["test"]["kept_after_fill"] = {
        str(threshold): kept_after_fill(network, chosen.images, truth, threshold, device) for threshold in _THRESHOLDS
    }
    return found


def machine(device: torch.device) -> dict[str, str]:
    """Return what it was trained on."""
    return {"processor": _processor(), "device": str(device), "torch": torch.__version__}


def _processor() -> str:
    information = Path("/proc/cpuinfo")
    if information.is_file():
        for line in information.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()
