"""What is measured of a picture and its reconstructions, and the benign scales that some of it is measured in."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from taintwatch_calibration.cmag.networks import Reconstructors, fine_part
from taintwatch_calibration.cmag.similarity import StructuralSimilarity
from taintwatch_calibration.cmag.training import ROUNDING, BenignData

__all__ = ["STATISTICS", "CmagGraph", "fit_graph"]

STATISTICS = ("ssim", "l2", "error", "texture", "distance", "margin")
"""The paper's two, and ours:

- `ssim`: structural similarity of the picture and GR's reconstruction; `l2`: norm of their difference.
- `error`: log of the mean squared difference, each pixel in the scale that is expected of it; `texture`: the same of
  the difference's fine part.
- `distance`: log of the mean squared distance of the pooled maps from the predicted label's benign mean, in whitened
  directions (Lee et al., 2018).
- `margin`: the largest logit minus the second.
"""


class CmagGraph(nn.Module):
    """Reconstructors with their statistics: what is exported.

    Takes `features` (B, channels, h, w), `logits` (B, classes) and `picture` (B, colours, size, size) in [0, 1];
    gives GR's, FMR's and LR's pictures and `STATISTICS`, each (B,).
    """

    pooled_means: Tensor
    whitening: Tensor

    def __init__(self, reconstructors: Reconstructors) -> None:
        super().__init__()
        shape = reconstructors.shape
        self.reconstructors = reconstructors
        self.similarity = StructuralSimilarity(shape.size, shape.size)
        self.register_buffer("pooled_means", torch.zeros(shape.classes, shape.channels))
        self.register_buffer("whitening", torch.eye(shape.channels))

    def forward(self, features: Tensor, logits: Tensor, picture: Tensor) -> tuple[Tensor, ...]:
        by_maps, by_logits, made = self.reconstructors(features, logits)
        difference = picture - made
        ssim = self.similarity(made, picture)
        l2 = torch.sqrt((difference * difference).sum(dim=(1, 2, 3)))
        precision = torch.exp(-self.reconstructors.scale(by_maps, made))
        coarse, fine = torch.split(precision, picture.shape[1], dim=1)
        error, texture = _mean_square(difference, coarse), _mean_square(fine_part(difference), fine)
        return made, by_maps, by_logits, ssim, l2, error, texture, self._distance(features, logits), _margin(logits)

    def _distance(self, features: Tensor, logits: Tensor) -> Tensor:
        label = torch.argmax(logits, dim=1)  # (B,)
        offset = features.mean(dim=(2, 3)) - torch.index_select(self.pooled_means, 0, label)
        white = torch.matmul(offset, self.whitening)
        return torch.log((white * white).mean(dim=1) + 1e-6)


def _mean_square(difference: Tensor, precision: Tensor) -> Tensor:
    """Return the log of the mean of squared differences times their precision, (B,)."""
    return torch.log(((difference * difference + ROUNDING) * precision).mean(dim=(1, 2, 3)))


def _margin(logits: Tensor) -> Tensor:
    two = torch.topk(logits, 2, dim=1).values
    return two[:, 0] - two[:, 1]


def fit_graph(reconstructors: Reconstructors, benign: BenignData) -> CmagGraph:
    """Put trained reconstructors and the benign distribution of the pooled maps together."""
    graph = CmagGraph(reconstructors.cpu()).eval()
    parts = [features.double().mean(dim=(2, 3)) for features in _batches(benign.features)]
    pooled = torch.cat(parts)  # (N, channels)
    labels = torch.from_numpy(benign.logits.argmax(axis=1))
    counts = torch.bincount(labels, minlength=len(graph.pooled_means)).double()
    sums = torch.zeros(len(counts), pooled.shape[1], dtype=torch.float64).index_add_(0, labels, pooled)
    means = (sums + pooled.mean(dim=0)) / (counts[:, None] + 1)  # a label that was never seen: the overall mean
    graph.pooled_means.copy_(means)
    graph.whitening.copy_(_whitening(pooled - means[labels]))
    return graph


def _whitening(offsets: Tensor) -> Tensor:
    """Return W so that `offsets @ W` has unit covariance; directions without variance are left out (zero)."""
    covariance = offsets.T @ offsets / max(1, len(offsets) - 1)
    values, vectors = torch.linalg.eigh(covariance)
    kept = values > 1e-6 * values.max().clamp_min(1e-12)
    directions: Tensor = vectors * torch.where(kept, values.clamp_min(1e-30).rsqrt(), torch.zeros_like(values))
    return directions


def _batches(values: NDArray[np.float32], size: int = 256) -> Iterator[Tensor]:
    for start in range(0, len(values), size):
        yield torch.from_numpy(np.ascontiguousarray(values[start : start + size], dtype=np.float32))
