"""Timing calls side by side, and percentiles."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from taintwatch_models.onnx_session import SessionSettings

__all__ = ["WARM_UP", "clock_for", "interleaved", "percentiles"]

WARM_UP = 3  # rounds that are not counted: they warm caches and allocators


def clock_for(session: SessionSettings) -> Callable[[], float]:
    """Return the clock, in seconds, that a busy machine disturbs least.

    One thread on the CPU: the processor time of the calling thread, which does all the work; else the time that passes.
    """
    return time.thread_time if session.threads == 1 and session.device == "cpu" else time.perf_counter


def interleaved(
    calls: Mapping[str, Callable[[], Any]], rounds: int, clock: Callable[[], float] = time.perf_counter
) -> dict[str, NDArray[np.float64]]:
    """Time each call once a round, so that what else the machine does falls on all alike; milliseconds, (rounds,)."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    for number in range(rounds + WARM_UP):
        for name, call in calls.items():
            start = clock()
            call()
            if number >= WARM_UP:
                times[name].append((clock() - start) * 1e3)
    return {name: np.array(values) for name, values in times.items()}


def percentiles(values: ArrayLike) -> dict[str, float]:
    """Return p50, p95 and p99, JSON-ready."""
    found = np.percentile(np.asarray(values, np.float64), (50, 95, 99))
    return {name: round(float(value), 4) for name, value in zip(("p50", "p95", "p99"), found, strict=True)}
