"""How long preparing a classifier may take: looked at between its steps.

A step is native code that nothing interrupts: see `preparation_process` for who must go on beside.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from taintwatch_models.errors import ModelError

__all__ = ["PREPARE_S", "TimeBox", "too_long"]

PREPARE_S = 300.0
"""The largest vision transformers take half a minute on one core."""


class TimeBox:
    """Seconds that all steps of a preparation have together."""

    def __init__(self, limit_s: float = PREPARE_S, clock: Callable[[], float] = time.monotonic) -> None:
        self._limit_s, self._clock = limit_s, clock
        self._ends_s = clock() + limit_s

    def check(self, where: str) -> None:
        """Raise `ModelError` where the time is over."""
        if self._clock() > self._ends_s:
            raise ModelError(too_long(where, self._limit_s))


def too_long(where: str, limit_s: float) -> str:
    """Return the sentence for a model that takes too long."""
    return f"{where}: takes longer than {limit_s:g} s to prepare; take a smaller model, or a faster machine"
