"""PixelDefend: how likely a picture is under a PixelCNN, and pictures moved to where they are likelier.

Source: Song, Kim, Nowozin, Ermon, Kushman, PixelDefend: Leveraging Generative Models to Understand and Defend against
Adversarial Examples, ICLR 2018. A PixelCNN (van den Oord et al., 2016) gives p(x) as a product over pixels in raster
order. Detection: the rank of p(x) among training pictures, p = (1 + sum of [p(x_i) <= p(x)]) / (N + 1). Purification,
Algorithm 1: pixel by pixel and channel by channel, the likeliest value within eps of the given one, under what was
purified before.

The score is the negative log likelihood per value: it orders pictures as the p-value does, without its ties. `labels`
is the classifier's answer to the purified picture. BPDA breaks it (Athalye et al., 2018: 9%).

Deviations: a small network (a 7 x 7 masked convolution, three of 1 x 1: it sees 3 pixels far), one logistic for each
channel, whose centre moves with the channels before it (as PixelCNN++, Salimans et al., 2017) in place of 256 classes;
so the likeliest value within eps is the centre, cut to that range. Trained on crops of the benign pictures.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from benchmarks.peers.base import fitting_classifier
from benchmarks.peers.magnet import crops
from benchmarks.peers.training import descend, planes, training
from taintwatch_models.radar_file import RadarFile

if TYPE_CHECKING:
    from torch import Tensor, nn

__all__ = ["PixelDefend", "centres", "negative_log_likelihood", "pixel_cnn"]

_LEAST, _EPOCHS, _REACH, _EPS, _CROPS = 8, 25, 3, 16, 512
_PARAMETERS = 9  # three centres, three log scales, green on red, blue on red, blue on green


class PixelDefend:
    """How unlikely a picture is, in nats per value."""

    name = "pixeldefend"
    forwards = 1

    def __init__(
        self, radar: RadarFile, benign: NDArray[np.uint8], *, threads: int = 1, seed: int = 0, epochs: int = _EPOCHS,
        eps: int = _EPS,
    ) -> None:  # fmt: skip
        """Train the PixelCNN. `eps`: of purification, of 255. Raises `UsageError`: fewer than 8 pictures."""
        import torch

        self._classifier = fitting_classifier(self.name, radar, benign, least=_LEAST, threads=threads)
        self._eps = eps
        with training(threads, seed):
            self._network = pixel_cnn()
            _train(self._network, torch.from_numpy(crops(benign, np.random.default_rng(seed))[:_CROPS]), epochs)

    def scores(self, pixels: NDArray[np.uint8]) -> NDArray[np.float64]:
        """Score pictures (N, height, width, 3): (N,)."""
        import torch

        self._classifier.check(pixels)
        with torch.no_grad():
            parts = [negative_log_likelihood(self._network(part), part).numpy() for part in planes(pixels).split(16)]
        return np.concatenate(parts).astype(np.float64) if parts else np.zeros(0)

    def labels(self, pixels: NDArray[np.uint8]) -> NDArray[np.int64]:
        """Return the labels of the purified pictures, (N,)."""
        return np.asarray(self._classifier.probabilities(self.purified(pixels)).argmax(axis=1), np.int64)

    def purified(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return pictures (N, height, width, 3), 0..255, each value at most eps from where it was."""
        import torch

        made = torch.nn.functional.pad(planes(pixels), (_REACH,) * 4)
        height, width = pixels.shape[1:3]
        with torch.no_grad():
            for y in range(height):
                for x in range(width):
                    # All that the pixel's parameters depend on is the window around it.
                    window = made[:, :, y : y + 2 * _REACH + 1, x : x + 2 * _REACH + 1]
                    parameters = self._network(window, padded=True)[:, :, 0, 0]
                    made[:, :, y + _REACH, x + _REACH] = _likeliest(parameters, _planes_at(pixels, y, x), self._eps)
        inner = made[:, :, _REACH : _REACH + height, _REACH : _REACH + width]
        return np.asarray(inner.permute(0, 2, 3, 1).numpy() * np.float32(255))


