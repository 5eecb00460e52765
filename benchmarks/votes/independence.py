"""What one would expect of a policy if frames were independent. They are not: this is what calibrating replaces."""

from __future__ import annotations

import math
from typing import Any

from benchmarks.votes.scenes import FPS
from taintwatch.vote.policies import KofN, SequentialProbabilityRatio
from taintwatch.vote.policy import Policy

__all__ = ["FRAMES_A_DAY", "expected_a_day"]

FRAMES_A_DAY = FPS * 86_400


def expected_a_day(policy: Policy[Any], share: float) -> float | None:
    """Return the false alarms a day that a formula for independent frames gives; None where there is none.

    `share`: of the benign frames that are suspicious. k-of-n: a frame raises where it is suspicious and the n - 1
    before it hold exactly k - 1 such frames (binomial). Sequential: a share alpha of the tests, each as long as Wald
    expects of benign frames (Wald, 1947, eq. 3:57).
    """
    if isinstance(policy, KofN):
        ways = math.comb(policy.n - 1, policy.k - 1)
        return float(FRAMES_A_DAY * ways * share**policy.k * (1 - share) ** (policy.n - policy.k))
    if isinstance(policy, SequentialProbabilityRatio):
        up = math.log(policy.p_attack / policy.p_benign)
        down = math.log((1 - policy.p_attack) / (1 - policy.p_benign))
        drift = policy.p_benign * up + (1 - policy.p_benign) * down
        frames = (policy.alpha * policy.upper + (1 - policy.alpha) * policy.lower) / drift
        return float(FRAMES_A_DAY / frames * policy.alpha)
    return None
