"""The identity layer: softmax regression from embeddings to people, fitted also on faces with a part covered.

In NumPy, so that training at a door needs no Torch: the problem is convex and small, seconds on one core. A benign
person must keep the name when a region of the face is filled, or the fill would say nothing of an attack.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from taintwatch_models.faces.bands import band_rows

__all__ = ["COVERS", "FILLS", "IdentityLayer", "fit_identity", "mean_face", "occlude"]

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


Picture = NDArray[np.uint8]
Hole = tuple[slice, slice]


def mean_face(faces: NDArray[np.uint8]) -> Picture:
    """Return the mean of aligned faces, (N, H, W, 3) to (H, W, 3)."""
    return np.asarray(faces.mean(axis=0, dtype=np.float64).round(), np.uint8)


def _band(size: int, rng: np.random.Generator) -> Hole:
    rows = band_rows(size)
    return rows[int(rng.integers(len(rows)))], slice(0, size)


def _eye_region(size: int, rng: np.random.Generator) -> Hole:
    """The eyes and what a pair of glasses covers beside them; the template has them at 0.46 of the height."""
    top, bottom = 0.46 - rng.uniform(0.08, 0.2), 0.46 + rng.uniform(0.08, 0.2)
    side = rng.uniform(0.0, 0.2)
    return slice(round(top * size), round(bottom * size)), slice(round(side * size), round((1 - side) * size))


def _rectangle(size: int, rng: np.random.Generator) -> Hole:
    height, width = (rng.uniform(0.15, 0.5, 2) * size).round().astype(int)
    top, left = int(rng.integers(size - height + 1)), int(rng.integers(size - width + 1))
    return slice(top, top + int(height)), slice(left, left + int(width))


COVERS: tuple[Callable[[int, np.random.Generator], Hole], ...] = (_band, _eye_region, _rectangle)

FILLS: dict[str, Callable[[Picture, Picture, np.random.Generator], Picture]] = {
    "mean face": lambda face, mean, rng: mean,
    "mean colour": lambda face, mean, rng: np.broadcast_to(
        np.asarray(mean.mean(axis=(0, 1)).round(), np.uint8), face.shape
    ),
    "average": lambda face, mean, rng: np.broadcast_to(
        np.asarray(face.mean(axis=(0, 1)).round(), np.uint8), face.shape
    ),
}


def occlude(faces: NDArray[np.uint8], mean: Picture, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Return a copy of each face with one cover and one fill drawn at random, (N, size, size, 3)."""
    fills = tuple(FILLS.values())
    covered = faces.copy()
    for face in covered:
        hole = COVERS[int(rng.integers(len(COVERS)))](len(face), rng)
        face[hole] = fills[int(rng.integers(len(fills)))](face, mean, rng)[hole]
    return covered
