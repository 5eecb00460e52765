"""The queue before an outlet: bounded, never waited for, and honest about what was not sent."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import replace

from taintwatch.cameras.camera_status import CameraState
from taintwatch.notify.notifications import Notifications
from taintwatch.notify.outlet import MOST_FRAMES, Departure, Item, Notice, Outcome, Outlet
from taintwatch.records import AlertState
from taintwatch_models.records import Frame
from tests.alert_fakes import a_status, an_alert
from tests.fakes import a_frame
from tests.web_scene import a_status as a_run

PATIENCE_S = 30.0


def a_notice(event_id: str = "e1", state: AlertState = AlertState.RAISED, frame: Frame | None = None) -> Notice:
    return Notice(an_alert("door", event_id, state), frame)


def until(holds: Callable[[], bool]) -> None:
    give_up = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < give_up
        time.sleep(0.01)


class Receiver:
    """Takes what is sent, or is away."""

    def __init__(self, *outcomes: Outcome) -> None:
        self.outcomes = list(outcomes)
        self.got: list[Item] = []
        self.gate = threading.Event()
        self.gate.set()

    def __call__(self, item: Item) -> Outcome:
        assert self.gate.wait(PATIENCE_S)
        self.got.append(item)
        return self.outcomes.pop(0) if self.outcomes else Outcome.SENT

    def events(self) -> list[str]:
        return [item.alert.event_id for item in self.got if isinstance(item, Notice)]


def test_what_must_wait_is_sent_again_in_order() -> None:
    receiver = Receiver(Outcome.LATER, Outcome.LATER)
    outlet = Outlet("test", receiver, first_wait_s=0.01)
    outlet.offer(a_notice("e1"))
    outlet.offer(a_notice("e2"))
    until(lambda: outlet.stats().sent == 2)
    assert receiver.events() == ["e1", "e1", "e1", "e2"]
    assert outlet.stats().failures == 2
    outlet.close(1)


def test_what_is_refused_is_counted_and_not_sent_again() -> None:
    receiver = Receiver(Outcome.REFUSED)
    outlet = Outlet("test", receiver)
    outlet.offer(a_notice("e1"))
    outlet.offer(a_notice("e2"))
    until(lambda: outlet.stats().sent == 1)
    assert (receiver.events(), outlet.stats().refused) == (["e1", "e2"], 1)
    outlet.close(1)


def test_offering_never_waits_and_the_oldest_goes() -> None:
    receiver = Receiver()
    receiver.gate.clear()
    outlet = Outlet("test", receiver, most=10)
    outlet.offer(a_notice("first"))
    until(lambda: outlet.stats().waiting == 0)  # it is with the receiver, who is stuck
    begun = time.monotonic()
    for number in range(1000):
        outlet.offer(a_notice(f"e{number}"))
    assert time.monotonic() - begun < 5
    assert (outlet.stats().waiting, outlet.stats().dropped) == (10, 990)
    receiver.gate.set()
    until(lambda: outlet.stats().sent == 11)
    assert receiver.events() == ["first", *(f"e{number}" for number in range(990, 1000))]
    outlet.close(1)


def test_only_the_newest_few_keep_their_pictures_while_they_wait() -> None:
    receiver = Receiver()
    receiver.gate.clear()
    outlet = Outlet("test", receiver)
    for number in range(20):
        outlet.offer(a_notice(f"e{number}", frame=a_frame()))
    receiver.gate.set()
    until(lambda: outlet.stats().sent == 20)
    with_picture = [item.alert.event_id for item in receiver.got if isinstance(item, Notice) and item.frame]
    assert len(with_picture) <= MOST_FRAMES + 1  # and the one that was with the receiver
    assert with_picture[-1] == "e19"
    outlet.close(1)


def test_a_snoozed_camera_notifies_nobody_to_the_end_of_its_alert() -> None:
    receiver, snoozed = Receiver(), {"door"}
    outlet = Outlet("test", receiver, is_snoozed=lambda camera: camera in snoozed)
    outlet.offer(a_notice("e1"))
    until(lambda: outlet.stats().snoozed == 1)
    snoozed.clear()
    outlet.offer(a_notice("e1", AlertState.CLEARED))
    outlet.offer(a_notice("e2"))
    until(lambda: outlet.stats().sent == 1)
    assert (receiver.events(), outlet.stats().snoozed) == (["e2"], 2)
    outlet.close(1)


def test_what_was_raised_before_the_snooze_is_cleared_during_it() -> None:
    receiver, snoozed = Receiver(), set[str]()
    outlet = Outlet("test", receiver, is_snoozed=lambda camera: camera in snoozed)
    outlet.offer(a_notice("e1"))
    until(lambda: outlet.stats().sent == 1)
    snoozed.add("door")
    outlet.offer(a_notice("e1", AlertState.CLEARED))
    until(lambda: outlet.stats().sent == 2)
    outlet.close(1)


def test_closing_sends_what_waits_and_says_what_it_could_not() -> None:
    receiver = Receiver()
    outlet = Outlet("test", receiver)
    for number in range(50):
        outlet.offer(a_notice(f"e{number}"))
    outlet.close(PATIENCE_S)
    assert outlet.stats().sent == 50
    away = Outlet("away", Receiver(*[Outcome.LATER] * 1000), first_wait_s=0.01)
    away.offer(a_notice("e1"))
    begun = time.monotonic()
    away.close(0.3)
    assert time.monotonic() - begun < 10
    assert away.stats().dropped == 1
    away.offer(a_notice("e2"))
    assert away.stats().waiting == 0


def test_cameras_are_told_of_when_they_change_and_when_they_go() -> None:
    receiver = Receiver()
    outlet = Outlet("test", receiver)
    notifications = Notifications([outlet])
    notifications.progress(a_run("door", "hall"))
    notifications.progress(a_run("door", "hall"))
    lost = replace(a_status("door"), state=CameraState.LOST)
    notifications.progress(replace(a_run("hall"), cameras=(lost, a_status("hall"))))
    notifications.progress(a_run("door"))
    notifications.close()
    assert [item if isinstance(item, Departure) else (item.camera, item.state) for item in receiver.got
            if not isinstance(item, Notice)][-2:] == [("door", CameraState.RUNNING), Departure("hall")]  # fmt: skip
    assert len(receiver.got) <= 5
