"""Judged frames through the daemon's own vote, with several meanings of `agree`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np

from benchmarks.vote_agreement.streams import FPS
from taintwatch.assembly import make_voter
from taintwatch.config.sections import VoteSection
from taintwatch_models.records import Frame, Region, Verdict, read_only

__all__ = ["AGREEMENTS", "POLICIES", "Outcome", "attack_outcome", "benign_alerts", "flickering"]

AGREEMENTS = ("none", "label", "region", "label or region")
"""In what suspicious frames must agree to count together; the last is the daemon's `vote.agree = true`."""
POLICIES: Mapping[str, Mapping[str, Any]] = {
    "3 of 5": {"k": 3, "n": 5}, "5 of 5": {"k": 5, "n": 5}, "3 of 10": {"k": 3, "n": 10},
}  # fmt: skip
_ATTACK_S, _BEFORE_S, _AFTER_S = 60.0, 5.0, 15.0
_SEEN_S, _HIDDEN_S = (0.2, 1.5), (0.2, 3.0)
"""For how long a patch is seen at a time, and hidden after it."""

Judged = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a vote makes of one attack."""

    alerts: int
    """That are raised while it lasts."""
    delay_s: float | None
    """From the first fooled frame to the first alert; None: none is raised."""
    standing: bool
    """Whether an alert stood already when it came: then nothing can be said of its detection."""


def flickering(scene: Mapping[str, Any], benign: Sequence[Judged], seed: int) -> tuple[list[Judged], int | None]:
    """Return a minute of an attack that is now seen and now hidden, with the footage alone around it.

    The scene's frames are shown to and fro; where the patch is hidden, the same frame without it takes its place.
    Also returns the first frame whose label is the attack's; None: there is none.
    """
    rng, shown = np.random.default_rng([11, seed]), list[bool]()
    while len(shown) < _ATTACK_S * FPS:
        shown += [True] * round(rng.uniform(*_SEEN_S) * FPS) + [False] * round(rng.uniform(*_HIDDEN_S) * FPS)
    shown = [False] * round(_BEFORE_S * FPS) + shown[: round(_ATTACK_S * FPS)] + [False] * round(_AFTER_S * FPS)
    found, fooled, count = [], None, len(scene["frames"])
    for index, seen in enumerate(shown):
        place = index % (2 * count - 2)
        row = min(place, 2 * count - 2 - place)
        found.append(scene["frames"][row] if seen else benign[scene["first"] + row])
        if seen and fooled is None and found[-1]["label"] == scene["target"]:
            fooled = index
    return found, fooled


def attack_outcome(
    judged: Sequence[Judged], fooled: int, threshold: float, policy: Mapping[str, Any], agreement: str
) -> Outcome:
    """Return what becomes of an attack whose first fooled frame is `fooled`."""
    stands = _stands(judged, threshold, policy, agreement)
    raised = [index for index in _rises(stands) if index >= fooled]
    return Outcome(len(raised), (raised[0] - fooled) / FPS if raised else None, fooled > 0 and stands[fooled - 1])


def benign_alerts(judged: Sequence[Judged], threshold: float, policy: Mapping[str, Any], agreement: str) -> int:
    """Return how many alerts benign frames raise."""
    return len(_rises(_stands(judged, threshold, policy, agreement)))


def _stands(judged: Sequence[Judged], threshold: float, policy: Mapping[str, Any], agreement: str) -> list[bool]:
    """Return for each frame whether an alert stands after it."""
    voter = make_voter(VoteSection(**policy, agree=agreement != "none"), ("combined",))
    pixels, found = read_only(np.zeros((1, 1, 3), np.uint8)), []
    for index, one in enumerate(judged):
        frame = Frame("footage", index, pixels, 0, 0, media_s=index / FPS)
        found.append(voter(frame, [_verdict(one, index, threshold, agreement)])[-1].raised)
    return found


def _rises(stands: Sequence[bool]) -> list[int]:
    return [index for index, (before, now) in enumerate(pairwise([False, *stands])) if now and not before]


def _verdict(one: Judged, index: int, threshold: float, agreement: str) -> Verdict:
    """Return what the vote is told; of a label or region that need not agree it is told nothing that could."""
    suspicious = one["score"] > threshold
    region = None if one["box"] is None else Region(tuple(one["box"]), (), 0.0)
    verdict = Verdict(
        "footage", index, "combined", suspicious, one["score"], threshold, one["label"], "", None, None, region, {}
    )
    if agreement == "label":
        return replace(verdict, region=None)
    return replace(verdict, label=-1 - index) if agreement == "region" else verdict
