"""Messages on their way out: numbered, stamped, stored, and waiting for the publisher's thread."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol, TypeVar
from uuid import uuid4

from taintwatch.alerts.bodies import Body, Heartbeat
from taintwatch.alerts.messages import SCHEMA_VERSION, Envelope, Message, encode
from taintwatch.alerts.topics import Kind, check_name, topic_of
from taintwatch.cameras.camera_status import CameraStatus
from taintwatch.records import Alert

__all__ = [
    "Identity",
    "MessageWriter",
    "NullStore",
    "Outbox",
    "OutboxState",
    "OutgoingMessage",
    "Store",
    "new_instance_id",
]

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class OutgoingMessage:
    """A message with its frames."""

    message: Message
    frames: list[bytes] = field(repr=False)


@dataclass(frozen=True, slots=True)
class OutboxState:
    """The outbox at one moment: nothing came between its parts."""

    waiting: tuple[OutgoingMessage, ...]
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
        self._parcels: deque[OutgoingMessage] = deque()
        self._last_sequences: dict[str, int] = {}
        self._statuses: dict[str, Message] = {}
        self._open_alerts: dict[str, Message] = {}
        self._dropped = 0

    def put(self, outgoing: OutgoingMessage) -> bool:
        """Give a message in; return whether it was accepted. Never blocks."""
        with self._lock:
            self._note(outgoing.message)
            if len(self._parcels) >= self._limit:
                self._dropped += 1
                return False
            self._parcels.append(outgoing)
            return True

    def forget(self, camera: str) -> None:
        """Tell nobody of this camera any more but of its open alerts; what waits is still sent."""
        with self._lock:
            self._last_sequences = _without(self._last_sequences, camera)
            self._statuses = _without(self._statuses, camera)

    def take(self) -> OutboxState:
        """Take everything that waits, and look at the rest."""
        with self._lock:
            snapshot = self._snapshot()
            self._parcels.clear()
            return snapshot

    def look(self) -> OutboxState:
        """Look without taking."""
        with self._lock:
            return self._snapshot()

    def _snapshot(self) -> OutboxState:
        current = (*self._statuses.values(), *self._open_alerts.values())
        return OutboxState(tuple(self._parcels), dict(self._last_sequences), self._dropped, current)

    def _note(self, message: Message) -> None:
        self._last_sequences[message.topic] = message.envelope.sequence
        if message.envelope.kind == Kind.STATUS:
            self._statuses[message.topic] = message
        elif isinstance(message.body, Alert):
            self._open_alerts.pop(message.body.event_id, None)
            if not message.body.state.is_end:
                self._open_alerts[message.body.event_id] = message


def _without(known: Mapping[str, T], camera: str) -> dict[str, T]:
    """Leave out the topics of one camera."""
    return {topic: value for topic, value in known.items() if topic.split("/")[3] != camera}


def new_instance_id() -> str:
    """Return 32 hexadecimal digits that name this start of the daemon (UUID4)."""
    return uuid4().hex


@dataclass(frozen=True, slots=True)
class Identity:
    """What every message of one start of the daemon says about its sender.

    Raises `ConfigError` for a site name that cannot stand in a topic.
    """

    site: str
    model_hash: str
    config_hash: str
    provider: str
    calibrated: bool
    instance: str
    degraded: bool = False
    """Whether the model runs otherwise than it should: it failed, and something worse took its place."""
    unarmed: frozenset[str] = frozenset()
    """Cameras that are being learnt: until then they are judged by general pictures alone."""

    def __post_init__(self) -> None:
        check_name("site", self.site)


class MessageWriter:
    """Numbers and stamps messages. A sequence is used up only by a message that can be encoded."""

    def __init__(
        self,
        identity: Identity,
        *,
        wall_ns: Callable[[], int] = time.time_ns,
        monotonic_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self._identity = identity
        self._wall_ns = wall_ns
        self._monotonic_ns = monotonic_ns
        self._sequences: dict[str, int] = {}

    def identify(self, identity: Identity) -> None:
        """Let the messages from now on say this of their sender. Its site and instance must stay the same."""
        self._identity = identity

    @property
    def identity(self) -> Identity:
        """What the messages say of their sender."""
        return self._identity

    def topic(self, camera: str, kind: Kind) -> str:
        """Return the topic of a camera's messages of one kind."""
        return topic_of(self._identity.site, camera, kind)

    def write(self, camera: str, body: Body, jpeg: bytes | None = None) -> OutgoingMessage:
        """Return the next message of the topic that `camera` and `body` belong to. Raises `MessageError`."""
        kind = _KINDS[type(body)]
        topic = self.topic(camera, kind)
        sequence = self._sequences.get(topic, 0) + 1
        message = Message(self._envelope(camera, kind, sequence, body), body, jpeg)
        outgoing = OutgoingMessage(message, encode(message))
        self._sequences[topic] = sequence
        return outgoing

    def _envelope(self, camera: str, kind: Kind, sequence: int, body: Body) -> Envelope:
        identity = self._identity
        return Envelope(
            schema=SCHEMA_VERSION,
            kind=kind,
            site=identity.site,
            camera=camera,
            instance=identity.instance,
            sequence=sequence,
            event_id=body.event_id if isinstance(body, Alert) else None,
            wall_ns=self._wall_ns(),
            monotonic_ns=self._monotonic_ns(),
            model_hash=identity.model_hash,
            config_hash=identity.config_hash,
            provider=identity.provider,
            calibrated=identity.calibrated,
            replayed=False,
            degraded=identity.degraded,
            armed=identity.calibrated and camera not in identity.unarmed,
        )


_KINDS = {Alert: Kind.ALERT, CameraStatus: Kind.STATUS, Heartbeat: Kind.HEARTBEAT}


class Store(Protocol):
    """Anything that keeps alert messages."""

    def save(self, message: Message) -> None:
        """Keep `message` durably before returning. Called in the publishing thread, in the order of the sequences.

        Raises `TaintwatchError` or `OSError` where it cannot: the alert is published nevertheless, and the failure
        counted in `PublisherStats.store_failures`.
        """
        ...


class NullStore:
    """Keeps nothing."""

    def save(self, message: Message) -> None:
        """Do nothing."""
