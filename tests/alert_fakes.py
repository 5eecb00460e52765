"""Alerts, statuses and publishers to test with: real ones, with values that are easy to recognise."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

from taintwatch.alerts.bodies import Heartbeat
from taintwatch.alerts.incidents import AlertTracker
from taintwatch.alerts.messages import Message
from taintwatch.alerts.outbox import Identity
from taintwatch.alerts.publisher import Publisher
from taintwatch.alerts.subscriber import Event, Subscriber
from taintwatch.cameras.camera_status import CameraState, CameraStatus
from taintwatch.records import Alert, AlertState, Vote
from taintwatch.vote.voter import OVERALL
from tests.fakes import a_frame, a_prediction, a_verdict

__all__ = [
    "PATIENCE_S",
    "a_status",
    "an_alert",
    "an_identity",
    "events_until",
    "is_alert",
    "is_heartbeat",
    "messages_until",
    "next_event",
    "until_joined",
    "until_sent",
]

PATIENCE_S = 30.0  # only so that what never comes fails a test instead of the whole run


def an_identity(instance: str = "first", site: str = "lab") -> Identity:
    """The sender of messages, at site `lab`."""
    return Identity(site, "a" * 64, "b" * 64, "CPUExecutionProvider", True, instance)


def an_alert(camera: str = "door", event_id: str = "e1", state: AlertState = AlertState.RAISED) -> Alert:
    """An alert as the tracker raises it for one suspicious frame, in the state that is asked for."""
    prediction = a_prediction(a_frame(7, camera), label=1)
    votes = (Vote(camera, 7, "tight", True, 1.0), Vote(camera, 7, OVERALL, True, 1.0))
    alert = AlertTracker(new_id=lambda: event_id)(prediction, (a_verdict(prediction, True),), votes)
    assert alert is not None
    return replace(alert, state=state)


def a_status(camera: str = "door", frames: int = 0) -> CameraStatus:
    """A camera that runs."""
    return CameraStatus(camera, CameraState.RUNNING, "folder of pictures", frames, 0, 0, fps=25.0)


def next_event(subscriber: Subscriber) -> Event:
    """The next event; a test that gets none fails here."""
    event = subscriber.receive(PATIENCE_S)
    assert event is not None, f"nothing came within {PATIENCE_S:g} s"
    return event


def is_alert(event: object) -> bool:
    return isinstance(event, Message) and isinstance(event.body, Alert)


def is_heartbeat(event: object) -> bool:
    return isinstance(event, Message) and isinstance(event.body, Heartbeat)


def events_until(subscriber: Subscriber, enough: Callable[[list[Event]], bool]) -> list[Event]:
    """Everything that comes until that is enough. Other things may go on coming: it is not waited for silence."""
    events: list[Event] = []
    give_up = time.monotonic() + PATIENCE_S
    while not enough(events):
        assert time.monotonic() < give_up, f"only {events} came"
        if (event := subscriber.receive(0.1)) is not None:
            events.append(event)
    return events


def messages_until(subscriber: Subscriber, enough: Callable[[list[Message]], bool]) -> list[Message]:
    """The same, of messages."""
    found: list[Message] = []

    def note(events: list[Event]) -> bool:
        found.extend(event for event in events[-1:] if isinstance(event, Message))
        return enough(found)

    events_until(subscriber, note)
    return found


def until_sent(publisher: Publisher, count: int = 1) -> None:
    """Wait until so many messages were sent: whoever subscribes afterwards is told of them again, and has them once."""
    give_up = time.monotonic() + PATIENCE_S
    while publisher.stats().sent < count:
        assert time.monotonic() < give_up, f"only {publisher.stats()}"
        time.sleep(0.002)


def until_joined(subscriber: Subscriber) -> list[Event]:
    """Everything up to the heartbeat after what is told again (there must be something, see `until_sent`).

    From then on the publisher tells nothing again, and the subscriber counts what it misses.
    """
    return events_until(subscriber, _has_joined)


def _has_joined(events: list[Event]) -> bool:
    told = (index for index, event in enumerate(events) if isinstance(event, Message) and event.envelope.replayed)
    first = next(told, None)
    return first is not None and any(map(is_heartbeat, events[first:]))
