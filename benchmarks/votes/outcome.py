"""What a policy makes of the streams: false alarms of benign ones, time to alarm under attack."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from benchmarks.votes.replay import raised, rises
from benchmarks.votes.scenes import FPS
from benchmarks.votes.streams import Stream
from taintwatch.vote.policy import Policy

__all__ = [
    "WITHIN",
    "AttackOutcome",
    "BenignOutcome",
    "attack_outcome",
    "benign_outcome",
    "fewer_a_day",
    "poisson_interval",
]

WITHIN = 10
"""Fooled frames within which an alarm is wanted."""
_RESAMPLES = 2000


@dataclass(frozen=True, slots=True)
class BenignOutcome:
    """False alarms of benign streams, and what they make a camera-day. JSON-ready."""

    hours: float
    """Of footage that was seen, at 15 frames a second."""
    alarms: int
    streams: int
    streams_with_alarms: int
    a_day: float
    """Alarms a camera-day, extrapolated."""
    poisson: tuple[float, float]
    """95% interval of that, as if alarms came independently of each other (Garwood)."""
    by_stream: tuple[float, float]
    """The same by drawing streams anew (percentile bootstrap): alarms of one stream come together."""

    @property
    def upper(self) -> float:
        """The more pessimistic upper end, alarms a camera-day."""
        return max(self.poisson[1], self.by_stream[1])


@dataclass(frozen=True, slots=True)
class AttackOutcome:
    """How soon attacks are found. JSON-ready.

    Frames are counted from the first fooled one, which is 1: an alarm at frame 3 came with the third.
    """

    attacks: int
    already: int
    """Of these, an alert stood already when the patch came, so that nothing can be said; left out of what follows."""
    found: int
    median: float | None
    """Frames to the alarm, over found and missed ones; None: infinite."""
    ninety: float | None
    """Nine of ten attacks are found within so many frames; None: less than that are found."""
    within: float
    """Share found within 10 frames."""

    @property
    def missed(self) -> int:
        """Attacks without any alarm while the patch was there."""
        return self.attacks - self.already - self.found


def benign_outcome(policy: Policy[Any], streams: Sequence[Stream], threshold: float) -> BenignOutcome:
    """Replay benign streams. Raises `ValueError` where there is no frame."""
    frames = sum(len(stream.scores) for stream in streams)
    if not frames:
        raise ValueError("benign streams without a frame")
    counts = _alarms(policy, streams, threshold)
    lengths = np.array([len(stream.scores) for stream in streams])
    hours, alarms = frames / FPS / 3600, int(counts.sum())
    low, high = poisson_interval(alarms)
    return BenignOutcome(
        hours, alarms, len(streams), int((counts > 0).sum()), alarms / hours * 24,
        (low / hours * 24, high / hours * 24), _by_stream(counts, lengths),
    )  # fmt: skip


def poisson_interval(count: int) -> tuple[float, float]:
    """Return the exact 95% interval of the mean of a Poisson variable of which `count` were seen (Garwood, 1936)."""
    low = stats.chi2.ppf(0.025, 2 * count) / 2 if count else 0.0
    return float(low), float(stats.chi2.ppf(0.975, 2 * count + 2) / 2)


def fewer_a_day(
    one: Policy[Any], other: Policy[Any], streams: Sequence[Stream], threshold: float
) -> tuple[float, tuple[float, float]]:
    """Return how many false alarms a camera-day fewer `one` raises than `other`, with its 95% interval over streams.

    Both are replayed on the same streams, so that what makes a stream hard cancels out.
    """
    saved = _alarms(other, streams, threshold) - _alarms(one, streams, threshold)
    lengths = np.array([len(stream.scores) for stream in streams])
    return float(saved.sum() / lengths.sum() * FPS * 86_400), _by_stream(saved, lengths)


def _alarms(policy: Policy[Any], streams: Sequence[Stream], threshold: float) -> NDArray[np.int64]:
    return np.array([len(rises(raised(stream.suspicious(threshold), policy))) for stream in streams], np.int64)


def _by_stream(counts: NDArray[np.int64], lengths: NDArray[np.int64]) -> tuple[float, float]:
    """95% percentile bootstrap of alarms a day over streams; the same draws for every policy."""

    def a_day(counts: NDArray[np.int64], lengths: NDArray[np.int64], axis: int = -1) -> NDArray[np.float64]:
        return np.asarray(counts.sum(axis) / lengths.sum(axis) * FPS * 86_400)

    if len(counts) < 2:  # one stream, drawn again, is itself
        return float(a_day(counts, lengths)), float(a_day(counts, lengths))
    drawn = stats.bootstrap(
        (counts, lengths), a_day, paired=True, n_resamples=_RESAMPLES, method="percentile", rng=np.random.default_rng(0)
    )
    return float(drawn.confidence_interval.low), float(drawn.confidence_interval.high)


def attack_outcome(policy: Policy[Any], streams: Sequence[Stream], threshold: float) -> AttackOutcome:
    """Replay those attacks that succeed; frames of the others count for nothing."""
    delays, already = [], 0
    attacks = [stream for stream in streams if stream.succeeds]
    for stream in attacks:
        standing = raised(stream.suspicious(threshold), policy)
        if stream.appears and standing[stream.appears - 1]:
            already += 1
            continue
        later = rises(standing)
        later = later[later >= stream.appears]
        delays.append(max(1, int(later[0]) - stream.first_fooled + 1) if len(later) else math.inf)
    known = np.sort(np.array(delays, np.float64))
    return AttackOutcome(
        len(attacks), already, int(np.isfinite(known).sum()), _quantile(known, 0.5), _quantile(known, 0.9),
        float((known <= WITHIN).mean()) if len(known) else 0.0,
    )  # fmt: skip


def _quantile(ordered: NDArray[np.float64], share: float) -> float | None:
    """The smallest of the ordered delays within which at least `share` of the attacks are found."""
    if not len(ordered):
        return None
    value = float(ordered[math.ceil(share * len(ordered)) - 1])
    return value if math.isfinite(value) else None
