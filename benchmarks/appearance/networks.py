"""The networks that patterns are crafted on; the detection bench takes no patch from any of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks import zoo
from benchmarks.zoo.imagenette import PATTERN_NETWORKS
from benchmarks.zoo.imagenette import load_or_train as load_or_train_imagenette
from benchmarks.zoo.lite import exported_lite
from taintwatch_calibration.craft.materials import load_classifier
from taintwatch_models.radar_file import RadarFile

__all__ = ["LARGE", "NETWORKS", "load_pattern_network"]

_LITE = {"efficientnet_lite0": (0, 128), "efficientnet_lite2": (2, 224)}
"""Number and side. Pretrained on ImageNet (Liu, 2020), from PyPI: what is crafted on a thousand classes looks other
than on ten."""
LARGE = "efficientnet_lite2"
"""Patterns of it are slow to craft, so there are fewer; the close-up's network alone has learnt from them."""
NETWORKS = (
    "objects_14_occluded", "objects_residual_occluded", "signs_backdoor", "signs_vgg_occluded", "vit_small",
    "efficientnet_lite0",
)  # fmt: skip


def load_pattern_network(
    name: str, data: Path, work: Path, report: Callable[[str], None]
) -> tuple[RadarFile, NDArray[np.uint8]]:
    """Return a network, trained in WORK where it is not there yet, and the pictures (n, h, w, 3) to craft on; RGB.

    Raises `UsageError` where data or the package with pretrained weights is missing.
    """
    if name in _LITE:
        path = exported_lite(*_LITE[name], work)
    elif name in PATTERN_NETWORKS:
        path = load_or_train_imagenette(name, data, work, report=report)
    else:
        path = zoo.load_or_train(name, data, work, report=report)
    alike = name if name.startswith("signs") else "objects_14"
    return load_classifier(str(path)), zoo.training_pictures(alike, data)[0]
