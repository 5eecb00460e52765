"""The bounded queue between whoever publishes and the publisher's thread, and what a new subscriber must be told."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from taintwatch.alerts.messages import Message
from taintwatch.alerts.topics import Kind
from taintwatch.records import Alert, AlertState

__all__ = ["Outbox", "Parcel", "Snapshot"]

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Parcel:
    """A message with its frames."""

    message: Message
    frames: list[bytes] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The outbox at one moment: nothing came between its parts."""

    parcels: tuple[Parcel, ...]
    """What is to be sent, oldest first."""
    last_sequences: Mapping[str, int]
    """Topic -> sequence of the last message given in, whether it waited, was sent or was dropped."""
    dropped: int
    current: tuple[Message, ...]
    """The last status of each camera, then the last record of each open alert."""


class Outbox:
    """Messages that wait for the publisher's thread, at most `limit`; a full one drops the newest and counts it.

    What is dropped still counts as the last value: whoever subscribes later is told of it. Safe for any number of
    threads.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._lock = threading.Lock()
        self._parcels: deque[Parcel] = deque()
        self._last_sequences: dict[str, int] = {}
        self._statuses: dict[str, Message] = {}
        self._open_alerts: dict[str, Message] = {}
        self._dropped = 0

    def put(self, parcel: Parcel) -> bool:
        """Give a message in; return whether it was accepted. Never blocks."""
        with self._lock:
            self._note(parcel.message)
            if len(self._parcels) >= self._limit:
                self._dropped += 1
                return False
            self._parcels.append(parcel)
            return True

    def forget(self, camera: str) -> None:
        """Tell nobody of this camera any more but of its open alerts; what waits is still sent."""
        with self._lock:
            self._last_sequences = _without(self._last_sequences, camera)
            self._statuses = _without(self._statuses, camera)

    def take(self) -> Snapshot:
        """Take everything that waits, and look at the rest."""
        with self._lock:
            snapshot = self._snapshot()
            self._parcels.clear()
            return snapshot

    def look(self) -> Snapshot:
        """Look without taking."""
        with self._lock:
            return self._snapshot()

    def _snapshot(self) -> Snapshot:
        current = (*self._statuses.values(), *self._open_alerts.values())
        return Snapshot(tuple(self._parcels), dict(self._last_sequences), self._dropped, current)

    def _note(self, message: Message) -> None:
        self._last_sequences[message.topic] = message.envelope.sequence
        if message.envelope.kind == Kind.STATUS:
            self._statuses[message.topic] = message
        elif isinstance(message.body, Alert):
            self._open_alerts.pop(message.body.event_id, None)
            if message.body.state not in (AlertState.CLEARED, AlertState.INTERRUPTED):
                self._open_alerts[message.body.event_id] = message


def _without(known: Mapping[str, T], camera: str) -> dict[str, T]:
    """Leave out the topics of one camera."""
    return {topic: value for topic, value in known.items() if topic.split("/")[3] != camera}
