"""What a vote policy is, how its limits are checked, and how two combine: `KofN(3, 5) | SequentialProbabilityRatio()`.

A policy holds limits only and never changes; what it remembers of the frames is a `Standing` that it is given and
returns. One policy therefore serves any number of cameras and detectors, and the state has one owner: the `Voter`.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from taintwatch_models.errors import ConfigError

__all__ = ["Both", "Either", "PairStanding", "Policy", "Standing", "check_number", "check_whole"]


@dataclass(frozen=True, slots=True)
class Standing:
    """What a policy knows after some frames. Each policy has its own kind, of bounded size."""

    raised: bool = False
    level: float = 0.0
    """How far towards raising, in [0, 1]; 1 when it raises."""


S = TypeVar("S", bound=Standing)


class Policy(ABC, Generic[S]):
    """A rule that turns one yes or no for each frame into a decision that stands over frames."""

    __slots__ = ()

    @abstractmethod
    def start(self) -> S:
        """Return the standing before the first frame."""

    @abstractmethod
    def __call__(self, standing: S, suspicious: bool) -> S:
        """Return the standing after one more frame."""

    @abstractmethod
    def after_gap(self, standing: S) -> S:
        """Return the standing after a gap in the frames: the decision stays, the evidence gathered so far goes."""

    def forgotten(self, standing: S) -> bool:
        """Say whether a standing that is not raised holds nothing of its suspicious frames any more."""
        return False

    def __and__(self, other: Policy[Any]) -> Both:
        return Both(self, other)

    def __or__(self, other: Policy[Any]) -> Either:
        return Either(self, other)


@dataclass(frozen=True, slots=True)
class PairStanding(Standing):
    """The standings of two policies side by side."""

    left: Standing = Standing()
    right: Standing = Standing()


@dataclass(frozen=True, slots=True)
class _Pair(Policy[PairStanding]):
    """Two policies side by side; how they are joined is each kind's own."""

    left: Policy[Any]
    right: Policy[Any]

    def start(self) -> PairStanding:
        return self._join(self.left.start(), self.right.start())

    def __call__(self, standing: PairStanding, suspicious: bool) -> PairStanding:
        return self._join(self.left(standing.left, suspicious), self.right(standing.right, suspicious))

    def after_gap(self, standing: PairStanding) -> PairStanding:
        return self._join(self.left.after_gap(standing.left), self.right.after_gap(standing.right))

    @staticmethod
    @abstractmethod
    def _join(left: Standing, right: Standing) -> PairStanding: ...


@dataclass(frozen=True, slots=True)
class Either(_Pair):
    """Raised while at least one of two policies is; the level is the larger one."""

    @staticmethod
    def _join(left: Standing, right: Standing) -> PairStanding:
        return PairStanding(left.raised or right.raised, max(left.level, right.level), left, right)


@dataclass(frozen=True, slots=True)
class Both(_Pair):
    """Raised while both of two policies are; the level is the smaller one."""

    @staticmethod
    def _join(left: Standing, right: Standing) -> PairStanding:
        return PairStanding(left.raised and right.raised, min(left.level, right.level), left, right)


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
