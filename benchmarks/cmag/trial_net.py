"""The small classifiers that CMAG is measured on, and their training."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from benchmarks.cmag.trial_data import TrialData
from benchmarks.signs.augment import uniform

__all__ = ["TrialNet", "run_network", "train_network"]


def _unit(channels_in: int, channels_out: int, stride: int = 1) -> list[nn.Module]:
    convolution = nn.Conv2d(channels_in, channels_out, 3, stride, 1, bias=False)
    return [convolution, nn.BatchNorm2d(channels_out), nn.ReLU()]


class TrialNet(nn.Module):
    """(B, channels, S, S) in [0, 1] -> (B, classes) logits.

    Last maps S/4 x S/4 after a ReLU, averaged over 4 x 4 places, then linear.
    """

    def __init__(self, channels: int, classes: int, width: int = 16) -> None:
        super().__init__()
        self.maps = nn.Sequential(
            *_unit(channels, width),
            *_unit(width, 2 * width, stride=2),
            *_unit(2 * width, 2 * width),
            *_unit(2 * width, 4 * width, stride=2),
            *_unit(4 * width, 4 * width),
        )
        self.head = nn.Sequential(
            nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Dropout(0.3), nn.Linear(64 * width, classes)
        )

    def features(self, images: Tensor) -> Tensor:
        """The last convolutional maps, (B, 4 * width, S/4, S/4)."""
        maps: Tensor = self.maps((images - 0.5) * 2)
        return maps

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.head(self.features(images))
        return logits


def train_network(
    data: TrialData, *, epochs: int = 14, seed: int = 0, width: int = 16, report: Callable[[str], None] = print
) -> TrialNet:
    """Train a classifier with small shifts (and, for clothes, mirrored pictures); signs are varied more."""
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    net = TrialNet(data.train.shape[1], data.classes, width)
    images, labels = torch.from_numpy(data.train), torch.from_numpy(data.train_labels)
    batch = 100
    steps = epochs * (len(images) // batch)
    optimiser = torch.optim.AdamW(net.parameters(), 5e-3, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 5e-3, total_steps=steps)
    for epoch in range(epochs):
        net.train()
        order = torch.randperm(len(images), generator=generator)
        for rows in torch.split(order, batch):
            if len(rows) < batch:
                continue
            if data.name == "gtsrb":
                moved = _varied(images[rows], generator)
            else:
                moved = _shifted(images[rows], generator, mirror=data.name == "fashion")
            loss = F.cross_entropy(net(moved), labels[rows])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
        accuracy = float((run_network(net, data.validation)[0].argmax(1) == data.validation_labels).mean())
        report(f"{data.name}: classifier epoch {epoch + 1} of {epochs}, validation accuracy {accuracy:.3f}")
    return net.eval()


def _shifted(images: Tensor, generator: torch.Generator, *, mirror: bool) -> Tensor:
    """Move each batch by up to two pixels, and mirror half of them where that is allowed."""
    dy, dx = (int(v) for v in torch.randint(-2, 3, (2,), generator=generator))
    moved = torch.roll(F.pad(images, (2, 2, 2, 2), mode="replicate"), (dy, dx), (2, 3))[:, :, 2:-2, 2:-2]
    if mirror and torch.rand(1, generator=generator) < 0.5:
        moved = moved.flip(3)
    return moved


def _varied(images: Tensor, generator: torch.Generator) -> Tensor:
    """Turn, scale, move and light each picture by itself: few tracks show each sign, and crops of one are alike."""
    count = len(images)
    angle = uniform(generator, -0.2, 0.2, count)
    scale = uniform(generator, 0.8, 1.15, count)  # of the grid: below 1 enlarges
    matrix = torch.zeros(count, 2, 3)
    matrix[:, 0, 0] = matrix[:, 1, 1] = torch.cos(angle) * scale
    matrix[:, 0, 1], matrix[:, 1, 0] = -torch.sin(angle) * scale, torch.sin(angle) * scale
    matrix[:, :, 2] = uniform(generator, -0.15, 0.15, count, 2)
    grid = F.affine_grid(matrix, list(images.shape), align_corners=False)
    moved = F.grid_sample(images, grid, padding_mode="border", align_corners=False)
    gain, level = uniform(generator, 0.5, 1.4, count, 1, 1, 1), uniform(generator, -0.1, 0.15, count, 1, 1, 1)
    noise = torch.randn(images.shape, generator=generator) * uniform(generator, 0, 0.06, count, 1, 1, 1)
    return (moved * gain + level + noise).clamp(0, 1)


@torch.no_grad()
def run_network(
    net: TrialNet, images: NDArray[np.float32], batch: int = 250
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return logits (N, classes) and last maps (N, channels, h, w), both float32."""
    net.eval()
    logits, maps = [], []
    for start in range(0, len(images), batch):
        features = net.features(torch.from_numpy(images[start : start + batch]))
        maps.append(features.numpy())
        logits.append(net.head(features).numpy())
    return np.concatenate(logits), np.concatenate(maps)
