"""A dozen kinds of networks, small, exported on the spot: each is prepared as it is, and right."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from torch import nn
from torchvision import models
from torchvision.models.convnext import CNBlockConfig, ConvNeXt
from torchvision.models.efficientnet import EfficientNet, MBConvConfig
from torchvision.models.regnet import BlockParams, RegNet
from torchvision.models.resnet import Bottleneck

from benchmarks.architectures.cases import ExportCase
from benchmarks.architectures.exports import EXPORTERS
from benchmarks.architectures.measured_code import code_digest
from benchmarks.architectures.rows import NOT_EXPORTED, Row, measure, summary, table
from benchmarks.architectures.torch_networks import CLASSES, TorchNetwork, lively


def efficientnet() -> nn.Module:
    blocks = [MBConvConfig(1, 3, 1, 8, 8, 1, 1.0, 1.0), MBConvConfig(4, 3, 2, 8, 16, 2, 1.0, 1.0)]
    return EfficientNet(blocks, 0.0, num_classes=CLASSES)  # type: ignore[no-any-return]


def regnet() -> nn.Module:
    sizes = BlockParams.from_init_params(4, 16, 16.0, 2.0, 8, se_ratio=0.25)
    return RegNet(sizes, num_classes=CLASSES)  # type: ignore[no-any-return]


def swin() -> nn.Module:
    return models.SwinTransformer([4, 4], 16, [1, 2], [2, 4], [4, 4], num_classes=CLASSES)  # type: ignore[no-any-return]


def maxvit() -> nn.Module:
    made: Any = models.MaxVit((32, 32), 8, 2, [8, 16], [1, 1], 4, 0.0, num_classes=CLASSES)
    network: nn.Module = made
    return network


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "ResNeXt": partial(models.ResNet, Bottleneck, [1, 1, 1, 1], num_classes=CLASSES, groups=8, width_per_group=4),
    "DenseNet": partial(models.DenseNet, 8, (2, 2), 16, num_classes=CLASSES),
    "MobileNetV2": partial(models.mobilenet_v2, width_mult=0.25, num_classes=CLASSES),
    "MobileNetV3": partial(models.mobilenet_v3_small, width_mult=0.25, num_classes=CLASSES),
    "MNASNet": partial(models.MNASNet, 0.25, num_classes=CLASSES),
    "ShuffleNetV2": partial(models.ShuffleNetV2, [1, 1, 1], [8, 16, 32, 64, 64], num_classes=CLASSES),
    "SqueezeNet": partial(models.SqueezeNet, "1_1", num_classes=CLASSES),
    "EfficientNet": efficientnet,
    "RegNet": regnet,
    "ConvNeXt": partial(ConvNeXt, [CNBlockConfig(16, 32, 1), CNBlockConfig(32, None, 1)], num_classes=CLASSES),
    "Swin": swin,
    "MaxViT": maxvit,
}


@pytest.mark.parametrize("name", list(NETWORKS))
def test_networks_are_prepared_as_they_are_exported(name: str, tmp_path: Path) -> None:
    side = 32 if name in ("MaxViT", "Swin") else 64
    network = TorchNetwork("torchvision", name, side, NETWORKS[name])
    case = ExportCase(
        "torchvision", name, "legacy", side, lambda path: EXPORTERS["legacy"](lively(network), side, path)
    )
    row = measure(case, tmp_path)
    assert row.outcome == "right", row
    assert row.tight_ratio is not None
    assert row.code == code_digest()


def test_the_table_counts_what_was_exported_and_what_became_of_it() -> None:
    rows = [
        Row("a", "one", "default", "right", code=code_digest()),
        Row("a", "one", "legacy", "its head sorts; it has no rule"),
        Row("b", "two", "default", f"{NOT_EXPORTED}RuntimeError"),
    ]
    counts = {"tried": 3, "exported": 2, "accepted": 1, "right": 1, "wrong": 0, "refused": 1}
    assert summary(rows) == counts | {"measured_with_other_code": 2}
    assert table(rows).splitlines()[-1] == "| all | 1 | 2 | 1 | 1 | 1 |"
