"""The traffic-sign recogniser: a compact residual CNN, global average pooling and one linear layer."""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["INPUT_SIZE", "MEAN", "STD", "SignNet"]

INPUT_SIZE = 64
"""Side of the square input in pixels."""
MEAN = (0.34, 0.31, 0.32)
STD = (0.27, 0.26, 0.27)
"""Of the training crops, per channel (red, green, blue), pixels in [0, 1]."""


def _unit(channels_in: int, channels_out: int, size: int = 3, stride: int = 1) -> list[nn.Module]:
    convolution = nn.Conv2d(channels_in, channels_out, size, stride, size // 2, bias=False)
    return [convolution, nn.BatchNorm2d(channels_out), nn.ReLU(inplace=True)]


class _Residual(nn.Module):
    """Two convolutions around a skip (He et al., 2016, the basic block)."""

    def __init__(self, channels: int, size: int = 3) -> None:
        super().__init__()
        last = [nn.Conv2d(channels, channels, size, padding=size // 2, bias=False), nn.BatchNorm2d(channels)]
        self.branch = nn.Sequential(*_unit(channels, channels, size), *last)

    def forward(self, maps: Tensor) -> Tensor:
        return torch.relu(maps + self.branch(maps))


class SignNet(nn.Module):
    """(B, 3, 64, 64) normalised RGB -> (B, classes) logits.

    Normalised means (pixel / 255 - MEAN) / STD. The last maps are 8 x 8, after a ReLU; only global average
    pooling and one linear layer follow, so that the gradient of a logit with respect to them is a constant.
    `width` scales all channels. `last_kernel` is the size of the convolutions on the 8 x 8 maps: with 3 a cell sees
    the whole picture, with 1 only the 35 pixels around it, so that a patch reaches few cells.
    """

    def __init__(self, classes: int, width: int = 32, last_kernel: int = 3) -> None:
        super().__init__()
        self.maps = nn.Sequential(
            *_unit(3, width, stride=2),  # (B, w, 32, 32)
            *_unit(width, width),
            *_unit(width, 2 * width, stride=2),  # (B, 2w, 16, 16)
            _Residual(2 * width),
            *_unit(2 * width, 4 * width, stride=2),  # (B, 4w, 8, 8)
            _Residual(4 * width, last_kernel),
            _Residual(4 * width, last_kernel),
            *_unit(4 * width, 6 * width, size=1),  # (B, 6w, 8, 8)
        )
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.linear = nn.Linear(6 * width, classes)

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.linear(self.pool(self.maps(images)).flatten(1))
        return logits
