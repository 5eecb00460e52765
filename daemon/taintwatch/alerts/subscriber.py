"""The client's side: receive messages, reconnect by itself, ask for what was missed, and say what stays missed."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import zmq

from taintwatch.alerts.bodies import Heartbeat, sealed_text
from taintwatch.alerts.endpoints import parse_endpoint
from taintwatch.alerts.gaps import GapTracker, Missed, Restarted
from taintwatch.alerts.link import Link, Refused
from taintwatch.alerts.messages import DEFAULT_ENDPOINT, Envelope, Message, MessageError, decode
from taintwatch.alerts.replay import replay_endpoint
from taintwatch.alerts.replay_client import ReplayClient
from taintwatch.alerts.security import Security, Unprotected
from taintwatch.alerts.topics import ROOT, Kind, companion_topics, topic_of
from taintwatch_models.errors import UsageError

__all__ = ["Event", "Malformed", "Subscriber"]


@dataclass(frozen=True, slots=True)
class Malformed:
    """Something came that is not a message; `reason` is one sentence."""

    reason: str


Event = Message | Missed | Restarted | Malformed | Refused


class Subscriber:
    """Receives the messages whose topics start with one of `prefixes`. A context manager; used by one thread only.

    The connection is made, and made again after a break, a refusal or a change of keys, in the background: there need
    be no publisher yet. Heartbeats are always received, so that what was missed is known; they are returned only where
    a prefix matches them.

    Missed alerts are asked for where the daemon keeps them: they come marked `replayed`, after what came meanwhile, and
    `Missed` counts only what cannot be had. `replay`: where to ask, in place of what the daemon announces; "" never.
    `authentic`: says of a text and its signature whether the daemon signed it; heartbeats that it did not are
    `Malformed`. `security`: a `CurveClient` where the daemon wants keys. `context`: needed for inproc endpoints. Raises
    `UsageError` for a malformed endpoint or prefix.
    """

    def __init__(
        self,
        endpoint: str = DEFAULT_ENDPOINT,
        prefixes: Sequence[str] = (ROOT,),
        *,
        high_water_mark: int = 1000,
        security: Security | None = None,
        replay: str | None = None,
        authentic: Callable[[str, str], bool] | None = None,
        monotonic: Callable[[], float] = time.monotonic,
        context: zmq.Context[Any] | None = None,
    ) -> None:
        _check(endpoint, prefixes)
        if replay:
            _check(replay, prefixes)
        self.endpoint = endpoint
        self._replay = replay
        self._authentic = authentic
        self._uptimes: dict[tuple[str, str, str], float] = {}
        self._monotonic = monotonic
        self._prefixes = tuple(prefixes)
        self._alert_topics: dict[str, set[str]] = {}
        self._tracker = GapTracker(self._prefixes)
        self._events: deque[Event] = deque()
        self._own_context = context is None
        self._context: zmq.Context[Any] = zmq.Context() if context is None else context
        topics = [topic for prefix in prefixes for topic in (prefix, *companion_topics(prefix))]
        security = security or Unprotected()
        self._replays = ReplayClient(self._context, security, monotonic)
        self._replays.use(replay or None)
        try:
            self._link = Link(self._context, endpoint, topics, high_water_mark, security, monotonic)
        except BaseException:
            self._end_context()
            raise

    @property
    def silent_s(self) -> float:
        """Seconds since anything at all was received (a heartbeat too), or since the start."""
        return self._monotonic() - self._link.heard_s

    def receive(self, timeout_s: float) -> Event | None:
        """Return the next event, or None when none comes within `timeout_s` seconds (0: only what is there already)."""
        deadline = self._monotonic() + timeout_s
        while not self._events:
            left_s = max(0.0, deadline - self._monotonic())
            happened = self._link.wait(min(left_s, self._replays.due_s()), *self._replays.sockets)
            self._take_waiting()
            if not happened and not self._events and self._monotonic() >= deadline:
                return None
        return self._events.popleft()

    def close(self) -> None:
        """Close the sockets. May be called again."""
        self._link.close()
        self._end_context()

    def __enter__(self) -> Subscriber:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _end_context(self) -> None:
        self._replays.close()
        if self._own_context:
            self._context.term()

    def _take_waiting(self) -> None:
        refused = self._link.refused()
        if refused is not None:
            self._events.append(refused)
        frames = self._link.receive()
        if frames is not None:
            self._take(frames)
        if self._replays.waiting:
            try:
                self._events.extend(self._replays.take())
            except MessageError as error:
                self._events.append(Malformed(str(error)))

    def _take(self, frames: list[bytes]) -> None:
        try:
            message = decode(frames)
        except MessageError as error:
            self._events.append(Malformed(str(error)))
            return
        if isinstance(message.body, Heartbeat):
            if not self._is_ours(message.envelope, message.body):
                sentence = f"A heartbeat of site {message.envelope.site} is old, or was not signed by the daemon's key."
                self._events.append(Malformed(sentence))
                return
            self._heed(message.envelope, message.body)
        notices, new = self._tracker.see(message)
        for notice in notices:
            if isinstance(notice, Restarted):
                self._ask_for_the_rest(notice)
            if not isinstance(notice, Missed) or not self._ask_for(notice):
                self._events.append(notice)
        if new:
            self._events.append(message)

    def _is_ours(self, envelope: Envelope, heartbeat: Heartbeat) -> bool:
        """Whether a heartbeat is signed, where that is asked for, and later than the one before."""
        if self._authentic is None:
            return True
        sender = envelope.site, envelope.camera, envelope.instance
        if heartbeat.uptime_s < self._uptimes.get(sender, 0.0):
            return False
        signed = self._authentic(sealed_text(*sender, heartbeat), heartbeat.signature or "")
        if signed:
            self._uptimes[sender] = heartbeat.uptime_s
        return signed

    def _heed(self, envelope: Envelope, heartbeat: Heartbeat) -> None:
        topic = topic_of(envelope.site, envelope.camera, Kind.ALERT)
        if topic.startswith(self._prefixes):
            self._alert_topics.setdefault(envelope.site, set()).add(topic)
        self._link.expect(heartbeat.interval_s)
        if self._replay is None:
            self._replays.use(replay_endpoint(self.endpoint, heartbeat.replay))

    def _ask_for(self, missed: Missed) -> bool:
        return missed.topic.endswith(f"/{Kind.ALERT.value}/") and self._replays.ask(missed)

    def _ask_for_the_rest(self, restarted: Restarted) -> None:
        """What the last start of the daemon stored and published just before its end may never have come."""
        self._replays.ask_again()
        reached = {topic: last for topic, last in restarted.reached if topic.endswith(f"/{Kind.ALERT.value}/")}
        for topic in sorted(self._alert_topics.get(restarted.site, set()) | set(reached)):
            self._replays.ask_rest(topic, restarted.previous, reached.get(topic, 0) + 1, restarted.instance)


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
