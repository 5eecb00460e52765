"""The networks as Torch modules: FMR from maps, LR from the softmax, GR from the product of both, and two of ours."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from taintwatch_calibration.cmag.student import Student
from taintwatch_models.errors import UsageError

__all__ = ["ErrorScale", "Reconstructors", "Shape", "fine_part"]


@dataclass(frozen=True, slots=True)
class Shape:
    """What the reconstructors are built for. The decoders are sized from it."""

    channels: int
    """Of the classifier's last maps."""
    cells: tuple[int, int]
    """Height and width of the last maps."""
    classes: int
    size: int
    """Side of the square reconstruction in pixels: 16 to 128, divisible by 4."""
    colours: int = 3
    width: int = 24
    """Channels at the lowest resolution; halved with each doubling of it."""
    bottleneck: int | None = None
    """Channels that the maps are squeezed to first; None: as many as `width`."""
    temperature: float = 0.5
    """LR sees softmax(Z / T); below 1 sharpens it."""
    light: bool = False
    """No convolution at the full resolution: the last one gives four pixels at a time. For every frame of a camera."""

    def __post_init__(self) -> None:
        if not 16 <= self.size <= 128 or self.size % 4:
            raise UsageError(f"the reconstruction's size must be 16 to 128 pixels and divisible by 4, not {self.size}")
        if self.temperature <= 0:
            raise UsageError(f"the temperature must be above 0, not {self.temperature}")
        if min(self.width, self.bottleneck or 1) < 1:
            raise UsageError("the reconstructors' width and bottleneck must be at least 1 channel")


def _unit(channels_in: int, channels_out: int, *, stride: int = 1) -> list[nn.Module]:
    return [
        nn.Conv2d(channels_in, channels_out, 3, stride, 1, bias=False),
        nn.BatchNorm2d(channels_out),
        nn.ReLU(),
    ]


def _double(channels_in: int, channels_out: int) -> list[nn.Module]:
    """Twice the resolution: a convolution at the low one, then cells are unfolded (Shi et al., 2016)."""
    return [*_unit(channels_in, 4 * channels_out), nn.PixelShuffle(2)]


def _picture(channels: int, colours: int, *, light: bool) -> list[nn.Module]:
    """The last layer: at the picture's resolution, or at half of it with four pixels in each cell."""
    if light:
        return [nn.Conv2d(channels, 4 * colours, 3, padding=1), nn.PixelShuffle(2)]
    return [nn.Conv2d(channels, colours, 3, padding=1)]


class _Grid(nn.Module):
    """(B, channels * h * w) -> (B, channels, h, w): `nn.Unflatten` would be exported as five nodes."""

    def __init__(self, channels: int, height: int, width: int) -> None:
        super().__init__()
        self._shape = (-1, channels, height, width)

    def forward(self, values: Tensor) -> Tensor:
        return values.reshape(self._shape)


class _Decoder(nn.Module):
    """(B, channels, h, w) -> (B, colours, size, size) in [0, 1]."""

    def __init__(self, channels: int, cells: tuple[int, int], shape: Shape) -> None:
        super().__init__()
        self._size = shape.size
        doublings = max(0, math.ceil(math.log2(shape.size / max(cells))))
        steps, width = _unit(channels, shape.width), shape.width
        light = shape.light and doublings > 0
        for _ in range(doublings - 1 if light else doublings):
            narrower = max(8, width // 2)
            steps += _double(width, narrower)
            width = narrower
        self.steps = nn.Sequential(*steps, *_picture(width, shape.colours, light=light))
        self._resize = tuple(side * 2**doublings for side in cells) != (shape.size, shape.size)

    def forward(self, maps: Tensor) -> Tensor:
        picture = self.steps(maps)
        if self._resize:
            picture = F.interpolate(picture, size=(self._size, self._size), mode="bilinear", align_corners=False)
        return torch.sigmoid(picture)


class _Refiner(nn.Module):
    """(B, colours, size, size) -> the same, in [0, 1]: down to a quarter of the side and up again."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        width, colours = shape.width, shape.colours
        narrow = max(8, width // 2)
        if shape.light:
            self.down = nn.Sequential(
                nn.Conv2d(colours, width, 4, stride=4, bias=False), nn.BatchNorm2d(width), nn.ReLU()
            )
            self.up = nn.Sequential(
                *_unit(width, width), *_double(width, narrow), *_picture(narrow, colours, light=True)
            )
            return
        self.down = nn.Sequential(nn.PixelUnshuffle(2), *_unit(4 * colours, width), *_unit(width, 2 * width, stride=2))
        self.up = nn.Sequential(
            *_unit(2 * width, 2 * width),
            *_double(2 * width, width),
            *_double(width, narrow),
            *_picture(narrow, colours, light=False),
        )

    def forward(self, picture: Tensor) -> Tensor:
        return torch.sigmoid(self.up(self.down(picture)))


def fine_part(difference: Tensor) -> Tensor:
    """Return what is left of (B, C, H, W) without its mean over 3 x 3 pixels: noise and edges, no shading."""
    return difference - F.avg_pool2d(F.pad(difference, (1, 1, 1, 1), mode="replicate"), 3, stride=1)


class ErrorScale(nn.Module):
    """What error to expect where: FMR's and GR's pictures -> (B, 2 * colours, size, size), log of its variance.

    The first half is for the difference of picture and GR, the second for its fine part. It sees the reconstructions
    only, never the picture: an even patch of a reconstruction promises an even patch of the picture, and a
    perturbation there stands out by far, which no error averaged over benign pictures shows.
    """

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.steps = nn.Sequential(
            nn.PixelUnshuffle(2),
            nn.Conv2d(8 * shape.colours, 16, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(16, 8 * shape.colours, 3, padding=1),
            nn.PixelShuffle(2),
        )

    def forward(self, by_maps: Tensor, made: Tensor) -> Tensor:
        expected: Tensor = self.steps(torch.cat([by_maps, made], dim=1))
        return expected.clamp(-12.0, 2.0)


class Reconstructors(nn.Module):
    """FMR, LR and GR (Han et al., 2021) of one classifier; the scale of GR's errors, and a student (ours)."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        squeezed = shape.bottleneck or shape.width
        self.squeeze = nn.Sequential(nn.Conv2d(shape.channels, squeezed, 1, bias=False), nn.BatchNorm2d(squeezed))
        self.fmr = nn.Sequential(self.squeeze, _Decoder(squeezed, shape.cells, shape))
        height, width = shape.cells
        self.lr = nn.Sequential(
            nn.Linear(shape.classes, shape.width * height * width),
            nn.ReLU(),
            _Grid(shape.width, height, width),
            _Decoder(shape.width, shape.cells, shape),
        )
        self.gr = _Refiner(shape)
        self.scale = ErrorScale(shape)
        self.student = Student(shape.classes, shape.colours, shape.size)

    def probabilities(self, logits: Tensor) -> Tensor:
        """softmax(Z / T), (B, classes)."""
        return torch.softmax(logits / self.shape.temperature, dim=1)

    def forward(self, features: Tensor, logits: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return FMR's, LR's and GR's pictures, each (B, colours, size, size) in [0, 1]."""
        by_maps = self.fmr(features)
        by_logits = self.lr(self.probabilities(logits))
        return by_maps, by_logits, self.gr(by_maps * by_logits)
