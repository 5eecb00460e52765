"""The vote policies, and how a configuration names them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from enum import StrEnum
from typing import Any

from taintwatch.vote.policy import Policy, Standing, check_number, check_whole
from taintwatch_models.errors import ConfigError

__all__ = [
    "POLICIES",
    "AfterDecision",
    "ExponentiallyWeighted",
    "KofN",
    "RatioStanding",
    "SequentialProbabilityRatio",
    "ShareStanding",
    "WindowStanding",
    "policy_from_settings",
]

LONGEST_WINDOW = 1000  # bounds the memory of a camera; half a minute at 30 frames/s


_FORGOTTEN_SHARE = 1e-6  # an exponential share never quite reaches 0


@dataclass(frozen=True, slots=True)
class WindowStanding(Standing):
    """The last frames' verdicts, oldest first; never more than n."""

    window: tuple[bool, ...] = ()


@dataclass(frozen=True, slots=True)
class KofN(Policy[WindowStanding]):
    """Raises at `k` suspicious frames among the last `n`; clears when a full window holds at most `clear_at`.

    1 <= k <= n <= 1000 and 0 <= clear_at < k, or `ConfigError`. With the default `clear_at=0`, n clean frames in a row
    clear. Only a full window clears, so that what was decided on old frames is never undone by having seen too few new
    ones.
    """

    k: int = 3
    n: int = 5
    clear_at: int = 0

    def __post_init__(self) -> None:
        check_whole("n", self.n, 1, LONGEST_WINDOW)
        check_whole("k", self.k, 1, LONGEST_WINDOW)
        if self.k > self.n:
            raise ConfigError(f"Vote setting 'k' is {self.k} but the window 'n' holds only {self.n}. Give k <= n.")
        check_whole("clear_at", self.clear_at, 0, self.k - 1)

    def start(self) -> WindowStanding:
        return WindowStanding()

    def __call__(self, standing: WindowStanding, suspicious: bool) -> WindowStanding:
        window = (*standing.window, suspicious)[-self.n :]
        count = sum(window)
        raised = count > self.clear_at or len(window) < self.n if standing.raised else count >= self.k
        return WindowStanding(raised, min(1.0, count / self.k), window)

    def forgotten(self, standing: WindowStanding) -> bool:
        return not any(standing.window)

    def after_gap(self, standing: WindowStanding) -> WindowStanding:
        return WindowStanding(standing.raised)


@dataclass(frozen=True, slots=True)
class ShareStanding(Standing):
    """The weighted share of suspicious frames, in [0, 1]."""

    share: float = 0.0


@dataclass(frozen=True, slots=True)
class ExponentiallyWeighted(Policy[ShareStanding]):
    """Raises when the share reaches `raise_at` and clears when it falls to `clear_at` or below.

    A frame's weight halves every `half_life_frames` frames: share = w * share + (1 - w) * suspicious, w =
    2^(-1/half-life), from 0. Frames, not seconds: at a low rate a half-life in seconds would let a single frame decide.
    0 < clear_at < raise_at < 1 and 0 < half_life_frames <= 10000, or `ConfigError`. With the defaults four suspicious
    frames in a row raise, and six clean ones after a long attack clear.
    """

    half_life_frames: float = 3.0
    raise_at: float = 0.6
    clear_at: float = 0.3

    def __post_init__(self) -> None:
        check_number("half_life_frames", self.half_life_frames, 0, 10_000, open_ends=True)
        check_number("raise_at", self.raise_at, 0, 1, open_ends=True)
        check_number("clear_at", self.clear_at, 0, 1, open_ends=True)
        if self.clear_at >= self.raise_at:
            raise ConfigError(
                f"Vote setting 'clear_at' is {self.clear_at:g}, not below 'raise_at' ({self.raise_at:g}). Lower it."
            )

    def start(self) -> ShareStanding:
        return ShareStanding()

    def __call__(self, standing: ShareStanding, suspicious: bool) -> ShareStanding:
        old = math.exp2(-1 / self.half_life_frames)
        share = old * standing.share + (1 - old) * suspicious
        raised = share > self.clear_at if standing.raised else share >= self.raise_at
        return ShareStanding(raised, min(1.0, share / self.raise_at), share)

    def forgotten(self, standing: ShareStanding) -> bool:
        return standing.share < _FORGOTTEN_SHARE

    def after_gap(self, standing: ShareStanding) -> ShareStanding:
        # A raised alarm starts again at the least share that would have raised it; otherwise from nothing.
        return ShareStanding(True, 1.0, self.raise_at) if standing.raised else ShareStanding()


class AfterDecision(StrEnum):
    """How evidence goes on once a test has decided. The decision stands until the other one is made."""

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


POLICIES: Mapping[str, Callable[..., Policy[Any]]] = {
    "exponentially-weighted": ExponentiallyWeighted,
    "k-of-n": KofN,
    "sequential-probability-ratio": SequentialProbabilityRatio,
}


def policy_from_settings(kind: str, **options: Any) -> Policy[Any]:
    """Return the policy `kind` (a key of `POLICIES`; `_` may stand for `-`) with `options` as its limits.

    Options left out keep the policy's defaults. Raises `ConfigError` for an unknown kind or option, or a value that is
    nonsense.
    """
    make = POLICIES.get(kind.lower().replace("_", "-"))
    if make is None:
        raise ConfigError(f"Vote setting 'policy' has value {kind!r}. Give one of: {', '.join(POLICIES)}.")
    known = [field.name for field in fields(make)]  # type: ignore[arg-type]  # every policy is a dataclass
    unknown = sorted(set(options) - set(known))
    if unknown:
        raise ConfigError(f"Vote policy '{kind}' has no setting '{unknown[0]}'. It has: {', '.join(known)}.")
    return make(**options)
