"""Alerts, statuses and publishers to test with: real ones, with values that are easy to recognise."""

from __future__ import annotations

from dataclasses import replace

from taintwatch.alerts.bodies import CameraState, CameraStatus, Heartbeat
from taintwatch.alerts.lifecycle import AlertBook
from taintwatch.alerts.messages import Message
from taintwatch.alerts.subscriber import Event, Subscriber
from taintwatch.alerts.writer import Identity
from taintwatch.records import Alert, AlertState, Vote
from taintwatch.vote.voter import COMBINED
from tests.fakes import a_frame, a_prediction, a_verdict

__all__ = ["a_status", "an_alert", "an_identity", "drain", "next_event"]


def an_identity(instance: str = "first", site: str = "lab") -> Identity:
    """The sender of messages, at site `lab`."""
    return Identity(site, "a" * 64, "b" * 64, "CPUExecutionProvider", True, instance)


def an_alert(camera: str = "door", event_id: str = "e1", state: AlertState = AlertState.RAISED) -> Alert:
    """An alert as the book raises it for one suspicious frame, in the state that is asked for."""
    prediction = a_prediction(a_frame(7, camera), label=1)
    votes = (Vote(camera, 7, "tight", True, 1.0), Vote(camera, 7, COMBINED, True, 1.0))
    alert = AlertBook(new_id=lambda: event_id)(prediction, (a_verdict(prediction, True),), votes)
    assert alert is not None
    return replace(alert, state=state)


def a_status(camera: str = "door", frames: int = 0) -> CameraStatus:
    """A camera that runs."""
    return CameraStatus(camera, CameraState.RUNNING, "folder of pictures", frames, 0, 0, fps=25.0)


def next_event(subscriber: Subscriber) -> Event:
    """The next event; a test that gets none fails here."""
    event = subscriber.receive(10.0)
    assert event is not None, "nothing came within 10 s"
    return event


def drain(subscriber: Subscriber) -> list[Event]:
    """Everything that is on its way: until three heartbeats bring nothing new, or nothing comes for half a second.

    The first may take longer: on a busy machine a connection is not made at once.
    """
    events: list[Event] = []
    beats = 0
    while beats < 3 and (event := subscriber.receive(0.5 if events else 5.0)) is not None:
        beating = isinstance(event, Message) and isinstance(event.body, Heartbeat)
        beats = beats + 1 if beating else 0
        events.append(event)
    return events
