"""The k-of-n window: so many suspicious frames among the last so many."""

from __future__ import annotations

from dataclasses import dataclass

from taintwatch.vote.limits import check_whole
from taintwatch.vote.policy import Policy, Standing
from taintwatch_models.errors import ConfigError

__all__ = ["KofN", "WindowStanding"]

LONGEST_WINDOW = 1000  # bounds the memory of a camera; half a minute at 30 frames/s


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

    def after_gap(self, standing: WindowStanding) -> WindowStanding:
        return WindowStanding(standing.raised)
