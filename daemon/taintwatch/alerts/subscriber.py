"""The client's side: receive messages, reconnect by itself, and say what was missed."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import zmq

from taintwatch.alerts.endpoints import parse_endpoint
from taintwatch.alerts.messages import DEFAULT_ENDPOINT, LARGEST_JPEG, Message, MessageError, decode
from taintwatch.alerts.security import Security, Unprotected
from taintwatch.alerts.topics import ROOT, companion_topics
from taintwatch.alerts.tracker import GapTracker, Missed, Restarted
from taintwatch_models.errors import UsageError

__all__ = ["Event", "Malformed", "Subscriber"]


@dataclass(frozen=True, slots=True)
class Malformed:
    """Something came that is not a message; `reason` is one sentence."""

    reason: str


Event = Message | Missed | Restarted | Malformed


class Subscriber:
    """Receives the messages whose topics start with one of `prefixes`. A context manager; used by one thread only.

    The connection is made, and made again after a break, in the background: there need be no publisher yet. Heartbeats
    are always received, so that what was missed is known; they are returned only where a prefix matches them.
    `context`: needed for inproc endpoints. Raises `UsageError` for a malformed endpoint or prefix.
    """

    def __init__(
        self,
        endpoint: str = DEFAULT_ENDPOINT,
        prefixes: Sequence[str] = (ROOT,),
        *,
        high_water_mark: int = 1000,
        security: Security | None = None,
        monotonic: Callable[[], float] = time.monotonic,
        context: zmq.Context[Any] | None = None,
    ) -> None:
        _check(endpoint, prefixes)
        self.endpoint = endpoint
        self._monotonic = monotonic
        self._heard_s = monotonic()
        self._tracker = GapTracker(tuple(prefixes))
        self._events: deque[Event] = deque()
        self._own_context = context is None
        self._context: zmq.Context[Any] = zmq.Context() if context is None else context
        self._socket = self._context.socket(zmq.SUB)
        try:
            self._connect(prefixes, high_water_mark, security or Unprotected())
        except BaseException:
            self.close()
            raise

    @property
    def silent_s(self) -> float:
        """Seconds since anything at all was received (a heartbeat too), or since the start."""
        return self._monotonic() - self._heard_s

    def receive(self, timeout_s: float) -> Event | None:
        """Return the next event, or None when none comes within `timeout_s` seconds (0: only what is there already)."""
        deadline = self._monotonic() + timeout_s
        while not self._events:
            left_ms = max(0, round((deadline - self._monotonic()) * 1000))
            if not self._socket.poll(left_ms, zmq.POLLIN):
                return None
            self._take(self._socket.recv_multipart())
        return self._events.popleft()

    def close(self) -> None:
        """Close the socket. May be called again."""
        self._socket.close(linger=0)
        if self._own_context:
            self._context.term()

    def __enter__(self) -> Subscriber:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _take(self, frames: list[bytes]) -> None:
        self._heard_s = self._monotonic()
        try:
            message = decode(frames)
        except MessageError as error:
            self._events.append(Malformed(str(error)))
            return
        notices, new = self._tracker.see(message)
        self._events.extend(notices)
        if new:
            self._events.append(message)

    def _connect(self, prefixes: Sequence[str], high_water_mark: int, security: Security) -> None:
        socket = self._socket
        socket.linger = 0
        socket.rcvhwm = high_water_mark  # of no effect after the connect
        socket.setsockopt(zmq.MAXMSGSIZE, LARGEST_JPEG)
        socket.setsockopt(zmq.IPV6, int(parse_endpoint(self.endpoint).six))
        socket.setsockopt(zmq.RECONNECT_IVL, 100)
        socket.setsockopt(zmq.RECONNECT_IVL_MAX, 2000)
        # A publisher whose machine is gone sends no farewell: without these, TCP would wait for hours.
        socket.setsockopt(zmq.HEARTBEAT_IVL, 2000)
        socket.setsockopt(zmq.HEARTBEAT_TIMEOUT, 6000)
        security.configure(socket, self.endpoint)
        for prefix in prefixes:
            for topic in (prefix, *companion_topics(prefix)):
                socket.setsockopt_string(zmq.SUBSCRIBE, topic)
        try:
            socket.connect(self.endpoint)
        except zmq.ZMQError as error:
            raise UsageError(f"Cannot connect to '{self.endpoint}': {error.strerror}.") from error


def _check(endpoint: str, prefixes: Sequence[str]) -> None:
    try:
        parsed = parse_endpoint(endpoint)
    except ValueError as error:
        raise UsageError(f"Cannot connect to '{endpoint}': {error}.") from error
    if parsed.port == "*":
        raise UsageError(f"Cannot connect to '{endpoint}': give the port that the daemon publishes on.")
    wrong = next((prefix for prefix in prefixes if not prefix.startswith(ROOT) and not ROOT.startswith(prefix)), None)
    if wrong is not None or not prefixes:
        raise UsageError(f"No topic starts with '{wrong or ''}'. Give a prefix such as {ROOT}SITE/CAMERA/.")
