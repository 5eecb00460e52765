"""Minimum hold and cool-down around any decision, in the frames' own time."""

from __future__ import annotations

from dataclasses import dataclass

from taintwatch.vote.limits import check_number

__all__ = ["Hold", "HoldStanding"]

LONGEST_S = 86_400.0


@dataclass(frozen=True, slots=True)
class HoldStanding:
    """Whether the decision stands, and since when."""

    raised: bool = False
    changed_ns: int | None = None
    """Time of the last change; None before the first."""


@dataclass(frozen=True, slots=True)
class Hold:
    """Keeps a raised decision for `minimum_hold_s` at least, and a cleared one for `cool_down_s` at least.

    Seconds, each in [0, 86400], or `ConfigError`. An attack that outlasts the cool-down raises at its end: nothing is
    suppressed for longer.
    """

    minimum_hold_s: float = 1.0
    cool_down_s: float = 2.0

    def __post_init__(self) -> None:
        check_number("minimum_hold_s", self.minimum_hold_s, 0, LONGEST_S)
        check_number("cool_down_s", self.cool_down_s, 0, LONGEST_S)

    def __call__(self, standing: HoldStanding, wanted: bool, now_ns: int) -> HoldStanding:
        """Return the standing at `now_ns`, where the decision itself is `wanted`. `now_ns` never decreases."""
        if wanted == standing.raised:
            return standing
        wait_s = self.minimum_hold_s if standing.raised else self.cool_down_s
        if standing.changed_ns is not None and now_ns - standing.changed_ns < round(wait_s * 1e9):
            return standing
        return HoldStanding(wanted, now_ns)
