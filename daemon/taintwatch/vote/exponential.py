"""An exponentially weighted share of suspicious frames, with a threshold to raise and a lower one to clear."""

from __future__ import annotations

import math
from dataclasses import dataclass

from taintwatch.vote.limits import check_number
from taintwatch.vote.policy import Policy, Standing
from taintwatch_models.errors import ConfigError

__all__ = ["ExponentiallyWeighted", "ShareStanding"]


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

    def after_gap(self, standing: ShareStanding) -> ShareStanding:
        # A raised alarm starts again at the least share that would have raised it; otherwise from nothing.
        return ShareStanding(True, 1.0, self.raise_at) if standing.raised else ShareStanding()
