"""Checks of a policy's limits: each refuses nonsense with one sentence that names the setting."""

from __future__ import annotations

import math

from taintwatch_models.errors import ConfigError

__all__ = ["check_number", "check_whole"]


def check_whole(name: str, value: object, low: int, high: int) -> int:
    """Return `value` where it is a whole number in [low, high]; raises `ConfigError`."""
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise ConfigError(f"Vote setting '{name}' has value {value!r}. Give a whole number from {low} to {high}.")
    return value


def check_number(name: str, value: object, low: float, high: float, *, open_ends: bool = False) -> float:
    """Return `value` where it is a finite number in [low, high], or in (low, high) with `open_ends`.

    Raises `ConfigError`.
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ConfigError(f"Vote setting '{name}' has value {value!r}. Give a number.")
    inside = low < value < high if open_ends else low <= value <= high
    if not inside:
        between = f"above {low:g} and below {high:g}" if open_ends else f"from {low:g} to {high:g}"
        raise ConfigError(f"Vote setting '{name}' has value {value!r}. Give a number {between}.")
    return float(value)
