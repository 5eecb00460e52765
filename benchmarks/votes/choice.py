"""The rule by which a default is chosen."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.votes.outcome import AttackOutcome, BenignOutcome
from benchmarks.votes.policies import Candidate

__all__ = ["ACCEPTED_A_DAY", "RULE", "Measured", "choose"]

ACCEPTED_A_DAY = 1.0
_AS_SOON = 0.95

RULE = (
    f"Of the policies that find at least {_AS_SOON:.0%} as many attacks within 10 frames as the quickest one does: the "
    f"fastest whose upper estimate is at most {ACCEPTED_A_DAY:g} false alarm a camera-day; where there is none, the "
    "fastest of those with the lowest upper estimate that is reached. Upper estimate: the larger of the upper ends of "
    "the Poisson interval and the bootstrap over streams. Fastest: by the share within 10 frames, then the 90% and the "
    "median time to alarm."
)


@dataclass(frozen=True, slots=True)
class Measured:
    """A policy with what came of it on one half."""

    candidate: Candidate
    benign: BenignOutcome
    attack: AttackOutcome

    @property
    def slowness(self) -> tuple[float, float, float]:
        """Smaller is faster."""
        attack = self.attack
        return (
            -attack.within,
            math.inf if attack.ninety is None else attack.ninety,
            math.inf if attack.median is None else attack.median,
        )


def choose(measured: Sequence[Measured]) -> Measured:
    """Return the policy that `RULE` chooses. Raises `ValueError` for none."""
    soonest = max(one.attack.within for one in measured)
    quick = [one for one in measured if one.attack.within >= _AS_SOON * soonest]
    lowest = min(one.benign.upper for one in quick)
    good = [one for one in quick if one.benign.upper <= max(ACCEPTED_A_DAY, lowest) * (1 + 1e-9)]
    return min(good, key=lambda one: (*one.slowness, one.benign.upper))
