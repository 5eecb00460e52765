"""Training batches of the objects: random crops, mirrored, in varied light; erased for occlusion training."""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Generator, Tensor

from benchmarks.signs.augment import uniform
from benchmarks.signs.erasing import erase
from benchmarks.training_loop import Batch

__all__ = ["ObjectBatches"]


class ObjectBatches:
    """Gives each picture once an epoch, `batch` at a time, the rest of an epoch left out."""

    def __init__(
        self,
        images: NDArray[np.uint8],
        labels: NDArray[np.int64],
        batch: int,
        generator: Generator,
        *,
        mean: tuple[float, float, float],
        occlude: bool,
    ) -> None:
        self._images, self._labels = torch.from_numpy(images), torch.from_numpy(labels)
        self._batch, self._generator, self._mean, self._occlude = batch, generator, mean, occlude

    @property
    def steps_per_epoch(self) -> int:
        """Whole batches of an epoch; at least one."""
        return max(1, len(self._labels) // self._batch)

    def order(self) -> Tensor:
        """Draw an epoch's order: (steps, batch) indices."""
        shuffled = torch.randperm(len(self._labels), generator=self._generator)
        steps = self.steps_per_epoch
        return shuffled[: steps * self._batch].reshape(steps, -1)

    def make(self, index: Tensor, size: int) -> Batch:
        """Return the pictures `index` (B,) augmented: (B, 3, size, size) in [0, 1], and their labels."""
        generator = self._generator
        whole = self._images[index].permute(0, 3, 1, 2).float() / 255
        images = _lit(_cropped(whole, size, generator), generator)
        if self._occlude:
            chosen = uniform(generator, 0, 1, len(images)) < 0.75
            images = erase(images, chosen, generator, self._mean)
        return images, self._labels[index]


def _cropped(images: Tensor, size: int, generator: Generator) -> Tensor:
    """Cut a random rectangle of 30 to 100% of the area, sides 3:4 to 4:3, out of each; mirror half."""
    count = len(images)
    side = uniform(generator, 0.3, 1, count).sqrt()
    stretch = torch.exp(uniform(generator, -0.5, 0.5, count) * math.log(4 / 3))
    half = torch.stack([side * stretch, side / stretch], dim=1).clamp(max=1)  # (B, 2) of the picture's halves
    centre = uniform(generator, -1, 1, count, 2) * (1 - half)
    mirrored = torch.where(uniform(generator, 0, 1, count) < 0.5, -1.0, 1.0)
    matrix = torch.zeros(count, 2, 3)
    matrix[:, 0, 0], matrix[:, 1, 1], matrix[:, :, 2] = half[:, 0] * mirrored, half[:, 1], centre
    grid = F.affine_grid(matrix, [count, 3, size, size], align_corners=False)
    return F.grid_sample(images, grid, padding_mode="border", align_corners=False)


def _lit(images: Tensor, generator: Generator) -> Tensor:
    """Change brightness, contrast, saturation and colour."""
    count = len(images)
    gain = torch.exp(uniform(generator, -0.4, 0.3, count, 1, 1, 1)) * (
        1 + uniform(generator, -0.1, 0.1, count, 3, 1, 1)
    )
    grey = images.mean(dim=1, keepdim=True)
    images = grey + (images - grey) * uniform(generator, 0.6, 1.3, count, 1, 1, 1)
    level = images.mean(dim=(1, 2, 3), keepdim=True)
    contrast = torch.exp(uniform(generator, -0.4, 0.3, count, 1, 1, 1))
    return ((level + (images - level) * contrast) * gain).clamp(0, 1)
