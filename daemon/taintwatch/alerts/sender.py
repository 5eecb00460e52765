"""What the publisher's thread does with its socket: send, beat, and tell a new subscriber how things stand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import zmq

from taintwatch.alerts.bodies import Heartbeat
from taintwatch.alerts.guard import SUBSCRIBER_LIMITS, Guard
from taintwatch.alerts.messages import Message, encode
from taintwatch.alerts.outbox import MessageWriter, Outbox, OutboxState
from taintwatch.alerts.security import Security, bind_socket
from taintwatch.alerts.topics import DAEMON, Kind
from taintwatch.records import Alert

__all__ = ["Seal", "Sender", "bind"]

LARGEST_UPSTREAM = 1024  # bytes; what a handshake needs: the guard allows far less for a subscription
SUBSCRIPTIONS_AT_ONCE = 100  # then messages and heartbeats come first again


Seal = Callable[[str, str, str, Heartbeat], Heartbeat]
"""Signs a heartbeat of (site, camera, instance)."""


class Sender:
    """The publisher's half that lives in its thread. Its counts may be read from any thread."""

    def __init__(
        self,
        outbox: Outbox,
        writer: MessageWriter,
        cameras: tuple[str, ...],
        heartbeat_s: float,
        started_s: float,
        replay: str | None = None,
        seal: Seal | None = None,
    ) -> None:
        self._seal = seal
        self._outbox = outbox
        self._writer = writer
        self.cameras = cameras
        """Those whose heartbeats are sent even before anything else is. Replaced as a whole, by any thread."""
        self._heartbeat_s = heartbeat_s
        self._replay = replay
        self._started_s = started_s
        self._next_beat_s = started_s
        self.sent = 0
        self.heartbeats = 0
        self.replayed = 0

    def wait_ms(self, now_s: float) -> int:
        """Return the milliseconds to the next heartbeat, rounded up."""
        return max(0, int((self._next_beat_s - now_s) * 1000) + 1)

    def send_waiting(self, socket: zmq.Socket[bytes]) -> OutboxState:
        """Send everything that waits; return the state that holds once it is sent."""
        snapshot = self._outbox.take()
        for outgoing in snapshot.waiting:
            socket.send_multipart(outgoing.frames)  # an XPUB socket drops for a slow subscriber, it never blocks
            self.sent += 1
        return snapshot

    def beat_if_due(self, socket: zmq.Socket[bytes], now_s: float) -> None:
        """Send the heartbeats when it is time."""
        if now_s >= self._next_beat_s:
            self.beat(socket, now_s)

    def beat(self, socket: zmq.Socket[bytes], now_s: float) -> None:
        """Send one heartbeat for each camera, after everything whose sequence it names."""
        self._next_beat_s = now_s + self._heartbeat_s
        self._send_heartbeats(socket, self.send_waiting(socket), now_s, (b"",))

    def answer_subscriptions(self, socket: zmq.Socket[bytes], now_s: float) -> None:
        """Send the last statuses and the open alerts again where somebody new subscribed to them, then a heartbeat.

        A PUB socket cannot speak to one subscriber alone: all those that match get them, marked `replayed`. The
        heartbeat is what the new one counts from.
        """
        prefixes = _new_prefixes(socket)
        if not prefixes:
            return
        snapshot = self.send_waiting(socket)
        for message in snapshot.current:
            if message.topic.encode().startswith(prefixes):
                socket.send_multipart(_replay(message))
                self.replayed += 1
        self._send_heartbeats(socket, snapshot, now_s, prefixes)

    def _send_heartbeats(
        self, socket: zmq.Socket[bytes], snapshot: OutboxState, now_s: float, prefixes: tuple[bytes, ...]
    ) -> None:
        for camera in self._known_cameras(snapshot):
            if self._writer.topic(camera, Kind.HEARTBEAT).encode().startswith(prefixes):
                heartbeat = self._heartbeat(camera, snapshot, now_s - self._started_s)
                if self._seal is not None:
                    identity = self._writer.identity
                    heartbeat = self._seal(identity.site, camera, identity.instance, heartbeat)
                socket.send_multipart(self._writer.write(camera, heartbeat).frames)
                self.heartbeats += 1

    def _known_cameras(self, snapshot: OutboxState) -> list[str]:
        published = (topic.split("/")[3] for topic in snapshot.last_sequences)
        return list(dict.fromkeys((*self.cameras, *published))) or [DAEMON]

    def _heartbeat(self, camera: str, snapshot: OutboxState, uptime_s: float) -> Heartbeat:
        sequences = snapshot.last_sequences
        alerts = (message.body for message in snapshot.current)
        return Heartbeat(
            interval_s=self._heartbeat_s,
            uptime_s=round(uptime_s, 3),
            last_sequences={topic: last for topic, last in sequences.items() if topic.split("/")[3] == camera},
            dropped=snapshot.dropped,
            open_alerts=tuple(a.event_id for a in alerts if isinstance(a, Alert) and a.camera == camera),
            replay=self._replay,
        )


def bind(
    socket: zmq.Socket[bytes], endpoint: str, high_water_mark: int, security: Security, guard: Guard | None
) -> tuple[str, Guard | None]:
    """Configure an XPUB socket and bind it, as `bind_socket` does. Raises `PublishError`."""
    socket.sndhwm = high_water_mark  # of no effect after the bind
    socket.setsockopt(zmq.XPUB_VERBOSE, 1)  # every subscription is told, not only the first of its kind
    socket.setsockopt(zmq.MAXMSGSIZE, LARGEST_UPSTREAM)
    return bind_socket(socket, endpoint, security, SUBSCRIBER_LIMITS, guard=guard)


def _new_prefixes(socket: zmq.Socket[Any]) -> tuple[bytes, ...]:
    prefixes = set()
    for _ in range(SUBSCRIPTIONS_AT_ONCE):
        try:
            frame = socket.recv(zmq.NOBLOCK)
        except zmq.Again:
            break
        if frame[:1] == b"\x01":
            prefixes.add(bytes(frame[1:]))
    return tuple(prefixes)


def _replay(message: Message) -> list[bytes]:
    return encode(replace(message, envelope=replace(message.envelope, replayed=True)))
