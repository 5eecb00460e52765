"""The publisher: one XPUB socket, bound once and used in one thread only, behind a bounded queue."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import zmq

from taintwatch.alerts.guard import Guard
from taintwatch.alerts.messages import DEFAULT_ENDPOINT, Message
from taintwatch.alerts.outbox import Identity, MessageWriter, NullStore, Outbox, OutgoingMessage, Store
from taintwatch.alerts.security import LoopbackOnly, Security, bind_again
from taintwatch.alerts.sender import Seal, Sender, bind
from taintwatch.alerts.topics import check_name
from taintwatch.cameras.camera_status import CameraStatus
from taintwatch.deadlines import Deadline
from taintwatch.records import Alert
from taintwatch_models.errors import ConfigError, PublishError, TaintwatchError

__all__ = ["Publisher", "PublisherStats"]

REVISION_S = 1.0  # how often it is looked whether a client was revoked
GRACE_S = 10.0  # beyond the time between two heartbeats: a publisher's thread that is silent for longer hangs


@dataclass(frozen=True, slots=True)
class PublisherStats:
    """Counts since the start."""

    endpoint: str
    """Where it is really bound: with the port that the system chose where the port was `*`."""
    sent: int
    """Alerts and statuses handed to the socket."""
    dropped: int
    """Alerts and statuses dropped because the queue was full."""
    heartbeats: int
    replayed: int
    """Messages sent again for new subscribers."""
    store_failures: int
    waiting: int
    """Messages in the queue now."""
    alive: bool
    """Whether the thread runs."""
    refused: int = 0
    """Connections turned away, or ended for newer ones, because there were too many."""
    floods: int = 0
    """Connections ended because they sent more than a subscriber does."""


class Publisher:
    """Publishes alerts, camera statuses and heartbeats. A context manager; any thread may publish.

    `cameras`: their heartbeats are sent from the start (others join when they first publish); none at all gives one
    heartbeat for the daemon itself. `queue_limit`: messages that may wait for the thread. `high_water_mark`: messages
    that may wait for one slow subscriber; further ones are lost to that subscriber, and nobody waits. `replay`: the
    endpoint that heartbeats announce for missed alerts (a `ReplayServer`'s). `seal` signs heartbeats. `context`:
    needed for inproc endpoints, which join sockets of one context only.

    Raises `PublishError` where `endpoint` is malformed, in use, or must not be used with this `security`;
    `ConfigError` for names and limits.
    """

    def __init__(
        self,
        identity: Identity,
        endpoint: str = DEFAULT_ENDPOINT,
        *,
        cameras: Sequence[str] = (),
        heartbeat_s: float = 1.0,
        queue_limit: int = 256,
        high_water_mark: int = 1000,
        security: Security | None = None,
        store: Store | None = None,
        replay: str | None = None,
        seal: Seal | None = None,
        wall_ns: Callable[[], int] = time.time_ns,
        monotonic_ns: Callable[[], int] = time.monotonic_ns,
        context: zmq.Context[Any] | None = None,
        deadline: Deadline | None = None,
    ) -> None:
        if not 0.01 <= heartbeat_s <= 3600 or queue_limit < 1 or high_water_mark < 1:
            raise ConfigError(
                "Heartbeats need 0.01 to 3600 seconds between them, and queues room for 1 message or more."
            )
        names = tuple(check_name("camera", name) for name in cameras)
        self._store = store or NullStore()
        # The thread writes heartbeats only, and nobody else does: no topic is ever numbered by two threads.
        self._writer = MessageWriter(identity, wall_ns=wall_ns, monotonic_ns=monotonic_ns)
        self._outbox = Outbox(queue_limit)
        self._order = threading.Lock()
        self._store_failures = 0
        self._deadline = deadline or Deadline("publisher")
        self._hang_s = heartbeat_s + GRACE_S
        self._stopping = threading.Event()
        self._own_context = context is None
        self._context = zmq.Context() if context is None else context
        self._wake_read, self._wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._linger_ms = 0
        self._guard: Guard | None = None
        self._sender = Sender(self._outbox, self._writer, names, heartbeat_s, time.monotonic(), replay, seal)
        bound: Future[str] = Future()
        self._thread = threading.Thread(
            target=self._run,
            args=(bound, endpoint, high_water_mark, security or LoopbackOnly()),
            name="publisher",
            daemon=True,
        )
        self._thread.start()
        try:
            self.endpoint = bound.result()
        except BaseException:
            self.close(0.0)
            raise

    def publish_alert(self, alert: Alert, jpeg: bytes | None = None) -> Message:
        """Store an alert, then queue it. Never waits for a subscriber; a full queue drops it and counts it.

        `jpeg`: a picture to go with it. Raises `MessageError` where it cannot be encoded, `PublishError` when closed.
        """
        return self._publish(alert.camera, alert, jpeg)

    def publish_status(self, status: CameraStatus) -> Message:
        """Queue how a camera is. Raises as `publish_alert` does."""
        return self._publish(status.camera, status, None)

    def identify(self, identity: Identity) -> None:
        """Let the messages from now on say this of their sender. Its site and instance must stay the same."""
        with self._order:
            self._writer.identify(identity)

    def expect_cameras(self, names: Sequence[str]) -> None:
        """Send heartbeats for these cameras too from now on. Raises `ConfigError` for a name."""
        checked = tuple(check_name("camera", name) for name in names)
        with self._order:
            self._sender.cameras = tuple(dict.fromkeys((*self._sender.cameras, *checked)))

    def retire(self, camera: str) -> None:
        """Send no more heartbeats for a camera that is gone; what was published of it is still sent."""
        with self._order:
            self._sender.cameras = tuple(name for name in self._sender.cameras if name != camera)
            self._outbox.forget(camera)

    def stats(self) -> PublisherStats:
        """Return the counts so far. Any thread may ask."""
        snapshot = self._outbox.look()
        sender, guard = self._sender, self._guard
        return PublisherStats(
            endpoint=self.endpoint,
            sent=sender.sent,
            dropped=snapshot.dropped,
            heartbeats=sender.heartbeats,
            replayed=sender.replayed,
            store_failures=self._store_failures,
            waiting=len(snapshot.waiting),
            alive=self._thread.is_alive(),
            refused=0 if guard is None else guard.connections.refused + guard.connections.evicted,
            floods=0 if guard is None else guard.floods,
        )

    def close(self, timeout_s: float = 1.0) -> None:
        """Send what waits and a last heartbeat, and close, within about `timeout_s`. May be called again."""
        with self._order:
            first = not self._stopping.is_set()
            self._linger_ms = max(0, int(timeout_s * 1000))
            self._stopping.set()
            if first:
                self._wake()
        self._thread.join(timeout_s + 1.0)
        if first and not self._thread.is_alive():
            os.close(self._wake_read)
            os.close(self._wake_write)
            if self._own_context:
                self._context.term()  # waits for the subscribers' share of the linger time only
            if self._guard is not None:
                self._guard.close()

    def __enter__(self) -> Publisher:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _publish(self, camera: str, body: Alert | CameraStatus, jpeg: bytes | None) -> Message:
        check_name("camera", camera)
        with self._order:  # one order for the sequence, the store and the queue
            if self._stopping.is_set() or not self._thread.is_alive():
                raise PublishError(
                    f"Nothing more can be published on {self.endpoint}: the publisher is closed or has failed."
                )
            outgoing = self._writer.write(camera, body, jpeg)
            if isinstance(body, Alert):
                self._save(outgoing)
            if self._outbox.put(outgoing):
                self._wake()
        return outgoing.message

    def _save(self, outgoing: OutgoingMessage) -> None:
        try:
            self._store.save(outgoing.message)
        except (TaintwatchError, OSError):
            self._store_failures += 1  # a full disk must never stop an alert

    def _wake(self) -> None:
        with contextlib.suppress(BlockingIOError):  # thousands of wake-ups wait already
            os.write(self._wake_write, b"!")

    def _run(self, bound: Future[str], endpoint: str, high_water_mark: int, security: Security) -> None:
        try:
            try:
                revision = security.revision()  # before the socket: whoever connects later is looked at later
                socket, endpoint = self._open(endpoint, high_water_mark, security)
            except Exception as error:  # whatever it is, it is raised where the publisher is made, which waits for it
                bound.set_exception(error)
                return
            bound.set_result(endpoint)
            with contextlib.suppress(zmq.ContextTerminated):  # the owner of the context ended it before us
                current: zmq.Socket[bytes] | None = socket
                while current is not None and self._serve(current, security, revision):
                    revision = security.revision()
                    current = bind_again(
                        lambda: self._open(endpoint, high_water_mark, security)[0], self._stopping, self._live
                    )
        finally:
            security.release(self._context)

    def _open(self, endpoint: str, high_water_mark: int, security: Security) -> tuple[zmq.Socket[bytes], str]:
        socket: zmq.Socket[bytes] = self._context.socket(zmq.XPUB)
        try:
            bound, self._guard = bind(socket, endpoint, high_water_mark, security, self._guard)
            return socket, bound
        except BaseException:
            socket.close(linger=0)
            raise

    def _live(self) -> None:
        self._deadline.arm(self._hang_s)

    def _serve(self, socket: zmq.Socket[bytes], security: Security, revision: int) -> bool:
        """Publish until told to stop (False), or until every connection must be made anew (True)."""
        with socket:
            look_s = time.monotonic() + REVISION_S
            poller = zmq.Poller()
            poller.register(socket, zmq.POLLIN)
            poller.register(self._wake_read, zmq.POLLIN)
            while not self._stopping.is_set():
                self._live()
                ready = dict(poller.poll(min(round(REVISION_S * 1000), self._sender.wait_ms(time.monotonic()))))
                if self._wake_read in ready:
                    os.read(self._wake_read, 4096)
                self._sender.send_waiting(socket)
                if socket in ready:
                    self._sender.answer_subscriptions(socket, time.monotonic())
                self._sender.beat_if_due(socket, time.monotonic())
                if time.monotonic() >= look_s:
                    look_s = time.monotonic() + REVISION_S
                    if security.revision() != revision:
                        return True
            self._sender.beat(socket, time.monotonic())
            self._deadline.disarm()
            socket.linger = self._linger_ms
            return False
