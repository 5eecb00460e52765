"""The sign finder's network: small, anchor-free, one level of cells of 8 pixels with the sight of 32."""

from __future__ import annotations

import io
import warnings
from pathlib import Path

import torch
from torch import Tensor, nn

from taintwatch_models.storage import write_atomically

__all__ = ["CELL", "INPUT", "FinderNet", "centres", "corners", "write_finder"]

INPUT = (144, 192)
"""Height and width of the input, pixels."""
CELL = 8
_OPSET = 17


def _unit(before: int, after: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(before, after, 3, stride=stride, padding=1, bias=False), nn.BatchNorm2d(after), nn.ReLU(inplace=True)
    )


def _separable(before: int, after: int, stride: int = 1, size: int = 3) -> nn.Sequential:
    """A convolution for each channel, and one that mixes them (MobileNet: Howard et al., 2017)."""
    return nn.Sequential(
        nn.Conv2d(before, before, size, stride=stride, padding=size // 2, groups=before, bias=False),
        nn.BatchNorm2d(before),
        nn.ReLU(inplace=True),
        nn.Conv2d(before, after, 1, bias=False),
        nn.BatchNorm2d(after),
        nn.ReLU(inplace=True),
    )


class _Residual(nn.Module):
    def __init__(self, channels: int, size: int = 3) -> None:
        super().__init__()
        self.branch = _separable(channels, channels, size=size)

    def forward(self, maps: Tensor) -> Tensor:
        found: Tensor = maps + self.branch(maps)
        return found


class FinderNet(nn.Module):
    """(B, 3, 144, 192) RGB in [0, 1] -> (B, 5, 432): centre x, centre y, width, height in pixels, and the score.

    The layout of YOLOv8 with one class. Each cell of 8 x 8 pixels says by how much a sign reaches to its left, top,
    right and bottom (FCOS: Tian et al., 2019); what a sign is, is seen at 8, 16 and 32 pixels a cell.
    """

    def __init__(self) -> None:
        super().__init__()
        self.eighth = nn.Sequential(_unit(3, 16, 2), _unit(16, 24, 2), _unit(24, 32, 2), _Residual(32), _Residual(32))
        self.sixteenth = nn.Sequential(_separable(32, 48, 2), _Residual(48), _Residual(48))
        self.thirtysecond = nn.Sequential(_separable(48, 64, 2), _Residual(64, 5))
        self.from_sixteenth = nn.Conv2d(48, 32, 1)
        self.from_thirtysecond = nn.Conv2d(64, 48, 1)
        self.merge = _Residual(48)
        self.neck = nn.Sequential(_Residual(32, 5), _separable(32, 32, size=5))
        self.head = nn.Conv2d(32, 5, 1)
        self.enlarge = nn.Upsample(scale_factor=2, mode="nearest")
        with torch.no_grad():  # few cells lie on a sign (focal loss: Lin et al., 2017)
            self.head.bias = nn.Parameter(torch.tensor([-4.0, 0.0, 0.0, 0.0, 0.0]))
        self.register_buffer("cells", centres(), persistent=False)

    def raw(self, images: Tensor) -> Tensor:
        """Return score logits and the logarithms of left, top, right and bottom in cells: (B, 5, 432)."""
        eighth = self.eighth(images)
        sixteenth = self.sixteenth(eighth)
        wide = self.merge(sixteenth + _fitting(self.enlarge(self.from_thirtysecond(self.thirtysecond(sixteenth)))))
        found: Tensor = self.head(self.neck(eighth + self.enlarge(self.from_sixteenth(wide))))
        return found.flatten(2)

    def forward(self, images: Tensor) -> Tensor:
        raw = self.raw(images)
        box = corners(raw, self.get_buffer("cells"))
        low, high = box[:, :2], box[:, 2:]
        return torch.cat([(low + high) / 2, high - low, raw[:, :1].sigmoid()], dim=1)


def _fitting(maps: Tensor) -> Tensor:
    """Cut what 5 x 6 cells became by doubling, 10 x 12, to the 9 x 12 of the level before."""
    return maps[:, :, : INPUT[0] // 16, : INPUT[1] // 16]


def centres() -> Tensor:
    """Return the middle of every cell, row by row: (2, 432), x and y in pixels."""
    rows, columns = INPUT[0] // CELL, INPUT[1] // CELL
    y, x = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
    return (torch.stack([x.flatten(), y.flatten()]).float() + 0.5) * CELL


def corners(raw: Tensor, cells: Tensor) -> Tensor:
    """Return left, top, right and bottom in pixels of what each cell says: (B, 4, 432)."""
    reach = raw[:, 1:].clamp(-4, 4).exp() * CELL
    return torch.cat([cells - reach[:, :2], cells + reach[:, 2:]], dim=1)


def write_finder(network: nn.Module, path: Path) -> None:
    """Export the network, opset 17, one picture at a time, and beside it what it takes and finds (TOML)."""
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        # The traced exporter is said to be on its way out; the new one gives no opset below 18.
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.onnx.export(
            network.eval(),
            (torch.zeros(1, 3, *INPUT),),
            buffer,  # type: ignore[arg-type]  # the traced exporter takes any binary stream
            input_names=["images"],
            output_names=["output"],
            opset_version=_OPSET,
            dynamo=False,  # folds batch norms into the convolutions
        )
    write_atomically(path, buffer.getvalue())
    write_atomically(
        path.with_suffix(".toml"),
        (
            '# Made by `python -m benchmarks.street`; see docs/street.md.\nlabels = ["traffic sign"]\n\n'
            f'[preprocessing]\nsize = [{INPUT[0]}, {INPUT[1]}]\nresize = "pad"\norder = "rgb"\nscale = 255.0\n'
            "mean = [0.0, 0.0, 0.0]\nstd = [1.0, 1.0, 1.0]\nmean_colour = [114.0, 114.0, 114.0]\n"
        ).encode(),
    )
