"""Score sequences through the daemon's own policies and hold, with the frames' time made up: frame n is at n / 15 s."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.votes.scenes import FPS
from taintwatch.vote.policy import Policy, Standing
from taintwatch.vote.voter import Hold, HoldStanding

__all__ = ["raised", "rises"]


def raised(suspicious: NDArray[np.bool_], policy: Policy[Any]) -> NDArray[np.bool_]:
    """Return for each frame whether an alert stands after it, with the daemon's default hold and cool-down.

    `suspicious`: (frames,), what the detector said of each: the streams hold no labels and no regions, so that all
    suspicious frames count together. The same as `taintwatch.vote.voter.Voter` on frames without a gap, several times
    as fast: where a frame that is not suspicious changes nothing, the next ones change nothing either, up to the next
    suspicious one.
    """
    found, flags = np.zeros(len(suspicious), np.bool_), suspicious.tolist()
    until = [*np.flatnonzero(suspicious).tolist(), len(flags)]
    standing: Standing = policy.start()
    hold, held = Hold(), HoldStanding()
    index = passed = 0
    while index < len(flags):
        after: Standing = policy(standing, flags[index])
        held = hold(held, after.raised, round(index / FPS * 1e9))
        following = index + 1
        if not flags[index] and after == standing and after.raised == held.raised:
            while until[passed] < following:
                passed += 1
            following = until[passed]
        if held.raised:
            found[index:following] = True
        standing, index = after, following
    return found


def rises(standing: NDArray[np.bool_]) -> NDArray[np.intp]:
    """Return the frames at which an alert was raised."""
    return np.flatnonzero(standing & ~np.concatenate([[False], standing[:-1]]))
