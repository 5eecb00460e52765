"""Benign tail probabilities: the common scale on which different statistics can be combined.

A statistic's value is turned into -ln p, p the share of benign frames that reach it: empirical below the benign 90%
quantile, an exponential tail above it, so that values beyond all that was seen still differ. How they are combined:
`reference.combine`. They are not independent, so the combined score's own threshold is chosen on benign frames too.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

__all__ = ["Tail", "fit_tail", "surprises", "upper_quantile"]

_SPLIT = 0.9
_POINTS = 64
_LEAST_SCALE = 1e-3

Values = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Tail:
    """The benign distribution of one statistic, larger meaning more like an attack."""

    levels: Values
    """(64,): the benign quantiles at 0 to 0.9, evenly spaced."""
    scale: float
    """Mean excess over the 90% quantile: the exponential tail's (> 0)."""

    def surprise(self, values: Values) -> Values:
        """Return -ln p of each value: 0 where every benign frame reaches it. NaN counts as the largest surprise."""
        found: Values = surprises((self,), np.asarray(values, np.float64)[None])[0]
        return found


def surprises(tails: tuple[Tail, ...], values: Values) -> Values:
    """Return `Tail.surprise` of each tail's values, (tails, frames): all in few array operations, as frames need it."""
    splits, scales = _upper(tails)
    shares = [np.interp(row, tail.levels, _shares(len(tail.levels))) for row, tail in zip(values, tails, strict=True)]
    beyond = values - splits
    below = -np.log(1.0 - _SPLIT * np.array(shares))
    found = np.where(beyond > 0, beyond / scales - np.log(1.0 - _SPLIT), below)
    return np.asarray(np.where(np.isnan(values), 1e3, found), np.float64)


@lru_cache(maxsize=64)
def _upper(tails: tuple[Tail, ...]) -> tuple[Values, Values]:
    """Where each exponential tail begins, and its scale: (tails, 1) each."""
    return np.array([[tail.levels[-1]] for tail in tails]), np.array([[tail.scale] for tail in tails])


@lru_cache
def _shares(points: int) -> Values:
    """Evenly spaced shares from 0 to 1; made once, because every frame asks for them some times."""
    return np.linspace(0.0, 1.0, points)


def fit_tail(values: Values) -> Tail:
    """Fit the tail to benign values, (frames,), finite; at least two of them."""
    levels = np.quantile(values, np.linspace(0.0, _SPLIT, _POINTS))
    beyond = values[values > levels[-1]] - levels[-1]
    spread = float(levels[-1] - np.median(values))
    scale = float(beyond.mean()) if len(beyond) else spread
    return Tail(levels, max(scale, 1e-3 * spread, _LEAST_SCALE))


def upper_quantile(scores: Values, share: float) -> float:
    """Return the value that a `share` of all benign frames exceeds, beyond what few frames show.

    Empirical while at least five of `scores` (frames,) lie above it; else an exponential tail over the highest quantile
    that a dozen frames exceed (peaks over a threshold: Pickands, 1975, with shape 0), at least the 90% quantile.
    """
    if share * len(scores) >= 5:
        return float(np.quantile(scores, 1.0 - share))
    above = min(0.1, max(12 / len(scores), share))
    low = float(np.quantile(scores, 1.0 - above))
    beyond = scores[scores > low] - low
    scale = float(beyond.mean()) if len(beyond) else _LEAST_SCALE
    return low + max(scale, _LEAST_SCALE) * float(np.log(above / share))
