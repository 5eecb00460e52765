"""The exact interval of a Poisson count (F. Garwood, Fiducial limits for the Poisson distribution, 1936)."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache

import numpy as np

__all__ = ["poisson_interval"]

_STEPS = 80  # of the bisection: as fine as doubles can tell


@lru_cache(maxsize=4096)
def poisson_interval(count: int, confidence: float = 0.95) -> tuple[float, float]:
    """Return the means between which a Poisson variable of which `count` were seen has its mean, two-sided.

    The lower end is 0 for a count of 0, where the upper is 3.69 (at 95%). Raises `ValueError` for a negative count or a
    confidence outside (0, 1).
    """
    if count < 0 or not 0 < confidence < 1:
        raise ValueError(f"no interval for a count of {count} at a confidence of {confidence}")
    tail = (1 - confidence) / 2
    top = 10 + 2 * count + 10 * math.sqrt(count + 1) - 2 * math.log(tail)
    low = 0.0 if count == 0 else _falls_to(lambda mean: at_most(count - 1, mean), 1 - tail, top)
    return low, _falls_to(lambda mean: at_most(count, mean), tail, top)


def at_most(count: int, mean: float) -> float:
    """Return the probability of at most `count` events where `mean` are expected."""
    events = np.arange(count + 1)
    factorials = np.concatenate([[0.0], np.cumsum(np.log(events[1:]))])
    return float(np.exp(events * math.log(mean) - mean - factorials).sum()) if mean > 0 else 1.0


def _falls_to(falling: Callable[[float], float], value: float, top: float) -> float:
    """Return where a falling function passes `value` between 0 and `top`."""
    low, high = 0.0, top
    for _ in range(_STEPS):
        middle = (low + high) / 2
        low, high = (middle, high) if falling(middle) > value else (low, middle)
    return (low + high) / 2