def centres(parameters: Tensor, values: Tensor) -> Tensor:
    """Return the centres of red, green and blue, (B, 3, ...), given the values before each in [0, 1]."""
    import torch

    red = parameters[:, 0]
    green = parameters[:, 1] + parameters[:, 6] * values[:, 0]
    blue = parameters[:, 2] + parameters[:, 7] * values[:, 0] + parameters[:, 8] * values[:, 1]
    return torch.stack([red, green, blue], 1)


def negative_log_likelihood(parameters: Tensor, values: Tensor) -> Tensor:
    """Return -log p per value of pictures (B, 3, H, W) in [0, 1], whole 255ths, (B,): discretised logistics."""
    import torch

    middle, scale = centres(parameters, values), parameters[:, 3:6].clamp(-7, 2).exp()
    above, below = (((values + half - middle) / scale) for half in (0.5 / 255, -0.5 / 255))
    top = torch.where(values > 1 - 0.5 / 255, torch.ones_like(above), torch.sigmoid(above))
    bottom = torch.where(values < 0.5 / 255, torch.zeros_like(below), torch.sigmoid(below))
    return -(top - bottom).clamp_min(1e-9).log().flatten(1).mean(1)


def _likeliest(parameters: Tensor, given: Tensor, eps: int) -> Tensor:
    """Return the greedy values (B, 3) of one pixel, channel after channel, within eps of `given` (B, 3)."""
    import torch

    made = given.clone()
    for channel in range(3):
        wanted = centres(parameters, made)[:, channel]
        low, high = (given[:, channel] - eps / 255).clamp_min(0), (given[:, channel] + eps / 255).clamp_max(1)
        made[:, channel] = torch.minimum(torch.maximum(wanted, low), high)
    return made


def pixel_cnn(width: int = 32) -> nn.Module:
    """Return the network: (B, 3, H, W) in [0, 1] to (B, 9, H, W), where a pixel's values depend on those before it."""
    import torch
    from torch import nn

    side = 2 * _REACH + 1

    class PixelCnn(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = nn.Conv2d(3, width, side)
            mask = torch.ones(side, side)
            mask[_REACH, _REACH:], mask[_REACH + 1 :] = 0, 0
            self.register_buffer("mask", mask)
            ones = [nn.ReLU(), nn.Conv2d(width, width, 1), nn.ReLU(), nn.Conv2d(width, width, 1), nn.ReLU()]
            self.rest = nn.Sequential(*ones, nn.Conv2d(width, _PARAMETERS, 1))

        def forward(self, pictures: Tensor, *, padded: bool = False) -> Tensor:
            around = pictures if padded else nn.functional.pad(pictures, (_REACH,) * 4)
            weight = self.first.weight * self.get_buffer("mask")
            made: Tensor = self.rest(nn.functional.conv2d(around, weight, self.first.bias))
            # Begins as: as the pixels to the left and above are, about a tenth wide.
            before = (
                around[:, :, _REACH:-_REACH, _REACH - 1 : -_REACH - 1]
                + around[:, :, _REACH - 1 : -_REACH - 1, _REACH:-_REACH]
            ) / 2
            return torch.cat([made[:, :3] + before, made[:, 3:6] - 2.5, made[:, 6:]], 1)

    return PixelCnn()


def _train(network: nn.Module, examples: Tensor, epochs: int) -> None:
    import torch

    adam = torch.optim.Adam(network.parameters(), 2e-3)
    for _ in range(epochs):
        for rows in torch.randperm(len(examples)).split(32):
            loss = negative_log_likelihood(network(examples[rows]), examples[rows]).mean()
            descend(adam, loss)


def _planes_at(pixels: NDArray[np.uint8], y: int, x: int) -> Tensor:
    import torch

    return torch.from_numpy(pixels[:, y, x].astype(np.float32)) / 255
