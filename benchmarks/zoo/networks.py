"""The networks of the zoo: three bodies, two kinds of head. Small enough for one core."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

__all__ = ["DenoisedPool", "build_network", "multiplications"]


def build_network(architecture: str, classes: int, width: int = 8) -> nn.Module:
    """Return the network `vgg`, `vgg_denoising`, `residual` or `fourteen`, its weights drawn from torch's global
    generator.

    `width` scales all channels. Input (B, 3, S, S) normalised RGB, output (B, classes) logits. Raises `KeyError`.
    """
    return _BODIES[architecture](classes, width)


def multiplications(network: nn.Module, size: int) -> int:
    """Return the multiply-adds of one forward of one picture of `size` x `size`, in convolutions and linear layers."""
    from torch.utils.flop_counter import FlopCounterMode

    network.eval()
    counter = FlopCounterMode(display=False)
    with counter, torch.no_grad():
        network(torch.zeros(1, 3, size, size))
    return int(counter.get_total_flops()) // 2


def _unit(channels_in: int, channels_out: int, stride: int = 1, size: int = 3) -> list[nn.Module]:
    convolution = nn.Conv2d(channels_in, channels_out, size, stride, size // 2, bias=False)
    return [convolution, nn.BatchNorm2d(channels_out), nn.ReLU(inplace=True)]


class _Residual(nn.Module):
    """The basic block of He et al. (2016): two convolutions around a skip, which is projected where shapes differ."""

    def __init__(self, channels_in: int, channels_out: int, stride: int = 1) -> None:
        super().__init__()
        last = [nn.Conv2d(channels_out, channels_out, 3, padding=1, bias=False), nn.BatchNorm2d(channels_out)]
        self.branch = nn.Sequential(*_unit(channels_in, channels_out, stride), *last)
        same = channels_in == channels_out and stride == 1
        projected = [nn.Conv2d(channels_in, channels_out, 1, stride, bias=False), nn.BatchNorm2d(channels_out)]
        self.skip = nn.Identity() if same else nn.Sequential(*projected)

    def forward(self, maps: Tensor) -> Tensor:
        return torch.relu(self.skip(maps) + self.branch(maps))


class DenoisedPool(nn.Module):
    """A 2 x 2 pool, then a feature denoising block (Xie et al., CVPR 2019): non-local means by dot product, around a
    skip.

    y_i = 1/N sum_j (x_i . x_j) x_j over the N cells, a 1 x 1 convolution, and x added. It begins as the pool alone: the
    scale of its last batch norm is 0.
    """

    def __init__(self, channels: int, side: int) -> None:
        super().__init__()
        self.channels, self.side = channels, side
        self.pool = nn.MaxPool2d(2)
        last = nn.BatchNorm2d(channels)
        self.block = nn.Sequential(nn.Conv2d(channels, channels, 1, bias=False), last)
        nn.init.zeros_(last.weight)

    def forward(self, maps: Tensor) -> Tensor:
        given: Tensor = self.pool(maps)
        changed: Tensor = self.block(self.denoised(given))
        return given + changed

    def denoised(self, maps: Tensor) -> Tensor:
        """Return the non-local means of maps (B, C, side, side)."""
        flat = maps.reshape(-1, self.channels, self.side * self.side)  # (B, C, N)
        alike = flat.transpose(1, 2) @ flat / (self.side * self.side)  # (B, N, N)
        return (flat @ alike).reshape(-1, self.channels, self.side, self.side)


def _pooled(channels: int, classes: int) -> list[nn.Module]:
    return [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, classes)]


def _vgg(classes: int, width: int, *, denoising: bool = False) -> nn.Module:
    """After VGG (Simonyan and Zisserman, 2015): stages of 3 x 3 convolutions and pools, then two linear layers.

    Batch norm behind each convolution (as torchvision's vgg16_bn) is folded into it on export.
    """
    w = width
    return nn.Sequential(
        *_unit(3, 2 * w),  # (B, 2w, 64, 64)
        nn.MaxPool2d(2),
        *_unit(2 * w, 4 * w),  # (B, 4w, 32, 32)
        DenoisedPool(4 * w, 16) if denoising else nn.MaxPool2d(2),
        *_unit(4 * w, 8 * w),  # (B, 8w, 16, 16)
        *_unit(8 * w, 8 * w),
        DenoisedPool(8 * w, 8) if denoising else nn.MaxPool2d(2),
        *_unit(8 * w, 12 * w),  # (B, 12w, 8, 8)
        *_unit(12 * w, 12 * w),  # the last maps
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Dropout(0.3),
        nn.Linear(12 * w * 16, 32 * w),
        nn.ReLU(inplace=True),
        nn.Linear(32 * w, classes),
    )


def _residual(classes: int, width: int) -> nn.Module:
    """After ResNet (He et al., 2016): 112 x 112 in, last maps 7 x 7, global average pooling, one linear layer."""
    w = width
    return nn.Sequential(
        *_unit(3, 2 * w, stride=2),  # (B, 2w, 56, 56)
        nn.MaxPool2d(3, 2, padding=1),
        _Residual(2 * w, 4 * w),  # (B, 4w, 28, 28)
        _Residual(4 * w, 8 * w, stride=2),  # (B, 8w, 14, 14)
        _Residual(8 * w, 16 * w, stride=2),  # (B, 16w, 7, 7)
        _Residual(16 * w, 16 * w),
        *_pooled(16 * w, classes),
    )


def _fourteen(classes: int, width: int) -> nn.Module:
    """Plain convolutions with batch norm, stride 8 in all: 112 x 112 in, last maps 14 x 14, global average pooling."""
    w = width
    return nn.Sequential(
        *_unit(3, 2 * w, stride=2),  # (B, 2w, 56, 56)
        *_unit(2 * w, 4 * w, stride=2),  # (B, 4w, 28, 28)
        *_unit(4 * w, 4 * w),
        *_unit(4 * w, 8 * w, stride=2),  # (B, 8w, 14, 14)
        *_unit(8 * w, 8 * w),
        *_unit(8 * w, 8 * w),
        *_unit(8 * w, 16 * w),  # the last maps
        *_pooled(16 * w, classes),
    )


_BODIES: dict[str, Callable[[int, int], nn.Module]] = {
    "fourteen": _fourteen,
    "residual": _residual,
    "vgg": _vgg,
    "vgg_denoising": partial(_vgg, denoising=True),
}
