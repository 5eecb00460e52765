"""Finds what a subscriber missed: by the sequences of each topic, by the heartbeats' last ones, and by restarts."""

from __future__ import annotations

from dataclasses import dataclass, field

from taintwatch.alerts.bodies import Heartbeat
from taintwatch.alerts.messages import Message

__all__ = ["GapTracker", "Missed", "Notice", "Restarted"]


@dataclass(frozen=True, slots=True)
class Missed:
    """So many messages of a topic were published but never came."""

    topic: str
    count: int
    instance: str = field(default="", compare=False)
    """The start of the daemon that published them."""
    ranges: tuple[tuple[int, int], ...] = field(default=(), compare=False)
    """Their sequences: (first, last) of each run, inclusive; empty where only the count is known."""


@dataclass(frozen=True, slots=True)
class Restarted:
    """The daemon of a site was started anew: sequences begin again."""

    site: str
    instance: str
    previous: str
    reached: tuple[tuple[str, int], ...] = field(default=(), compare=False)
    """(topic, last sequence) of the previous start, as far as it is accounted for."""


Notice = Missed | Restarted
Ranges = tuple[tuple[int, int], ...]


@dataclass(slots=True)
class _Topic:
    last: int | None
    """Up to here everything is accounted for; None before there is anything to count from."""
    early: set[int] = field(default_factory=set)
    """Sequences after `last` that came already, as replays."""
    joined: int = 0
    """Where counting began: what we came too late for may be told again after that."""
    told: set[int] = field(default_factory=set)
    """Sequences up to `joined` that came."""

    def live(self, sequence: int) -> tuple[Ranges, bool]:
        """Return the sequences that were missed before `sequence`, and whether it is new."""
        if self.last is not None and sequence <= self.last:
            return (), False
        new = sequence not in self.early
        self.early.add(sequence)
        return self.reach(sequence), new

    def replay(self, sequence: int) -> bool:
        """Return whether a replayed message is new. It says nothing of those between."""
        if self.last is not None and self.joined < sequence <= self.last:
            return False
        came = self.told if sequence <= self.joined else self.early
        new = sequence not in came
        came.add(sequence)
        return new

    def reach(self, sequence: int) -> Ranges:
        """Account for everything up to `sequence`; return what of it never came."""
        missed: list[tuple[int, int]] = []
        if self.last is None:
            self.joined = sequence
            self.told = {early for early in self.early if early <= sequence}
        elif sequence > self.last:
            first = self.last + 1
            for early in sorted(early for early in self.early if self.last < early <= sequence):
                if early > first:
                    missed.append((first, early - 1))
                first = early + 1
            if first <= sequence:
                missed.append((first, sequence))
        self.last = sequence if self.last is None else max(self.last, sequence)
        self.early = {early for early in self.early if early > self.last}
        return tuple(missed)


@dataclass(slots=True)
class _Site:
    instance: str
    base: int | None
    """What a topic that was never heard of is counted from: None (we joined late) or 0 (we saw the daemon restart)."""
    topics: dict[str, _Topic] = field(default_factory=dict)

    def topic(self, name: str) -> _Topic:
        return self.topics.setdefault(name, _Topic(self.base))

    def reached(self) -> tuple[tuple[str, int], ...]:
        return tuple((name, topic.last) for name, topic in self.topics.items() if topic.last is not None)

    def missed(self, topic: str, ranges: Ranges) -> Missed:
        return Missed(topic, sum(last - first + 1 for first, last in ranges), self.instance, ranges)


class GapTracker:
    """Accounts for every sequence of the topics that start with one of `prefixes`."""

    def __init__(self, prefixes: tuple[str, ...]) -> None:
        self._prefixes = prefixes
        self._sites: dict[str, _Site] = {}

    def see(self, message: Message) -> tuple[list[Notice], bool]:
        """Take in one message; return what it reveals, and whether it is new and asked for."""
        envelope = message.envelope
        notices: list[Notice] = []
        site = self._sites.get(envelope.site)
        if site is None:
            site = self._sites[envelope.site] = _Site(envelope.instance, None)
        elif site.instance != envelope.instance:
            notices.append(Restarted(envelope.site, envelope.instance, site.instance, site.reached()))
            site = self._sites[envelope.site] = _Site(envelope.instance, 0)
        wanted = message.topic.startswith(self._prefixes)
        if isinstance(message.body, Heartbeat):
            return notices + self._reach(site, message.body), wanted
        if not wanted:
            return notices, False
        topic = site.topic(message.topic)
        if envelope.replayed:
            return notices, topic.replay(envelope.sequence)
        missed, new = topic.live(envelope.sequence)
        if missed:
            notices.append(site.missed(message.topic, missed))
        return notices, new

    def _reach(self, site: _Site, heartbeat: Heartbeat) -> list[Notice]:
        notices: list[Notice] = []
        for name, last in heartbeat.last_sequences.items():
            if name.startswith(self._prefixes):
                missed = site.topic(name).reach(last)
                if missed:
                    notices.append(site.missed(name, missed))
        return notices
