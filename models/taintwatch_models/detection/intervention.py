"""Is the place necessary for the label, and does it suffice? Both by changing the picture and asking the model again.

Each is a function of a model (inputs in, logits out), pictures and boxes, and knows nothing else.

- Necessity is TaintRadar's question (Li et al., INFOCOM 2021): does the label fall once the place is filled? What
  counts is the margin *after*, not its swing: who fools the model only narrowly leaves little to swing, but what the
  picture says without his patch is not his to choose.
- Sufficiency: does the label follow the place onto other benign pictures? (After SentiNet: Chou et al., 2018, which
  pastes the salient region onto benign pictures; there as one axis of a fitted curve, here as a statistic.)
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from taintwatch_models.detection.windows import Boxes

__all__ = ["HOSTS_EACH", "Model", "label_margin", "log_odds", "margin_after_fill", "transplant"]

Model = Callable[[NDArray[np.float32]], NDArray[np.float32]]
"""Inputs (B, 3, H, W) in, logits (B, classes) out."""

HOSTS_EACH = 4
"""Pictures that a window is pasted onto."""

Scores = NDArray[np.float64]


def label_margin(logits: NDArray[np.float32], labels: NDArray[np.int64]) -> Scores:
    """Return the largest other logit minus the label's, of (B, classes) logits: (B,)."""
    rows = np.arange(len(logits))
    others = logits.astype(np.float64)
    own = others[rows, labels].copy()
    others[rows, labels] = -np.inf
    return np.asarray(others.max(axis=1) - own, np.float64)


def log_odds(logits: NDArray[np.float32], labels: NDArray[np.int64]) -> Scores:
    """Return ln(p / (1 - p)) of the label's softmax probability, of (B, classes) logits: (B,)."""
    rows = np.arange(len(logits))
    others = logits.astype(np.float64)
    own = others[rows, labels].copy()
    others[rows, labels] = -np.inf
    peak = others.max(axis=1)
    return np.asarray(own - peak - np.log(np.exp(others - peak[:, None]).sum(axis=1)), np.float64)


def margin_after_fill(
    model: Model, inputs: NDArray[np.float32], boxes: Boxes, labels: NDArray[np.int64], fill: NDArray[np.float32]
) -> tuple[Scores, NDArray[np.int64]]:
    """Fill each box of (B, 3, H, W) inputs with `fill` (3,); return the label's margin then, and the new label.

    Both (B,); the margin is above 0 where the label changes.
    """
    filled = inputs.copy()
    for row, (top, left, height, width) in enumerate(boxes):
        filled[row, :, top : top + height, left : left + width] = fill[:, None, None]
    after = model(filled)
    return label_margin(after, labels), after.argmax(axis=1).astype(np.int64)


def transplant(
    model: Model, inputs: NDArray[np.float32], boxes: Boxes, labels: NDArray[np.int64],
    hosts: NDArray[np.float32], host_labels: NDArray[np.int64], count: int = HOSTS_EACH,
) -> Scores:  # fmt: skip
    """Paste each box of (B, 3, H, W) inputs onto `count` hosts; return the mean log odds of its label there: (B,).

    `hosts` (n, 3, H, W), with the model's own labels of them, (n,): those of the frame's label are left out, unless
    all are of it.
    """
    pasted, sizes = [], []
    for row, (top, left, height, width) in enumerate(boxes):
        other = np.flatnonzero(host_labels != labels[row])
        chosen = (other if len(other) else np.arange(len(hosts)))[:count]
        onto = hosts[chosen].copy()
        place = (slice(top, top + height), slice(left, left + width))
        onto[:, :, place[0], place[1]] = inputs[row, :, place[0], place[1]]
        pasted.append(onto)
        sizes.append(len(chosen))
    repeated = np.repeat(labels, sizes)
    odds = log_odds(_in_batches(model, np.concatenate(pasted)), repeated)
    return np.array([part.mean() for part in np.split(odds, np.cumsum(sizes)[:-1])], np.float64)


def _in_batches(model: Model, inputs: NDArray[np.float32], size: int = 32) -> NDArray[np.float32]:
    return np.concatenate([model(inputs[start : start + size]) for start in range(0, len(inputs), size)])
