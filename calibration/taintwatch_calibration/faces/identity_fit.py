"""The identity layer: softmax regression from embeddings to people.

In NumPy, so that training at a door needs no Torch: the problem is convex and small, seconds on one core.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["IdentityLayer", "fit_identity"]

_STEPS, _RATE = 300, 0.05
_FIRST, _SECOND = 0.9, 0.999  # Adam's decays (Kingma and Ba, 2015)


@dataclass(frozen=True, slots=True, eq=False)
class IdentityLayer:
    """`logits = embedding @ weights + bias`."""

    weights: NDArray[np.float32]
    """(dimensions, people)."""
    bias: NDArray[np.float32]
    """(people,)."""

    def __call__(self, embeddings: NDArray[np.float32]) -> NDArray[np.float32]:
        """(N, dimensions) to logits, (N, people)."""
        return np.asarray(embeddings @ self.weights + self.bias, np.float32)


def fit_identity(
    embeddings: NDArray[np.float32],
    labels: NDArray[np.int64],
    people: int,
    occluded: NDArray[np.float32] | None = None,
    *,
    decay: float = 1e-3,
) -> IdentityLayer:
    """Fit to the embeddings of photographs, (N, dimensions), and of covered copies of them, (copies, N, dimensions).

    Embeddings are standardised, which is folded into the weights. `decay` weighs the squared weights: it keeps the
    layer's logits modest, so that a probability says something, and adversarial patterns need more of a face.
    """
    mean = embeddings.mean(axis=0)
    spread = np.maximum(embeddings.std(axis=0), 1e-6)
    copies = [embeddings] if occluded is None else [embeddings, *occluded]
    values = (np.concatenate(copies) - mean) / spread
    wanted = np.eye(people, dtype=np.float32)[np.tile(labels, len(copies))]
    weights = np.zeros((values.shape[1] + 1, people))  # its last row is the bias
    first, second = np.zeros_like(weights), np.zeros_like(weights)
    values = np.concatenate([values, np.ones((len(values), 1), values.dtype)], axis=1)
    for step in range(1, _STEPS + 1):
        logits = values @ weights
        shares = np.exp(logits - logits.max(axis=1, keepdims=True))
        shares /= shares.sum(axis=1, keepdims=True)
        gradient = values.T @ (shares - wanted) / len(values)
        gradient[:-1] += 2 * decay * weights[:-1]
        first = _FIRST * first + (1 - _FIRST) * gradient
        second = _SECOND * second + (1 - _SECOND) * gradient**2
        weights -= _RATE * (first / (1 - _FIRST**step)) / (np.sqrt(second / (1 - _SECOND**step)) + 1e-8)
    scaled = weights[:-1] / spread[:, None]
    return IdentityLayer(scaled.astype(np.float32), (weights[-1] - mean @ scaled).astype(np.float32))
