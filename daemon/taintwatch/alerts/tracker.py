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


@dataclass(frozen=True, slots=True)
class Restarted:
    """The daemon of a site was started anew: sequences begin again."""

    site: str
    instance: str
    previous: str


Notice = Missed | Restarted


@dataclass(slots=True)
class _Topic:
    last: int | None
    """Up to here everything is accounted for; None before there is anything to count from."""
    early: set[int] = field(default_factory=set)
    """Sequences after `last` that came already, as replays."""

    def live(self, sequence: int) -> tuple[int, bool]:
        """Return how many were missed before `sequence`, and whether it is new."""
        if self.last is not None and sequence <= self.last:
            return 0, False
        new = sequence not in self.early
        self.early.add(sequence)
        return self.reach(sequence), new

    def replay(self, sequence: int) -> bool:
        """Return whether a replayed message is new. It says nothing of those between."""
        if sequence in self.early or (self.last is not None and sequence <= self.last):
            return False
        self.early.add(sequence)
        return True

    def reach(self, sequence: int) -> int:
        """Account for everything up to `sequence`; return how many of it never came."""
        missed = 0
        if self.last is not None and sequence > self.last:
            missed = sequence - self.last - sum(self.last < early <= sequence for early in self.early)
        self.last = sequence if self.last is None else max(self.last, sequence)
        self.early = {early for early in self.early if early > self.last}
        return missed


@dataclass(slots=True)
class _Site:
    instance: str
    base: int | None
    """What a topic that was never heard of is counted from: None (we joined late) or 0 (we saw the daemon restart)."""
    topics: dict[str, _Topic] = field(default_factory=dict)

    def topic(self, name: str) -> _Topic:
        return self.topics.setdefault(name, _Topic(self.base))


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
            notices.append(Restarted(envelope.site, envelope.instance, site.instance))
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
            notices.append(Missed(message.topic, missed))
        return notices, new

    def _reach(self, site: _Site, heartbeat: Heartbeat) -> list[Notice]:
        notices: list[Notice] = []
        for name, last in heartbeat.last_sequences.items():
            if name.startswith(self._prefixes):
                missed = site.topic(name).reach(last)
                if missed:
                    notices.append(Missed(name, missed))
        return notices
