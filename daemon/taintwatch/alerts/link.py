"""A client's socket that is made anew when it was refused, or when nothing is heard for too long.

libzmq reconnects by itself after a lost connection, but never after it was refused (RFC 27), and with a key that was
changed meanwhile it would be refused for ever.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any

import zmq
from zmq.utils.monitor import recv_monitor_message

from taintwatch.alerts.endpoints import parse_endpoint
from taintwatch.alerts.messages import LARGEST_JPEG
from taintwatch.alerts.security import Security
from taintwatch_models.errors import ConfigError, UsageError

__all__ = ["Link", "Refused"]

RETRY_S = 1.0  # after a refusal
SILENCE_S = 10.0  # without a heartbeat; where these come more seldom, after three that did not come
REFUSALS = {
    zmq.EVENT_HANDSHAKE_FAILED_AUTH: "this client's key is not on the daemon's list (`taintwatch keys allow`)",
    zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL: "one side uses keys (CURVE) and the other does not, or it is no daemon",
    zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL: "the handshake failed; perhaps --server-key is not this daemon's key",
}
EVENTS = zmq.EVENT_HANDSHAKE_SUCCEEDED + sum(REFUSALS)


@dataclass(frozen=True, slots=True)
class Refused:
    """The daemon lets this client not in; it is tried again and again. `reason` is one sentence."""

    endpoint: str
    reason: str


class _Refusal(Enum):
    """How a refusal stands."""

    NONE = auto()
    NEW = auto()
    """Not yet reported."""
    REPORTED = auto()


class Link:
    """One SUB socket after the other. Used by one thread only.

    `topics`: the prefixes to subscribe to. Raises `UsageError` where the first one cannot be connected, `ConfigError`
    where a key cannot be read.
    """

    def __init__(
        self,
        context: zmq.Context[Any],
        endpoint: str,
        topics: Sequence[str],
        high_water_mark: int,
        security: Security,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._context = context
        self._endpoint = endpoint
        self._topics = tuple(topics)
        self._high_water_mark = high_water_mark
        self._security = security
        self._monotonic = monotonic
        self._refusal = _Refusal.NONE
        self._reason = ""
        self._retry_at: float | None = None
        self._silence_s = SILENCE_S
        self.heard_s = monotonic()
        """When something was received last, or the start."""
        self._alive_s = self.heard_s
        self._connect()

    def wait(self, timeout_s: float, *others: zmq.Socket[bytes]) -> bool:
        """Wait for something to happen on the socket, or on one of `others`, for `timeout_s` at most; return whether.

        What the monitor says is dealt with here: ask `refused` afterwards.
        """
        self._renew_if_due()
        limits = [timeout_s, max(0.0, self._alive_s + self._silence_s - self._monotonic())]
        if self._retry_at is not None:
            limits.append(max(0.0, self._retry_at - self._monotonic()))
        poller = zmq.Poller()
        ours = () if self.socket.closed else (self.socket, self._monitor)
        for socket in (*ours, *others):
            poller.register(socket, zmq.POLLIN)
        ready = dict(poller.poll(round(min(limits) * 1000 + 0.5)))
        if self._monitor in ready:
            self._look()
        return bool(ready)

    def receive(self) -> list[bytes] | None:
        """Return the frames of a message that is there already, or None."""
        if self.socket.closed:  # a key file cannot be read now
            return None
        try:
            frames = self.socket.recv_multipart(zmq.NOBLOCK)
        except zmq.Again:
            return None
        self.heard_s = self._alive_s = self._monotonic()
        self._refusal, self._reason, self._retry_at = _Refusal.NONE, "", None
        return frames

    def expect(self, interval_s: float) -> None:
        """Say how often heartbeats come."""
        self._silence_s = max(SILENCE_S, 3 * interval_s)

    def refused(self) -> Refused | None:
        """Return that the daemon refused this client, once for each reason until something is received."""
        if self._refusal is not _Refusal.NEW:
            return None
        self._refusal = _Refusal.REPORTED
        return Refused(self._endpoint, self._reason)

    def close(self) -> None:
        """Close the socket. May be called again."""
        if not self.socket.closed:
            self.socket.disable_monitor()
            self._monitor.close(linger=0)
            self.socket.close(linger=0)

    def _look(self) -> None:
        while self._monitor.poll(0):
            event = zmq.Event(recv_monitor_message(self._monitor)["event"])
            if event in REFUSALS:
                self._refuse(REFUSALS[event])
                if self._retry_at is None:
                    self._retry_at = self._monotonic() + RETRY_S

    def _refuse(self, reason: str) -> None:
        """Note why; what was reported already is not new again."""
        if self._refusal is _Refusal.NONE or self._reason != reason:
            self._refusal, self._reason = _Refusal.NEW, reason

    def _renew_if_due(self) -> None:
        now = self._monotonic()
        if now - self._alive_s < self._silence_s and (self._retry_at is None or now < self._retry_at):
            return
        self._retry_at = None
        self._alive_s = now
        self.close()
        try:
            self._connect()
        except ConfigError as error:  # a key file is just being changed; its reader is told, and the next try reads it
            self._refuse(str(error))
            self._retry_at = now + RETRY_S

    def _connect(self) -> None:
        self.socket: zmq.Socket[bytes] = self._context.socket(zmq.SUB)
        self._monitor: zmq.Socket[bytes] = self.socket.get_monitor_socket(EVENTS)
        try:
            self._set_options()
            self.socket.connect(self._endpoint)
        except zmq.ZMQError as error:
            self.close()
            raise UsageError(f"Cannot connect to '{self._endpoint}': {error.strerror}.") from error
        except BaseException:
            self.close()
            raise

    def _set_options(self) -> None:
        socket = self.socket
        socket.linger = 0
        socket.rcvhwm = self._high_water_mark  # of no effect after the connect
        socket.setsockopt(zmq.MAXMSGSIZE, LARGEST_JPEG)
        socket.setsockopt(zmq.IPV6, int(parse_endpoint(self._endpoint).six))
        socket.setsockopt(zmq.RECONNECT_IVL, 100)
        socket.setsockopt(zmq.RECONNECT_IVL_MAX, 2000)
        # A publisher whose machine is gone sends no farewell: without these, TCP would wait for hours.
        socket.setsockopt(zmq.HEARTBEAT_IVL, 2000)
        socket.setsockopt(zmq.HEARTBEAT_TIMEOUT, 6000)
        self._security.configure(socket, self._endpoint)
        for topic in self._topics:
            socket.setsockopt_string(zmq.SUBSCRIBE, topic)
