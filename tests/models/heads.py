"""Small Torch classifiers, one for each kind of head that `model prepare` supports, exported to ONNX on the spot."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from taintwatch_models.model_description import ModelDescription
from taintwatch_models.preprocessing import Preprocessing

__all__ = ["CLASSES", "DESCRIPTION", "HEADS", "SIZE", "export", "make"]

SIZE = 32
CLASSES = 20
DESCRIPTION = ModelDescription(Preprocessing((SIZE, SIZE), mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5)))


def _maps(channels: int = 24) -> list[nn.Module]:
    return [nn.Conv2d(3, 16, 3, 2, 1), nn.BatchNorm2d(16), nn.ReLU(), nn.Conv2d(16, channels, 3, 2, 1), nn.ReLU()]


class Mean(nn.Module):
    """Global average pooling written as a mean."""

    def forward(self, x: Tensor) -> Tensor:
        return x.mean((2, 3))


class Residual(nn.Module):
    """A residual block: its last convolution is not the last op of the maps."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(*_maps())
        self.block = nn.Sequential(nn.Conv2d(24, 24, 3, 1, 1), nn.BatchNorm2d(24))
        self.head = nn.Linear(24, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        return self.head(torch.relu(x + self.block(x)).mean((2, 3)))  # type: ignore[no-any-return]


HEADS: dict[str, Callable[[], list[nn.Module]]] = {
    "global average pooling and linear": lambda: [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(24, CLASSES)],
    "mean and linear": lambda: [Mean(), nn.Linear(24, CLASSES)],
    "pooling and a 1x1 convolution": lambda: [nn.AdaptiveAvgPool2d(1), nn.Conv2d(24, CLASSES, 1), nn.Flatten()],
    "max-pool and three layers (VGG)": lambda: [
        nn.MaxPool2d(2), nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(24 * 16, 32), nn.ReLU(), nn.Dropout(),
        nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, CLASSES),
    ],
    "overlapping max-pool and two layers (AlexNet)": lambda: [
        nn.MaxPool2d(3, 2), nn.Flatten(), nn.Linear(24 * 9, 32), nn.ReLU(), nn.Linear(32, CLASSES),
    ],
    "convolution, then pool (SqueezeNet)": lambda: [
        nn.Dropout(), nn.Conv2d(24, CLASSES, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
    ],
    "depthwise global convolution, batch norm, linear, identities (faces)": lambda: [
        nn.Conv2d(24, 24, 8, groups=24), nn.BatchNorm2d(24), nn.Flatten(), nn.Linear(24, 32), nn.BatchNorm1d(32),
        nn.Linear(32, CLASSES),
    ],
    "hard-swish between layers (MobileNetV3)": lambda: [
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(24, 16), nn.Hardswish(), nn.Linear(16, CLASSES),
    ],
    "average pool and linear": lambda: [nn.AvgPool2d(2), nn.Flatten(), nn.Linear(24 * 16, CLASSES)],
    "global max-pool and linear": lambda: [nn.AdaptiveMaxPool2d(1), nn.Flatten(), nn.Linear(24, CLASSES)],
    "strided convolution over the maps": lambda: [
        nn.AvgPool2d(2), nn.Conv2d(24, 16, 4), nn.SiLU(), nn.Flatten(), nn.Linear(16, CLASSES),
    ],
    "leaky layers, sigmoid and tanh": lambda: [
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(24, 16), nn.LeakyReLU(0.2), nn.Linear(16, 16), nn.Sigmoid(),
        nn.Linear(16, 16), nn.Tanh(), nn.Linear(16, CLASSES),
    ],
}  # fmt: skip


def make(kind: str, seed: int = 0) -> nn.Module:
    """Return a classifier with that head (or `residual`), random but lively weights, in inference mode."""
    torch.manual_seed(seed)
    model: nn.Module = Residual() if kind == "residual" else nn.Sequential(*_maps(), *HEADS[kind]())
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                module.weight.mul_(2.0)  # logits several units apart, as a trained network's
            if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
                assert module.running_mean is not None
                assert module.running_var is not None
                module.running_mean.normal_(0, 0.3)
                module.running_var.uniform_(0.5, 2)
    return model.eval()


def export(model: nn.Module, path: Path, *, batch: bool = True, opset: int = 17) -> Path:
    """Write `model` as ONNX with a dynamic batch (or a fixed one of 1)."""
    axes = {"input": {0: "batch"}, "logits": {0: "batch"}} if batch else None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter's own deprecations
        torch.onnx.export(
            model,
            (torch.zeros(1, 3, SIZE, SIZE),),
            str(path),
            opset_version=opset,
            dynamo=False,
            input_names=["input"],
            output_names=["logits"],
            dynamic_axes=axes,
        )
    return path
