"""What is measured of a picture and its reconstructions, and the benign scales that some of it is measured in."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from taintwatch_calibration.cmag.benign_data import BenignData
from taintwatch_calibration.cmag.networks import Reconstructors, fine_part
from taintwatch_calibration.cmag.similarity import StructuralSimilarity
from taintwatch_calibration.cmag.training import ROUNDING
from taintwatch_models.cmag.limits import LOW_IS_SUSPICIOUS

__all__ = ["NOVELTY", "STATISTICS", "CmagGraph", "fit_graph"]

STATISTICS = ("ssim", "l2", "error", "texture", "surprise", "distance", "disagreement", "margin", "novelty")
"""The paper's two, and ours:

- `ssim`: structural similarity of the picture and GR's reconstruction; `l2`: norm of their difference.
- `error`: log of the mean squared difference, weighted by the precision that is expected at each pixel: what happens
  where the reconstruction promises an even patch counts most; `texture`: the same of the difference's fine part.
- `surprise`: log of the mean of squared fine differences over the variance that is expected of them.
- `distance`: log of the mean squared distance of the pooled maps from the predicted label's benign mean, in whitened
  directions (Lee et al., 2018).
- `disagreement`: log of the mean squared difference of what the classifier says and what the student says from the
  picture alone, in whitened directions.
- `margin`: the largest logit minus the second.
- `novelty`: a soft maximum of `NOVELTY`, each on its benign scale (0: the median, 1: the 95% quantile).
  An attack shows in one or the other, seldom in all: a sum would let the calm ones excuse the other.
