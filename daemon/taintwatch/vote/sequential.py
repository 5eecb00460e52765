"""Wald's sequential probability ratio test over verdicts (A. Wald, Sequential Analysis, 1947, chapter 3)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum

from taintwatch.vote.limits import check_number
from taintwatch.vote.policy import Policy, Standing
from taintwatch_models.errors import ConfigError

__all__ = ["AfterDecision", "RatioStanding", "SequentialProbabilityRatio"]


class AfterDecision(StrEnum):
    """What becomes of the evidence once a test has decided. The decision stands until the other one is made."""

    RESTART = "restart"
    """A new test starts from even odds: the other decision needs one whole test, with Wald's error bounds."""
    HOLD = "hold"
    """The evidence stays at the bound that it reached: the other decision must outweigh both bounds."""


@dataclass(frozen=True, slots=True)
class RatioStanding(Standing):
    """The log likelihood ratio (attack over benign) since the running test started."""

    log_ratio: float = 0.0


@dataclass(frozen=True, slots=True)
class SequentialProbabilityRatio(Policy[RatioStanding]):
    """Raises when the frames are far likelier under attack, clears when they are far likelier without one.

    `p_benign` and `p_attack`: the probability that a benign and an attacked frame is suspicious (the detector's
    held-out false-positive rate and its true-positive rate). `alpha`: accepted probability that a test on benign
    frames raises;
    `beta`: that a test on attacked frames does not. The bounds are Wald's approximations log((1 - beta) / alpha) and
    log(beta / (1 - alpha)). Frames count as independent, which neighbouring video frames are not: take alpha well below
    the rate that you accept. 0 < p_benign < p_attack < 1, alpha and beta in (0, 0.5), or `ConfigError`.
    """

    p_benign: float = 0.06
    p_attack: float = 0.8
    alpha: float = 0.001
    beta: float = 0.01
    after_decision: AfterDecision = AfterDecision.RESTART

    def __post_init__(self) -> None:
        for name in ("p_benign", "p_attack"):
            check_number(name, getattr(self, name), 0, 1, open_ends=True)
        for name in ("alpha", "beta"):
            check_number(name, getattr(self, name), 0, 0.5, open_ends=True)
        if self.p_benign >= self.p_attack:
            raise ConfigError(
                f"Vote setting 'p_benign' is {self.p_benign:g}, not below 'p_attack' ({self.p_attack:g}): "
                "frames under attack must be the likelier ones to be suspicious."
            )
        if self.after_decision not in set(AfterDecision):
            known = ", ".join(AfterDecision)
            raise ConfigError(f"Vote setting 'after_decision' has value {self.after_decision!r}. Give one of: {known}.")

    @property
    def upper(self) -> float:
        """Log likelihood ratio at which it raises."""
        return math.log((1 - self.beta) / self.alpha)

    @property
    def lower(self) -> float:
        """Log likelihood ratio at which it clears (negative)."""
        return math.log(self.beta / (1 - self.alpha))

    def start(self) -> RatioStanding:
        return RatioStanding()

    def __call__(self, standing: RatioStanding, suspicious: bool) -> RatioStanding:
        odds = self.p_attack / self.p_benign if suspicious else (1 - self.p_attack) / (1 - self.p_benign)
        ratio = standing.log_ratio + math.log(odds)
        restart = self.after_decision == AfterDecision.RESTART
        if ratio >= self.upper:
            return RatioStanding(True, 1.0, 0.0 if restart else self.upper)
        if ratio <= self.lower:
            return RatioStanding(False, 0.0, 0.0 if restart else self.lower)
        return RatioStanding(standing.raised, self._level(standing.raised, ratio), ratio)

    def after_gap(self, standing: RatioStanding) -> RatioStanding:
        return RatioStanding(standing.raised, self._level(standing.raised, 0.0))

    def _level(self, raised: bool, ratio: float) -> float:
        if raised:  # falls from 1 to 0 as the test nears the lower bound
            return 1.0 - max(0.0, ratio / self.lower)
        return max(0.0, ratio / self.upper)
