"""The policies that are compared: a grid over the parameters of each kind."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from taintwatch.config.sections import VoteSection
from taintwatch.vote.policies import policy_from_settings
from taintwatch.vote.policy import Policy

__all__ = ["Candidate", "candidates", "default_candidate"]

LONGEST_WINDOW = 15  # a second of frames


@dataclass(frozen=True, slots=True)
class Candidate:
    """One policy as a configuration would name it."""

    kind: str
    """A key of `taintwatch.vote.policies.POLICIES`."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Those that differ from the kind's defaults, or are compared."""

    @property
    def name(self) -> str:
        """The kind and its settings, in short."""
        values = ", ".join(f"{key} {value:g}" if isinstance(value, int | float) else str(value)
                           for key, value in self.settings.items())  # fmt: skip
        return f"{self.kind}: {values}" if values else self.kind

    @property
    def policy(self) -> Policy[Any]:
        """The daemon's own object."""
        return policy_from_settings(self.kind, **self.settings)


def default_candidate() -> Candidate:
    """Return what a daemon votes with that was told nothing, as one of `candidates` names it."""
    section = VoteSection()
    policy = policy_from_settings(section.policy, **section.options())
    return next(candidate for candidate in candidates() if candidate.policy == policy)


def candidates() -> tuple[Candidate, ...]:
    """Return the whole grid, 228 policies."""
    return (*_windows(), *_exponential(), *_sequential())


def _windows() -> Iterator[Candidate]:
    for n in range(1, LONGEST_WINDOW + 1):
        for k in range(1, n + 1):
            yield Candidate("k-of-n", {"k": k, "n": n})


def _exponential() -> Iterator[Candidate]:
    for half_life in (1.0, 2.0, 3.0, 5.0, 8.0, 12.0):
        for raise_at in (0.3, 0.45, 0.6, 0.75, 0.85, 0.95):
            settings = {"half_life_frames": half_life, "raise_at": raise_at, "clear_at": raise_at / 2}
            yield Candidate("exponentially-weighted", settings)


def _sequential() -> Iterator[Candidate]:
    for p_benign in (0.02, 0.06, 0.15, 0.3):
        for p_attack in (0.6, 0.8, 0.95):
            for alpha in (1e-3, 1e-5, 1e-8):
                for after in ("restart", "hold"):
                    rates = {"p_benign": p_benign, "p_attack": p_attack, "alpha": alpha, "after_decision": after}
                    yield Candidate("sequential-probability-ratio", rates)