"""

NOVELTY = ("ssim", "texture", "distance", "disagreement")
_SHARPNESS = 2.0  # of the soft maximum
_FLOOR = 0.3  # of the mean variance, added to each


class CmagGraph(nn.Module):
    """Reconstructors with their statistics: what is exported.

    Takes `features` (B, channels, h, w), `logits` (B, classes) and `picture` (B, colours, size, size) in [0, 1];
    gives GR's, FMR's and LR's pictures and `STATISTICS`, each (B,).
    """

    pooled_means: Tensor
    whitening: Tensor
    component_whitening: Tensor
    medians: Tensor
    spreads: Tensor

    def __init__(self, reconstructors: Reconstructors) -> None:
        super().__init__()
        shape = reconstructors.shape
        self.reconstructors = reconstructors
        self.similarity = StructuralSimilarity(shape.size, shape.size)
        self.register_buffer("pooled_means", torch.zeros(shape.classes, shape.channels))
        self.register_buffer("whitening", torch.eye(shape.channels))
        components = reconstructors.student.basis.shape[1]
        self.register_buffer("component_whitening", torch.eye(components))
        self.register_buffer("medians", torch.zeros(len(NOVELTY)))
        self.register_buffer("spreads", torch.ones(len(NOVELTY)))

    def forward(self, features: Tensor, logits: Tensor, picture: Tensor) -> tuple[Tensor, ...]:
        by_maps, by_logits, made = self.reconstructors(features, logits)
        difference = picture - made
        ssim = self.similarity(made, picture)
        l2 = torch.linalg.vector_norm(difference, dim=(1, 2, 3))
        found = {"ssim": ssim, "l2": l2, "distance": self._distance(features, logits), "margin": _margin(logits)}
        found |= self._errors(difference, self.reconstructors.scale(by_maps, made))
        found["disagreement"] = _whitened(self._disagreement(logits, picture), self.component_whitening)
        columns = torch.stack([_suspicion(name, found[name]) for name in NOVELTY], dim=1)  # (B, statistics)
        found["novelty"] = torch.logsumexp(_SHARPNESS * (columns - self.medians) / self.spreads, dim=1)
        return made, by_maps, by_logits, *(found[name] for name in STATISTICS)

    def _errors(self, difference: Tensor, log_variance: Tensor) -> dict[str, Tensor]:
        fine = fine_part(difference)
        coarse_precision, fine_precision = torch.split(torch.exp(-log_variance), difference.shape[1], dim=1)
        return {
            "error": torch.log(_weighted(difference, coarse_precision) / _mean(coarse_precision)),
            "texture": torch.log(_weighted(fine, fine_precision) / _mean(fine_precision)),
            "surprise": torch.log(_weighted(fine, fine_precision)),
        }

    def _distance(self, features: Tensor, logits: Tensor) -> Tensor:
        label = torch.argmax(logits, dim=1)  # (B,)
        offset = features.mean(dim=(2, 3)) - torch.index_select(self.pooled_means, 0, label)
        return _whitened(offset, self.whitening)

    def _disagreement(self, logits: Tensor, picture: Tensor) -> Tensor:
        """Return what the classifier says less what the student says, (B, components)."""
        student = self.reconstructors.student
        disagreement: Tensor = student.components(logits) - student(picture)
        return disagreement


def _suspicion(name: str, values: Tensor) -> Tensor:
    """Return values that grow with suspicion."""
    return -values if name in LOW_IS_SUSPICIOUS else values


def _whitened(offset: Tensor, whitening: Tensor) -> Tensor:
    """Return the log of the mean squared offset (B, directions) in whitened directions, (B,)."""
    white = torch.matmul(offset, whitening)
    return torch.log((white * white).mean(dim=1) + 1e-6)


def _weighted(difference: Tensor, precision: Tensor) -> Tensor:
    """Return the mean of squared differences times their precision, (B,)."""
    return _mean((difference * difference + ROUNDING) * precision)


def _mean(values: Tensor) -> Tensor:
    return values.mean(dim=(1, 2, 3))


def _margin(logits: Tensor) -> Tensor:
    two = torch.topk(logits, 2, dim=1).values
    return two[:, 0] - two[:, 1]


def fit_graph(reconstructors: Reconstructors, training: BenignData, validation: BenignData) -> CmagGraph:
    """Put trained reconstructors and the benign distribution of their statistics together.

    That of the pooled maps is taken from `training`, of the student's errors and the statistics from `validation`.
    """
    graph = CmagGraph(reconstructors.cpu()).eval()
    _fit_maps(graph, training)
    _fit_logit_components(graph, validation)
    with torch.no_grad():
        parts = [
            torch.stack([_suspicion(name, values[STATISTICS.index(name)]) for name in NOVELTY], dim=1)
            for values in (
                graph(*batch)[3:] for batch in zip(*(_batches(part) for part in validation.parts), strict=True)
            )
        ]
    values = torch.cat(parts)  # (N, statistics)
    graph.medians.copy_(values.median(dim=0).values)
    graph.spreads.copy_((torch.quantile(values, 0.95, dim=0) - graph.medians).clamp_min(1e-3))
    return graph


def _fit_maps(graph: CmagGraph, benign: BenignData) -> None:
    pooled = torch.cat([features.double().mean(dim=(2, 3)) for features in _batches(benign.features)])  # (N, channels)
    labels = torch.from_numpy(benign.logits.argmax(axis=1))
    counts = torch.bincount(labels, minlength=len(graph.pooled_means)).double()
    sums = torch.zeros(len(counts), pooled.shape[1], dtype=torch.float64).index_add_(0, labels, pooled)
    means = (sums + pooled.mean(dim=0)) / (counts[:, None] + 1)  # a label that was never seen: the overall mean
    graph.pooled_means.copy_(means)
    graph.whitening.copy_(_whitening(pooled - means[labels]))


@torch.no_grad()
def _fit_logit_components(graph: CmagGraph, benign: BenignData) -> None:
    offsets = torch.cat(
        [
            graph._disagreement(logits, pictures)
            for logits, pictures in zip(_batches(benign.logits), _batches(benign.pictures), strict=True)
        ]
    ).double()
    covariance = offsets.T @ offsets / len(offsets)
    # A direction in which the two never differed on few pictures must not decide alone.
    floor = _FLOOR * torch.diagonal(covariance).mean() * torch.eye(len(covariance), dtype=torch.float64)
    graph.component_whitening.copy_(_inverse_root(covariance + floor))


def _whitening(offsets: Tensor) -> Tensor:
    """Return W so that `offsets @ W` has unit covariance; directions without variance are left out (zero)."""
    return _inverse_root(offsets.T @ offsets / max(1, len(offsets) - 1))


def _inverse_root(covariance: Tensor) -> Tensor:
    values, vectors = torch.linalg.eigh(covariance)
    kept = values > 1e-6 * values.max().clamp_min(1e-12)
    directions: Tensor = vectors * torch.where(kept, values.clamp_min(1e-30).rsqrt(), torch.zeros_like(values))
    return directions


def _batches(values: NDArray[np.float32], size: int = 256) -> Iterator[Tensor]:
    for start in range(0, len(values), size):
        yield torch.from_numpy(np.ascontiguousarray(values[start : start + size], dtype=np.float32))
