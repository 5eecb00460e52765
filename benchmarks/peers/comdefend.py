"""ComDefend, as a peer: pictures are compressed to few bits and rebuilt before they are classified.

Source: Jia, Wei, Cao, Foroosh, ComDefend: An Efficient Image Compression Model to Defend Adversarial Examples, CVPR
2019: ComCNN compresses a picture to 12 planes; Gaussian noise is subtracted before the sigmoid, so that the code must
be near 0 or 1; RecCNN rebuilds it:

    1/2N sum |Rec(sigmoid(Com(x) - noise)) - x|^2 + lambda |sigmoid(Com(x) - noise)|^2

When it is used the code is rounded to bits. It needs no attack to train on, and asks the classifier once.

It is a defence; as a detector the score is how far rebuilding moves the softmax (L1), and `labels` is what it recovers.

Deviations: 5 layers in place of 9 each, trained on crops of the benign pictures: a few hundred, not CIFAR-10 or
ImageNet.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from benchmarks.peers.base import fitting_classifier
from benchmarks.peers.magnet import crops
from benchmarks.peers.training import descend, planes, training
from taintwatch_models.radar_file import RadarFile

if TYPE_CHECKING:
    from torch import Tensor, nn

__all__ = ["ComDefend", "compression_loss"]

_LEAST, _EPOCHS, _NOISE, _PLANES, _SPARSE = 8, 30, 1.0, 12, 1e-4
_CROPS = 512


class ComDefend:
    """How far the softmax moves when the picture goes through 12 bits a pixel and back."""

    name = "comdefend"
    forwards = 2

    def __init__(
        self, radar: RadarFile, benign: NDArray[np.uint8], *, threads: int = 1, seed: int = 0, epochs: int = _EPOCHS
    ) -> None:
        """Train both networks. Raises `UsageError`: fewer than 8 pictures."""
        import torch

        self._classifier = fitting_classifier(self.name, radar, benign, least=_LEAST, threads=threads)
        with training(threads, seed):
            self._compress, self._rebuild = _networks()
            examples = torch.from_numpy(crops(benign, np.random.default_rng(seed))[:_CROPS])
            _train(self._compress, self._rebuild, examples, epochs)

    def scores(self, pixels: NDArray[np.uint8]) -> NDArray[np.float64]:
        """Score pictures (N, height, width, 3): (N,) in [0, 2]."""
        before = self._classifier.probabilities(pixels)
        return np.asarray(np.abs(self._classifier.probabilities(self.rebuilt(pixels)) - before).sum(axis=1))

    def labels(self, pixels: NDArray[np.uint8]) -> NDArray[np.int64]:
        """Return the labels of the rebuilt pictures, (N,)."""
        return np.asarray(self._classifier.probabilities(self.rebuilt(pixels)).argmax(axis=1), np.int64)

    def rebuilt(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return pictures (N, height, width, 3), 0..255, through the rounded code."""
        import torch

        self._classifier.check(pixels)
        made = []
        with torch.no_grad():
            for part in planes(pixels).split(16):
                code = (torch.sigmoid(self._compress(part)) > 0.5).float()
                made.append(self._rebuild(code).clamp(0, 1).permute(0, 2, 3, 1).numpy() * np.float32(255))
        return np.concatenate(made) if made else pixels.astype(np.float32)


def compression_loss(rebuilt: Tensor, code: Tensor, pictures: Tensor, sparse: float = _SPARSE) -> Tensor:
    """Return the paper's unified loss per picture and value, a scalar."""
    return (rebuilt - pictures).square().mean() / 2 + sparse * code.square().mean()


def _networks() -> tuple[nn.Module, nn.Module]:
    from torch import nn

    def stack(first: int, last: int) -> nn.Module:
        layers: list[nn.Module] = []
        widths = (first, 8, 16, 16, 8)
        for before, after in itertools.pairwise(widths):
            layers += [nn.Conv2d(before, after, 3, padding=1), nn.ELU()]
        return nn.Sequential(*layers, nn.Conv2d(8, last, 3, padding=1))

    return stack(3, _PLANES), stack(_PLANES, 3)


def _train(compress: nn.Module, rebuild: nn.Module, examples: Tensor, epochs: int) -> None:
    import torch

    adam = torch.optim.Adam([*compress.parameters(), *rebuild.parameters()], 2e-3)
    for epoch in range(epochs):
        noise = _NOISE * min(1.0, 2 * epoch / epochs)  # first what a picture is, then in bits
        for rows in torch.randperm(len(examples)).split(32):
            given = examples[rows]
            values = compress(given)
            code = torch.sigmoid(5 * (values - noise * torch.randn_like(values)) if noise else values)
            loss = compression_loss(rebuild(code), code, given)
            descend(adam, loss)
