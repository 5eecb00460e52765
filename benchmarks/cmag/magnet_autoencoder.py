"""MagNet (Meng and Chen, CCS 2017), the peer that CMAG is measured beside: an autoencoder of the picture itself."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from taintwatch_calibration.cmag.frames import CmagValues

__all__ = ["MAGNET_STATISTICS", "MagnetAutoencoder", "magnet_values", "train_magnet"]

MAGNET_STATISTICS = ("l1", "l2", "jsd10", "jsd40")
"""Reconstruction error in the l1 and l2 norm, and the Jensen-Shannon divergence of the classifier's softmax before
and after the autoencoder at temperatures 10 and 40."""


class MagnetAutoencoder(nn.Module):
    """(B, channels, S, S) in [0, 1] -> the same: the paper's small one (its Table 3), with `width` channels for 3."""

    def __init__(self, channels: int, width: int = 8) -> None:
        super().__init__()
        self.layers: nn.Module = nn.Sequential(
            nn.Conv2d(channels, width, 3, padding=1),
            nn.Sigmoid(),
            nn.AvgPool2d(2),
            nn.Conv2d(width, width, 3, padding=1),
            nn.Sigmoid(),
            nn.Conv2d(width, width, 3, padding=1),
            nn.Sigmoid(),
            nn.Upsample(scale_factor=2),
            nn.Conv2d(width, width, 3, padding=1),
            nn.Sigmoid(),
            nn.Conv2d(width, channels, 3, padding=1),
            nn.Sigmoid(),
        )

    def forward(self, pictures: Tensor) -> Tensor:
        made: Tensor = self.layers(pictures)
        return made


_NOISE = 0.1


def train_magnet(
    pictures: NDArray[np.float32],
    *,
    epochs: int = 20,
    seed: int = 0,
) -> MagnetAutoencoder:
    """Train on benign pictures with a little Gaussian noise added (Adam 1e-3, batches of 128, squared error)."""
    torch.manual_seed(seed)
    model = MagnetAutoencoder(pictures.shape[1])
    optimiser = torch.optim.Adam(model.parameters(), 1e-3)
    images = torch.from_numpy(pictures)
    for _ in range(epochs):
        for rows in torch.split(torch.randperm(len(images)), 128):
            clean = images[rows]
            loss = F.mse_loss(model((clean + _NOISE * torch.randn_like(clean)).clamp(0, 1)), clean)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
    return model.eval()


@torch.no_grad()
def magnet_values(
    model: MagnetAutoencoder, classifier: Callable[[Tensor], Tensor], pictures: NDArray[np.float32]
) -> CmagValues:
    """Return MagNet's statistics of each picture, in the form that thresholds are chosen on."""
    labels: list[NDArray[np.int64]] = []
    columns: dict[str, list[NDArray[np.float64]]] = {name: [] for name in MAGNET_STATISTICS}
    for start in range(0, len(pictures), 250):
        given = torch.from_numpy(pictures[start : start + 250])
        made = model(given)
        before, after = classifier(given), classifier(made)
        difference = (given - made).flatten(1)
        labels.append(before.argmax(1).numpy())
        found = (
            difference.abs().mean(1),
            difference.square().mean(1).sqrt(),
            _divergence(before / 10, after / 10),
            _divergence(before / 40, after / 40),
        )
        for name, values in zip(MAGNET_STATISTICS, found, strict=True):
            columns[name].append(values.double().numpy())
    return CmagValues(np.concatenate(labels), {name: np.concatenate(parts) for name, parts in columns.items()})


def _divergence(first: Tensor, second: Tensor) -> Tensor:
    """Return the Jensen-Shannon divergence of two softmaxes, (B,), in nats."""
    p, q = torch.softmax(first.double(), 1), torch.softmax(second.double(), 1)
    middle = ((p + q) / 2).clamp_min(1e-300)

    def relative(one: Tensor) -> Tensor:
        return (one * (one.clamp_min(1e-300).log() - middle.log())).sum(1)

    return (relative(p) + relative(q)) / 2
