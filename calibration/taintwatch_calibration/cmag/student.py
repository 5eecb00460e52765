"""A second opinion: a small network that says from the picture alone what the classifier should have said."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["MOST_COMPONENTS", "Student", "varied"]

MOST_COMPONENTS = 64
"""Principal directions of benign logits that a student speaks of, at most."""
_CELLS = 5  # side of the last maps, at most


def _unit(channels_in: int, channels_out: int, stride: int = 1) -> list[nn.Module]:
    convolution = nn.Conv2d(channels_in, channels_out, 3, stride, 1, bias=False)
    return [convolution, nn.BatchNorm2d(channels_out), nn.ReLU()]


class Student(nn.Module):
    """(B, colours, size, size) in [0, 1] -> (B, components): the logits' principal components, as they should be.

    It learns the classifier's answers on benign pictures (Hinton et al., 2015, without labels). A perturbation made for
    the classifier does little to another, differently built network, so that what the two say falls apart. Not of the
    paper, but its mirror: CMAG rebuilds the picture from the logits, this rebuilds the logits from the picture.
    """

    centre: Tensor
    basis: Tensor

    def __init__(self, classes: int, colours: int, size: int, width: int = 24) -> None:
        super().__init__()
        components = min(classes, MOST_COMPONENTS)
        steps: list[nn.Module] = [nn.PixelUnshuffle(2), *_unit(4 * colours, width), *_unit(width, 2 * width, 2)]
        channels, side = 2 * width, (size // 2 + 1) // 2
        steps += _unit(channels, channels)
        while side > _CELLS:
            steps += _unit(channels, 4 * width, 2)
            channels, side = 4 * width, (side + 1) // 2
        self.steps = nn.Sequential(*steps, nn.Flatten(), nn.Linear(channels * side * side, components))
        self.register_buffer("centre", torch.zeros(classes))
        self.register_buffer("basis", torch.zeros(classes, components))

    def forward(self, pictures: Tensor) -> Tensor:
        said: Tensor = self.steps(pictures - 0.5)
        return said

    def components(self, logits: Tensor) -> Tensor:
        """Return the principal components of logits (B, classes), (B, components): the largest has a variance of 1."""
        return torch.matmul(logits - self.centre, self.basis)

    def fit(self, logits: Tensor) -> None:
        """Take centre and directions from benign logits (N, classes)."""
        values = logits.double()
        centre = values.mean(dim=0)
        offsets = values - centre
        variances, directions = torch.linalg.eigh(offsets.T @ offsets / len(values))
        chosen = directions[:, -self.basis.shape[1] :] / variances[-1].clamp_min(1e-12).sqrt()
        self.centre.copy_(centre)
        self.basis.copy_(chosen)


def varied(pictures: Tensor, generator: torch.Generator) -> Tensor:
    """Move a batch by up to a pixel and add noise to each picture (a standard deviation of up to 0.1)."""
    dy, dx = (int(step) for step in torch.randint(-1, 2, (2,), generator=generator))
    moved = torch.roll(F.pad(pictures, (1, 1, 1, 1), mode="replicate"), (dy, dx), (2, 3))[:, :, 1:-1, 1:-1]
    level = torch.rand(len(pictures), 1, 1, 1, generator=generator) * 0.1
    noise = torch.randn(pictures.shape, generator=generator) * level
    return moved + noise.to(pictures.device)
