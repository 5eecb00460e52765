"""The client's half of replay: asks for what was missed, pages through the answers, and gives up in time."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import zmq

from taintwatch.alerts.endpoints import parse_endpoint
from taintwatch.alerts.gaps import Missed
from taintwatch.alerts.messages import Message
from taintwatch.alerts.replay import MOST_BYTES, SCHEMA, Answer, Request, decode_answer, encode_request
from taintwatch.alerts.security import Security
from taintwatch_models.errors import ConfigError

__all__ = ["ReplayClient"]

ANSWER_S = 5.0  # then the socket is made anew and it is asked again
ATTEMPTS = 4
MOST_PENDING = 100


@dataclass(slots=True)
class _Pending:
    request: Request
    asked_s: float
    missing: int | None
    """How many are still to come; None where nobody knows."""
    attempts: int = 1


class ReplayClient:
    """Asks one daemon, for one stretch of a topic at a time, so that what comes is in order.

    Used by one thread only; nothing here ever blocks.
    """

    def __init__(
        self, context: zmq.Context[Any], security: Security, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._context = context
        self._security = security
        self._monotonic = monotonic
        self._endpoint: str | None = None
        self._socket: zmq.Socket[bytes] | None = None
        self._topics: dict[str, deque[_Pending]] = {}
        self._last_id = 0

    @property
    def sockets(self) -> tuple[zmq.Socket[bytes], ...]:
        """What to wait on, while something was asked."""
        return (self._socket,) if self._socket is not None and self._topics else ()

    @property
    def waiting(self) -> bool:
        """Whether an answer is still to come."""
        return bool(self._topics)

    def due_s(self) -> float:
        """Return the seconds to the next moment when `take` has something to do even without an answer."""
        if not self._topics:
            return ANSWER_S
        oldest = min(pending.asked_s for pending in self._first_pending())
        return max(0.0, oldest + ANSWER_S - self._monotonic())

    def use(self, endpoint: str | None) -> None:
        """Ask there from now on; what is unanswered is asked again."""
        if endpoint != self._endpoint:
            self._endpoint = endpoint
            self._renew()

    def ask_again(self) -> None:
        """Ask at once for what is unanswered: a daemon that was just started was not there to be asked before."""
        for pending in self._first_pending():
            pending.attempts = 1
        if self._topics:
            self._renew()

    def ask(self, missed: Missed) -> bool:
        """Ask for what was missed; False where that cannot be done."""
        if self._endpoint is None or self._count() + len(missed.ranges) > MOST_PENDING:
            return False
        for first, last in missed.ranges:
            self._ask(Request(SCHEMA, self._id(), missed.topic, missed.instance, first, last), last - first + 1)
        return bool(missed.ranges)

    def ask_rest(self, topic: str, instance: str, first: int, before: str) -> None:
        """Ask for whatever an earlier start of the daemon still published on a topic, and others up to `before`."""
        if self._endpoint is not None and self._count() < MOST_PENDING:
            self._ask(Request(SCHEMA, self._id(), topic, instance, first, None, before), None)

    def take(self) -> list[Message | Missed]:
        """Return what came, and what never will. Raises `MessageError` for an answer that is none."""
        events: list[Message | Missed] = []
        while self._socket is not None:
            try:
                frames = self._socket.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                break
            events += self._see(decode_answer(frames))
        return events + self._overdue()

    def close(self) -> None:
        """Close the socket. May be called again."""
        if self._socket is not None:
            self._socket.close(linger=0)
            self._socket = None

    def _id(self) -> int:
        self._last_id += 1
        return self._last_id

    def _first_pending(self) -> list[_Pending]:
        """Those that an answer is waited for: the first of each topic."""
        return [waiting[0] for waiting in self._topics.values()]

    def _count(self) -> int:
        return sum(map(len, self._topics.values()))

    def _ask(self, request: Request, missing: int | None) -> None:
        waiting = self._topics.setdefault(request.topic, deque())
        waiting.append(_Pending(request, self._monotonic(), missing))
        if len(waiting) == 1:
            self._send(waiting[0])

    def _done(self, topic: str) -> None:
        """The first of a topic is answered, or given up: go on with the next."""
        waiting = self._topics[topic]
        waiting.popleft()
        if waiting:
            self._send(waiting[0])
        else:
            del self._topics[topic]

    def _see(self, answer: Answer) -> list[Message | Missed]:
        topic = answer.request.topic
        pending = self._topics[topic][0] if topic in self._topics else None
        if pending is None or pending.request != answer.request:
            return []  # asked twice, answered twice
        if pending.missing is not None:
            pending.missing -= len(answer.messages)
        if answer.more and answer.messages and (pending.missing is None or pending.missing > 0):
            last = answer.messages[-1].envelope
            pending.request = replace(pending.request, id=self._id(), instance=last.instance, first=last.sequence + 1)
            pending.attempts = 1
            self._send(pending)
            return list(answer.messages)
        self._done(topic)
        return [*answer.messages, *_lost(pending)]

    def _overdue(self) -> list[Message | Missed]:
        now = self._monotonic()
        lost: list[Message | Missed] = []
        again = False
        for pending in self._first_pending():
            if now - pending.asked_s < ANSWER_S:
                continue
            if pending.attempts >= ATTEMPTS:
                self._done(pending.request.topic)
                lost += _lost(pending)
            else:
                pending.attempts += 1
                again = True
        if again:
            self._renew()
        return lost

    def _renew(self) -> None:
        """Make the socket anew and ask again: a daemon that refused us would never hear of us otherwise."""
        self.close()
        for pending in self._first_pending():
            self._send(pending)

    def _send(self, pending: _Pending) -> None:
        pending.asked_s = self._monotonic()
        try:
            if self._socket is None and self._endpoint is not None:
                self._socket = self._connected(self._endpoint)
            if self._socket is not None:
                self._socket.send(encode_request(pending.request), zmq.NOBLOCK)
        except (zmq.ZMQError, ConfigError):
            return  # it counts as unanswered: asked again, then given up

    def _connected(self, endpoint: str) -> zmq.Socket[bytes]:
        socket: zmq.Socket[bytes] = self._context.socket(zmq.DEALER)
        try:
            socket.linger = 0
            socket.sndhwm = socket.rcvhwm = MOST_PENDING
            socket.setsockopt(zmq.MAXMSGSIZE, 2 * MOST_BYTES)
            socket.setsockopt(zmq.IPV6, int(parse_endpoint(endpoint).six))
            self._security.configure(socket, endpoint)
            socket.connect(endpoint)
        except BaseException:
            socket.close(linger=0)
            raise
        return socket


def _lost(pending: _Pending) -> list[Message | Missed]:
    if pending.missing is None or pending.missing <= 0:
        return []
    request = pending.request
    return [Missed(request.topic, pending.missing, request.instance)]
