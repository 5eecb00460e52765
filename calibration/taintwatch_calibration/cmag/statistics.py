"""What benign pictures look like behind trained reconstructors: the scales that CMAG's statistics are measured in."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from taintwatch_calibration.cmag.networks import Reconstructors
from taintwatch_calibration.cmag.similarity import StructuralSimilarity
from taintwatch_calibration.cmag.training import BenignData

__all__ = ["STATISTICS", "CmagGraph", "fit_graph"]

STATISTICS = ("ssim", "l2", "error", "distance", "margin", "novelty")
"""The paper's two, and ours:

- `ssim`: structural similarity of the picture and GR's reconstruction; `l2`: norm of their difference.
- `error`: log of the mean squared difference, each pixel in its benign scale for the predicted label.
- `distance`: log of the mean squared distance of the pooled maps from the predicted label's benign mean, in whitened
  directions (Lee et al., 2018, with CMAG's maps).
- `margin`: the largest logit minus the second.
- `novelty`: squared Mahalanobis distance of all the others, and of FMR's and LR's errors, from their benign mean.
"""

_FLOOR = 1e-4  # squared error of a pixel in [0, 1]: an 8-bit camera rounds to about 1e-5, its noise is about 1e-4
_PRIOR = 20  # frames that the scale of all classes counts for, beside a class's own
_LARGEST_TABLE = 400_000  # numbers: with many classes, all share one scale


class CmagGraph(nn.Module):
    """Reconstructors with their statistics: what is exported.

    Takes `features` (B, channels, h, w), `logits` (B, classes) and `picture` (B, colours, size, size) in [0, 1];
    gives GR's, FMR's and LR's pictures and `STATISTICS`, each (B,).
    """

    scales: Tensor
    pooled_means: Tensor
    whitening: Tensor
    centre: Tensor
    spread: Tensor

    def __init__(self, reconstructors: Reconstructors) -> None:
        super().__init__()
        shape = reconstructors.shape
        self.reconstructors = reconstructors
        self.similarity = StructuralSimilarity(shape.size, shape.size)
        table = shape.classes * shape.colours * shape.size**2
        self.rows = shape.classes if table <= _LARGEST_TABLE else 1
        picture = (shape.colours, shape.size, shape.size)
        self.register_buffer("scales", torch.ones(3, self.rows, *picture))
        self.register_buffer("pooled_means", torch.zeros(shape.classes, shape.channels))
        self.register_buffer("whitening", torch.eye(shape.channels))
        self.register_buffer("centre", torch.zeros(7))
        self.register_buffer("spread", torch.eye(7))

    def forward(self, features: Tensor, logits: Tensor, picture: Tensor) -> tuple[Tensor, ...]:
        by_maps, by_logits, made = self.reconstructors(features, logits)
        ssim, l2, parts = self.parts(features, logits, picture, (by_maps, by_logits, made))
        deviation = torch.matmul(parts - self.centre, self.spread)  # (B, 7)
        novelty = (deviation * deviation).mean(dim=1)
        return made, by_maps, by_logits, ssim, l2, parts[:, 2], parts[:, 5], parts[:, 6], novelty

    def parts(
        self, features: Tensor, logits: Tensor, picture: Tensor, made: tuple[Tensor, Tensor, Tensor]
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return SSIM (B,), l2 (B,) and what `novelty` is made of, (B, 7)."""
        difference = made[2] - picture
        ssim = self.similarity(made[2], picture)
        l2 = torch.sqrt((difference * difference).sum(dim=(1, 2, 3)))
        label = torch.argmax(logits, dim=1)  # (B,)
        columns = [self._error(row, label, picture - one) for row, one in enumerate(made)]
        columns += [torch.log(1.0001 - ssim), torch.log(l2 + 1e-3)]
        columns += [self._distance(features, label), self._margin(logits)]
        return ssim, l2, torch.stack(columns, dim=1)

    def _error(self, row: int, label: Tensor, difference: Tensor) -> Tensor:
        scales = self.scales[row]
        chosen = scales if self.rows == 1 else torch.index_select(scales, 0, label)
        return torch.log((difference * difference * chosen).mean(dim=(1, 2, 3)) + 1e-6)

    def _distance(self, features: Tensor, label: Tensor) -> Tensor:
        offset = features.mean(dim=(2, 3)) - torch.index_select(self.pooled_means, 0, label)
        white = torch.matmul(offset, self.whitening)
        return torch.log((white * white).mean(dim=1) + 1e-6)

    def _margin(self, logits: Tensor) -> Tensor:
        two = torch.topk(logits, 2, dim=1).values
        return two[:, 0] - two[:, 1]


def fit_graph(reconstructors: Reconstructors, training: BenignData, validation: BenignData) -> CmagGraph:
    """Measure the benign scales: the features' on the training pictures, the errors' on those held out."""
    graph = CmagGraph(reconstructors.cpu()).eval()
    with torch.no_grad():
        _fit_features(graph, training)
        _fit_errors(graph, validation)
        parts = torch.cat([_parts(graph, batch) for batch in _batches(validation)]).double()
        graph.centre.copy_(parts.mean(dim=0))
        graph.spread.copy_(_whitening(parts - parts.mean(dim=0)))
    return graph


def _fit_features(graph: CmagGraph, data: BenignData) -> None:
    pooled = torch.from_numpy(data.features.mean(axis=(2, 3), dtype=np.float32)).double()
    labels = torch.from_numpy(data.logits.argmax(axis=1))
    counts = torch.bincount(labels, minlength=len(graph.pooled_means)).double()
    sums = torch.zeros(len(counts), pooled.shape[1], dtype=torch.float64).index_add_(0, labels, pooled)
    means = (sums + pooled.mean(dim=0)) / (counts[:, None] + 1)  # a class that was never seen: the overall mean
    graph.pooled_means.copy_(means)
    graph.whitening.copy_(_whitening(pooled - means[labels]))


def _fit_errors(graph: CmagGraph, data: BenignData) -> None:
    """Store one over the benign mean squared error of each pixel, per reconstructor and label."""
    labels = np.minimum(data.logits.argmax(axis=1), graph.rows - 1)  # all 0 where the classes share one row
    sums = torch.zeros(graph.scales.shape, dtype=torch.float64)
    start = 0
    for features, logits, picture in _batches(data):
        made = graph.reconstructors(features, logits)
        rows = torch.from_numpy(labels[start : start + len(picture)])
        for index, one in enumerate(made):
            sums[index].index_add_(0, rows, ((one - picture) ** 2).double())
        start += len(picture)
    counts = torch.from_numpy(np.bincount(labels, minlength=graph.rows)).double().view(1, -1, 1, 1, 1)
    overall = sums.sum(dim=1, keepdim=True) / max(1, len(data))
    graph.scales.copy_(1 / ((sums + _PRIOR * overall) / (counts + _PRIOR) + _FLOOR))


def _parts(graph: CmagGraph, batch: tuple[Tensor, Tensor, Tensor]) -> Tensor:
    features, logits, picture = batch
    return graph.parts(features, logits, picture, graph.reconstructors(features, logits))[2]


def _whitening(offsets: Tensor) -> Tensor:
    """Return W so that `offsets @ W` has unit covariance; directions without variance are left out (zero)."""
    covariance = offsets.T @ offsets / max(1, len(offsets) - 1)
    values, vectors = torch.linalg.eigh(covariance)
    kept = values > 1e-6 * values.max().clamp_min(1e-12)
    directions: Tensor = vectors * torch.where(kept, values.clamp_min(1e-30).rsqrt(), torch.zeros_like(values))
    return directions


def _batches(data: BenignData, size: int = 256) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    for start in range(0, len(data), size):
        rows = slice(start, start + size)
        yield _floats(data.features[rows]), _floats(data.logits[rows]), _floats(data.pictures[rows])


def _floats(values: NDArray[np.float32]) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(values, dtype=np.float32))
