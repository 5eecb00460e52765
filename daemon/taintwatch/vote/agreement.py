"""Which suspicious frames speak of the same attack: only those count together.

Li et al. (INFOCOM 2021) suggest the consistency of neighbouring frames: an attack is in one place and wants one label,
while false alarms of a restless scene point here and there. Each group of agreeing frames has a standing of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from taintwatch.vote.policy import Policy, Standing
from taintwatch_models.records import Verdict

__all__ = ["Agreement", "Sighting", "agreement_after_gap", "next_agreement", "sighting_of"]

LEAST_OVERLAP = 0.2  # of the smaller of two regions; a region shakes from frame to frame, and so does a camera
MOST_GROUPS = 8  # bounds the memory of a subject; a restless scene fills them, an attack keeps the one it has


@dataclass(frozen=True, slots=True)
class Sighting:
    """What a suspicious frame points at."""

    label: int
    box: tuple[int, int, int, int] | None
    """(x, y, width, height) of the region in frame pixels."""

    def agrees(self, other: Sighting) -> bool:
        """Whether both may show one attack: the same label, or regions that overlap."""
        return self.label == other.label or _overlap(self.box, other.box) >= LEAST_OVERLAP


def sighting_of(verdict: Verdict) -> Sighting | None:
    """Return what a verdict points at; None where it is not suspicious."""
    if not verdict.suspicious:
        return None
    return Sighting(verdict.label, None if verdict.region is None else verdict.region.box)


@dataclass(frozen=True, slots=True)
class _Group:
    """Frames that agree: the newest of them, and where their vote stands."""

    newest: Sighting
    standing: Standing


@dataclass(frozen=True, slots=True)
class Agreement(Standing):
    """Where the vote of one detector stands; of bounded size."""

    benign: Standing = field(default_factory=Standing)
    """The policy's standing if no frame had been suspicious: what a new group starts from."""
    groups: tuple[_Group, ...] = ()


def next_agreement(policy: Policy[Any], before: Agreement | None, sighting: Sighting | None) -> Agreement:
    """Return the standing after one more frame; `before` None: before the first."""
    benign = policy.start() if before is None else before.benign
    groups = [_stepped(policy, group, sighting) for group in (() if before is None else before.groups)]
    if sighting is not None and not any(group.newest is sighting for group in groups):
        groups.append(_Group(sighting, policy(benign, True)))
    return _agreement(policy, policy(benign, False), groups)


def agreement_after_gap(policy: Policy[Any], standing: Agreement) -> Agreement:
    """Return the standing after a gap in the frames: decisions stay, evidence goes."""
    groups = [replace(group, standing=policy.after_gap(group.standing)) for group in standing.groups]
    return _agreement(policy, policy.after_gap(standing.benign), groups)


def _stepped(policy: Policy[Any], group: _Group, sighting: Sighting | None) -> _Group:
    if sighting is not None and group.newest.agrees(sighting):
        return _Group(sighting, policy(group.standing, True))
    return replace(group, standing=policy(group.standing, False))


def _agreement(policy: Policy[Any], benign: Standing, groups: Sequence[_Group]) -> Agreement:
    """Join the groups; those that have nothing left to say go, and the weakest where there are too many."""
    alive = [group for group in dict.fromkeys(groups) if _speaks(policy, group.standing, benign)]
    alive.sort(key=lambda group: (group.standing.raised, group.standing.level), reverse=True)
    kept = tuple(alive[:MOST_GROUPS])
    standings = [benign, *(group.standing for group in kept)]
    return Agreement(
        any(standing.raised for standing in standings), max(standing.level for standing in standings), benign, kept
    )


def _speaks(policy: Policy[Any], standing: Standing, benign: Standing) -> bool:
    return standing.raised or (standing != benign and not policy.forgotten(standing))


def _overlap(one: tuple[int, int, int, int] | None, other: tuple[int, int, int, int] | None) -> float:
    """Return the share of the smaller box that lies in the other, in [0, 1]."""
    if one is None or other is None:
        return 0.0
    width = min(one[0] + one[2], other[0] + other[2]) - max(one[0], other[0])
    height = min(one[1] + one[3], other[1] + other[3]) - max(one[1], other[1])
    smaller = min(one[2] * one[3], other[2] * other[3])
    return max(0, width) * max(0, height) / smaller if smaller > 0 else 0.0
