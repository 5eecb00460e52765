"""Puts bodies into envelopes: the sequence of each topic, the clocks, and what stays the same for one start."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from uuid import uuid4

from taintwatch.alerts.bodies import Body, CameraStatus, Heartbeat
from taintwatch.alerts.messages import SCHEMA_VERSION, Envelope, Message, encode
from taintwatch.alerts.outbox import Parcel
from taintwatch.alerts.topics import Kind, check_name, topic_of
from taintwatch.records import Alert

__all__ = ["Identity", "MessageWriter", "new_instance_id"]


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

    def topic(self, camera: str, kind: Kind) -> str:
        """Return the topic of a camera's messages of one kind."""
        return topic_of(self._identity.site, camera, kind)

    def write(self, camera: str, body: Body, jpeg: bytes | None = None) -> Parcel:
        """Return the next message of the topic that `camera` and `body` belong to. Raises `MessageError`."""
        kind = _KINDS[type(body)]
        topic = self.topic(camera, kind)
        sequence = self._sequences.get(topic, 0) + 1
        message = Message(self._envelope(camera, kind, sequence, body), body, jpeg)
        parcel = Parcel(message, encode(message))
        self._sequences[topic] = sequence
        return parcel

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
        )


_KINDS = {Alert: Kind.ALERT, CameraStatus: Kind.STATUS, Heartbeat: Kind.HEARTBEAT}
