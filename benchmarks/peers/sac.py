"""Segment and complete, as a detector.

Source: Liu, Levine, Lau, Chellappa, Feizi, Segment and Complete: Defending Object Detectors against Adversarial Patch
Attacks with Robust Patch Detection, CVPR 2022: a small U-Net segments the patch; shape completion takes for the patch
every square that the segmentation matches up to a Hamming distance of gamma times its area, the union over sizes and
places; the area is blackened.

The score is how far blackening moves the softmax (L1); pictures where that is nothing are ordered by the largest
segmented square. `labels` is what it recovers.

Deviations: made for detectors, here before a classifier; two levels of U-Net; trained on the benign pictures with
patches of noise of several grains, and with patches of a few steps of gradient against the classifier, but not
adversarially against itself. Squares from an eighth to a half of the side.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.peers.base import fitting_classifier
from benchmarks.peers.training import descend, planes, training
from taintwatch_models.radar_file import RadarFile

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["SegmentAndComplete", "completed"]

_LEAST, _STEPS, _GAMMA = 8, 160, 0.3
_SHARES = (0.125, 0.2, 0.28, 0.36, 0.44, 0.5)


class SegmentAndComplete:
    """How far the softmax moves when the completed patch is blackened."""

    name = "sac"
    forwards = 2

    def __init__(
        self, radar: RadarFile, benign: NDArray[np.uint8], *, threads: int = 1, seed: int = 0, steps: int = _STEPS
    ) -> None:
        """Train the segmenter. Raises `UsageError`: fewer than 8 pictures."""
        import torch

        self._classifier = fitting_classifier(self.name, radar, benign, least=_LEAST, threads=threads)
        with training(threads, seed):
            self._network = _segmenter()
            patches = _gradient_patches(radar, benign, torch.Generator().manual_seed(seed))
            _train(self._network, benign, patches, steps, np.random.default_rng(seed))

    def scores(self, pixels: NDArray[np.uint8]) -> NDArray[np.float64]:
        """Score pictures (N, height, width, 3): (N,) in [0, 3]."""
        segmented = self._segmented(pixels)
        before = self._classifier.probabilities(pixels)
        after = self._classifier.probabilities(_blackened(pixels, segmented))
        largest = np.array([_densest(share) for share in segmented], np.float64)
        return np.asarray(np.abs(after - before).sum(axis=1) + 0.1 * largest)

    def labels(self, pixels: NDArray[np.uint8]) -> NDArray[np.int64]:
        """Return the labels of the blackened pictures, (N,)."""
        made = _blackened(pixels, self._segmented(pixels))
        return np.asarray(self._classifier.probabilities(made).argmax(axis=1), np.int64)

    def _segmented(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        import torch

        self._classifier.check(pixels)
        with torch.no_grad():
            parts = [torch.sigmoid(self._network(part))[:, 0].numpy() for part in planes(pixels).split(16)]
        return np.concatenate(parts) if parts else np.zeros((0, *pixels.shape[1:3]), np.float32)


def completed(mask: NDArray[np.bool_], gamma: float = _GAMMA) -> NDArray[np.bool_]:
    """Return the union of all squares whose Hamming distance to the mask is at most gamma times their area.

    `mask` (height, width); the distance counts the whole picture's pixels.
    """
    height, width = mask.shape
    sums = np.zeros((height + 1, width + 1), np.int64)
    sums[1:, 1:] = mask.cumsum(axis=0).cumsum(axis=1)
    found = np.zeros_like(mask)
    for share in _SHARES:
        side = max(2, round(share * min(height, width)))
        inside = sums[side:, side:] - sums[:-side, side:] - sums[side:, :-side] + sums[:-side, :-side]
        distance = mask.sum() + side * side - 2 * inside
        for top, left in np.argwhere(distance <= gamma * side * side):
            found[top : top + side, left : left + side] = True
    return found


def _blackened(pixels: NDArray[np.uint8], segmented: NDArray[np.float32]) -> NDArray[np.uint8]:
    masks = [completed(share > 0.5) | (share > 0.5) for share in segmented]
    return np.asarray(np.where(np.stack(masks)[..., None], 0, pixels), np.uint8) if masks else pixels


def _densest(share: NDArray[np.float32]) -> float:
    """The mean of the densest square of a quarter of the side."""
    side = max(2, min(share.shape) // 4)
    sums = np.zeros((share.shape[0] + 1, share.shape[1] + 1))
    sums[1:, 1:] = share.astype(np.float64).cumsum(axis=0).cumsum(axis=1)
    inside = sums[side:, side:] - sums[:-side, side:] - sums[side:, :-side] + sums[:-side, :-side]
    return float(inside.max() / side**2)


def _segmenter(width: int = 12) -> Any:
    import torch
    from torch import nn

    def block(before: int, after: int, stride: int = 1) -> nn.Module:
        return nn.Sequential(nn.Conv2d(before, after, 3, stride, 1), nn.BatchNorm2d(after), nn.ReLU())

    class Segmenter(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.down = block(3, width), block(width, 2 * width, 2)
            self.deep = nn.Sequential(block(2 * width, 3 * width, 2), block(3 * width, 2 * width))
            self.up, self.last = block(4 * width, width), nn.Conv2d(2 * width, 1, 3, padding=1)

        def forward(self, pictures: Tensor) -> Tensor:
            def large(maps: Tensor, like: Tensor) -> Tensor:
                return nn.functional.interpolate(maps, size=like.shape[2:], mode="nearest")

            one = self.first(pictures)
            two = self.down(one)
            back = self.up(torch.cat([two, large(self.deep(two), two)], 1))
            made: Tensor = self.last(torch.cat([one, large(back, one)], 1))
            return made

    return Segmenter()


def _train(network: Any, benign: NDArray[np.uint8], patches: Tensor, steps: int, rng: np.random.Generator) -> None:
    import torch
    import torch.nn.functional as F

    adam = torch.optim.Adam(network.parameters(), 3e-3)
    network.train()
    for _ in range(steps):
        pictures = planes(benign[rng.integers(len(benign), size=16)])
        masks = torch.zeros(len(pictures), 1, *pictures.shape[2:])
        for picture, mask in zip(pictures[::2], masks[::2], strict=True):  # half of them stay benign
            side = round(float(rng.uniform(0.15, 0.5)) * min(picture.shape[1:]))
            top, left = (int(rng.integers(0, extent - side + 1)) for extent in picture.shape[1:])
            given = patches[rng.integers(len(patches))] if rng.uniform() < 0.6 else _noise(rng)
            picture[:, top : top + side, left : left + side] = F.interpolate(
                given[None], size=(side, side), mode="bilinear", align_corners=False
            )[0]
            mask[:, top : top + side, left : left + side] = 1
        loss = F.binary_cross_entropy_with_logits(network(pictures), masks)
        descend(adam, loss)
    network.eval()


def _noise(rng: np.random.Generator) -> Tensor:
    import torch

    cells = int(rng.integers(2, 24))
    return torch.from_numpy(rng.uniform(size=(3, cells, cells)).astype(np.float32))


def _gradient_patches(radar: RadarFile, benign: NDArray[np.uint8], generator: Any, count: int = 12) -> Tensor:
    """Patches of 32 pixels, each a few signed steps towards another class, (count, 3, 32, 32), in the model's order."""
    import torch
    import torch.nn.functional as F

    from taintwatch_calibration.craft.materials import differentiable
    from taintwatch_calibration.craft.placement import PlacementBatch, apply_patch

    model, preprocessing = differentiable(radar), radar.info.preprocessing
    mean, std = (torch.tensor(value).view(3, 1, 1) for value in (preprocessing.mean, preprocessing.std))
    pictures, patches = planes(benign[:count]), torch.rand(min(count, len(benign)), 3, 32, 32, generator=generator)
    wanted = torch.randint(radar.info.classes, (len(pictures),), generator=generator)
    for _ in range(15):
        leaf = patches.clone().requires_grad_(True)
        zeros = torch.zeros(len(pictures))
        place = torch.rand(2, len(pictures), generator=generator) - 0.5
        laid, _ = apply_patch(
            pictures, leaf, torch.ones(len(leaf), 1, 32, 32), PlacementBatch(place[0], place[1], zeros + 0.4, zeros)
        )
        loss = F.cross_entropy(model((laid * 255 / preprocessing.scale - mean) / std), wanted, reduction="sum")
        (slope,) = torch.autograd.grad(loss, leaf)
        patches = (patches - 0.08 * slope.sign()).clamp(0, 1)
    return patches
