"""Training batches: real crops, drawn signs and background pictures, mixed and augmented."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Generator, Tensor

from benchmarks.signs.augment import augment, uniform
from benchmarks.signs.cards import blank_shapes, sign_bank
from benchmarks.signs.dataset import LabelledImages

__all__ = ["BatchMaker", "Mixture"]


@dataclass(frozen=True, slots=True)
class Mixture:
    """How a batch is put together."""

    batch: int = 128
    drawn_share: float = 0.2
    """Share of drawn signs, every class equally often."""
    background_share: float = 0.1
    """Share of pictures that show no sign."""
    balance: float = 0.5
    """Real crops are drawn with probability n ** -balance for a class of n pictures: 0 as they come, 1 evenly."""
    occlude: bool = True


class BatchMaker:
    """Gives augmented batches, on the device of `generator`.

    `classes` are the GTSRB classes in use, in the order of the labels given out; background has the label
    `len(classes)`. `photographs` (N, H, W, 3) may be empty: backgrounds are then procedural only.
    """

    def __init__(
        self,
        data: LabelledImages,
        photographs: NDArray[np.uint8],
        classes: tuple[int, ...],
        mixture: Mixture,
        generator: Generator,
    ) -> None:
        device = generator.device
        self._mixture, self._generator, self._background_label = mixture, generator, len(classes)
        positions = {name: index for index, name in enumerate(classes)}
        usable = np.isin(data.labels, classes)
        self._real = torch.from_numpy(data.images[usable]).to(device)  # (N, H, W, 3)
        labels = np.array([positions[int(label)] for label in data.labels[usable]], np.int64)
        self._real_labels = torch.from_numpy(labels).to(device)
        counts = np.bincount(labels, minlength=len(classes))
        self._weights = torch.from_numpy(counts[labels].astype(np.float64) ** -mixture.balance).to(device)
        signs, sign_labels = sign_bank()
        drawn = np.isin(sign_labels, classes)
        self._drawn = torch.from_numpy(signs[drawn]).to(device)  # (M, H, W, 4)
        self._drawn_labels = torch.tensor([positions[int(label)] for label in sign_labels[drawn]], device=device)
        self._blanks = torch.from_numpy(blank_shapes(300, np.random.default_rng(generator.initial_seed()))).to(device)
        self._photographs = torch.from_numpy(photographs).to(device)

    @property
    def steps_per_epoch(self) -> int:
        """Batches in which as many real crops are given as there are."""
        real_share = 1 - self._mixture.drawn_share - self._mixture.background_share
        return max(1, round(len(self._real) / (self._mixture.batch * real_share)))

    def __call__(self, spared: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return the next batch: pictures (B, 3, H, W), float32 in [0, 1], and labels (B,), int64.

        Those where `spared` (B,) is true are not erased.
        """
        mixture, generator = self._mixture, self._generator
        kinds = uniform(generator, 0, 1, mixture.batch)
        drawn = int((kinds < mixture.drawn_share).sum())
        empty = int((kinds >= 1 - mixture.background_share).sum())
        real = mixture.batch - drawn - empty
        chosen = torch.multinomial(self._weights, max(1, real), replacement=True, generator=generator)[:real]
        cards = self._pick(self._drawn, drawn)
        blanks = self._empty_pictures(empty)
        pictures = torch.cat([_opaque(self._real[chosen]), _planes(self._drawn[cards]), blanks])
        nothing = torch.full((empty,), self._background_label, dtype=torch.int64, device=generator.device)
        labels = torch.cat([self._real_labels[chosen], self._drawn_labels[cards], nothing])
        order = torch.randperm(len(labels), generator=generator, device=generator.device)
        backgrounds = self._backgrounds(len(labels))
        erasable = torch.full((len(labels),), mixture.occlude, device=generator.device)
        if spared is not None:
            erasable &= ~spared
        images = augment(pictures[order], backgrounds, generator, erasable=erasable)
        return images, labels[order]

    def _pick(self, bank: Tensor, count: int) -> Tensor:
        return torch.randint(0, len(bank), (count,), generator=self._generator, device=self._generator.device)

    def _empty_pictures(self, count: int) -> Tensor:
        """(count, 4, H, W): a third blank shapes, the rest wholly transparent, so that the background shows."""
        pictures = _planes(self._blanks[self._pick(self._blanks, count)])
        pictures[count // 3 :, 3] = 0
        return pictures

    def _backgrounds(self, count: int) -> Tensor:
        """(count, 3, H, W) in [0, 1]: photographs, where there are any, for two in three; textures for the rest."""
        textures = _textures(count, self._real.shape[1], self._generator)
        if not len(self._photographs):
            return textures
        photographs = self._photographs[self._pick(self._photographs, count)].permute(0, 3, 1, 2).float() / 255
        mirrored = uniform(self._generator, 0, 1, count, 1, 1, 1) < 0.5
        photographs = torch.where(mirrored, photographs.flip(3), photographs)
        return torch.where(uniform(self._generator, 0, 1, count, 1, 1, 1) < 2 / 3, photographs, textures)


def _planes(pictures: Tensor) -> Tensor:
    """(B, H, W, C) uint8 -> (B, C, H, W) float in [0, 1]."""
    return pictures.permute(0, 3, 1, 2).float() / 255


def _opaque(pictures: Tensor) -> Tensor:
    """(B, H, W, 3) uint8 -> (B, 4, H, W) float in [0, 1], alpha 1."""
    return F.pad(_planes(pictures), (0, 0, 0, 0, 0, 1), value=1.0)


def _textures(count: int, size: int, generator: Generator) -> Tensor:
    """(count, 3, size, size) in [0, 1]: plain colours, gradients, clouds, mosaics and noise."""
    level = uniform(generator, 0, 1, count, 3, 1, 1)
    strength = uniform(generator, 0, 0.6, count, 1, 1, 1) * (uniform(generator, 0, 1, count, 1, 1, 1) < 0.8)
    parts = []
    for grid, part in zip((2, 3, 6, 12, 32), strength.tensor_split(5), strict=True):
        cells = uniform(generator, -1, 1, len(part), 3, grid, grid)
        mode = "nearest" if grid == 6 else "bilinear"
        corners = {} if mode == "nearest" else {"align_corners": True}
        parts.append(
            F.interpolate(cells, size=(size, size), mode=mode, **corners) if len(part) else cells[:, :, :0, :0]
        )
    variation = torch.cat([part.reshape(-1, 3, size, size) for part in parts])
    order = torch.randperm(count, generator=generator, device=generator.device)
    return (level + variation[order] * strength).clamp(0, 1)
