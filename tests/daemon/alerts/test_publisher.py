"""The publisher on real sockets: what is sent, what is dropped, what a late subscriber is told, and what is refused."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import replace
from importlib.resources import files

import jsonschema
import pytest
import zmq

from taintwatch.alerts.bodies import Heartbeat
from taintwatch.alerts.gaps import Missed
from taintwatch.alerts.messages import Message, MessageError, decode
from taintwatch.alerts.outbox import MessageWriter, Outbox
from taintwatch.alerts.publisher import Publisher
from taintwatch.alerts.subscriber import Subscriber
from taintwatch.alerts.topics import DAEMON
from taintwatch.cameras.camera_status import CameraStatus
from taintwatch.records import Alert, AlertState
from taintwatch_models.errors import PublishError, TaintwatchError
from tests.alert_fakes import (
    a_status,
    an_alert,
    an_identity,
    events_until,
    is_alert,
    is_heartbeat,
    messages_until,
    next_event,
    until_joined,
    until_sent,
)

ANY_PORT = "tcp://127.0.0.1:*"
DOOR = "taintwatch/v1/lab/door/"


@pytest.fixture
def publisher() -> Iterator[Publisher]:
    with Publisher(an_identity(), ANY_PORT, cameras=["door"], heartbeat_s=0.05) as it:
        yield it


def wait_for_heartbeat(subscriber: Subscriber) -> Heartbeat:
    heartbeat = messages_until(subscriber, lambda found: bool(found) and is_heartbeat(found[-1]))[-1].body
    assert isinstance(heartbeat, Heartbeat)
    return heartbeat


def wait_for_alerts(subscriber: Subscriber, count: int) -> list[Message]:
    """Return the first alerts that come."""
    return [
        message
        for message in messages_until(subscriber, lambda found: sum(map(is_alert, found)) == count)
        if is_alert(message)
    ]


def alerts_before(subscriber: Subscriber, last: Message) -> list[Message]:
    """Return the alerts that come before a status that was just published: what it overtook never comes."""
    found = messages_until(subscriber, lambda found: any(message.body == last.body for message in found))
    return [message for message in found if is_alert(message)]


def test_it_says_which_port_it_was_given(publisher: Publisher) -> None:
    assert publisher.endpoint.startswith("tcp://127.0.0.1:")
    assert int(publisher.endpoint.rpartition(":")[2]) > 0
    assert publisher.stats().endpoint == publisher.endpoint


def test_alerts_arrive_in_order_with_their_picture(publisher: Publisher) -> None:
    with Subscriber(publisher.endpoint) as subscriber:
        wait_for_heartbeat(subscriber)
        sent = [
            publisher.publish_alert(an_alert(), b"\xff\xd8picture"),
            publisher.publish_alert(an_alert(state=AlertState.UPDATED)),
            publisher.publish_alert(an_alert(state=AlertState.CLEARED)),
        ]
        assert wait_for_alerts(subscriber, 3) == sent
    assert [message.envelope.sequence for message in sent] == [1, 2, 3]
    until_sent(publisher, 3)
    assert publisher.stats().sent == 3


def test_published_messages_fit_the_schema(publisher: Publisher) -> None:
    schema = json.loads((files("taintwatch.alerts") / "messages.schema.json").read_text())
    with zmq.Context() as context, context.socket(zmq.SUB) as socket:
        socket.setsockopt_string(zmq.SUBSCRIBE, "taintwatch/v1/")
        socket.connect(publisher.endpoint)
        kinds: set[str] = set()
        publisher.publish_alert(an_alert(), b"\xff\xd8picture")
        publisher.publish_status(a_status())
        while len(kinds) < 3:
            assert socket.poll(30_000)
            topic, text, *rest = socket.recv_multipart()
            wire = json.loads(text)
            jsonschema.validate(wire, schema, jsonschema.Draft202012Validator)
            assert topic.decode() == f"{DOOR}{wire['kind']}/"
            assert rest == ([b"\xff\xd8picture"] if wire["kind"] == "alert" else [])
            kinds.add(wire["kind"])


def test_a_late_subscriber_is_told_the_last_status_and_the_open_alerts(publisher: Publisher) -> None:
    publisher.publish_status(a_status(frames=1))
    publisher.publish_status(a_status(frames=2))
    publisher.publish_alert(an_alert(event_id="over"))
    publisher.publish_alert(an_alert(event_id="over", state=AlertState.CLEARED))
    publisher.publish_alert(an_alert(event_id="open"))
    last = publisher.publish_alert(an_alert(event_id="open", state=AlertState.UPDATED), b"\xff\xd8picture")
    until_sent(publisher, 6)
    with Subscriber(publisher.endpoint) as subscriber:
        # A heartbeat follows on what is told again.
        found = messages_until(
            subscriber, lambda found: sum(m.envelope.replayed for m in found) >= 2 and is_heartbeat(found[-1])
        )
    status, alert = (message for message in found if message.envelope.replayed)
    assert status.body == a_status(frames=2)
    assert replace(alert, envelope=replace(alert.envelope, replayed=False)) == last


def test_a_late_subscriber_is_told_only_what_it_asked_for(publisher: Publisher) -> None:
    publisher.publish_status(a_status("door"))
    publisher.publish_status(a_status("gate"))
    publisher.publish_alert(an_alert("gate"))
    until_sent(publisher, 3)
    with Subscriber(publisher.endpoint, ["taintwatch/v1/lab/gate/alert/"]) as subscriber:
        first = next_event(subscriber)
        last = publisher.publish_alert(an_alert("gate", "last"))
        events = [first, *events_until(subscriber, lambda events: last in events)]
    assert {event.topic for event in events if isinstance(event, Message)} == {"taintwatch/v1/lab/gate/alert/"}
    assert len(events) == 2


def test_a_second_late_subscriber_is_told_too_and_the_first_hears_nothing_twice(publisher: Publisher) -> None:
    publisher.publish_alert(an_alert())
    until_sent(publisher)
    with Subscriber(publisher.endpoint) as first:
        assert len(wait_for_alerts(first, 1)) == 1
        with Subscriber(publisher.endpoint) as second:
            assert len(wait_for_alerts(second, 1)) == 1
            last = publisher.publish_status(a_status())
            assert alerts_before(second, last) == []
            assert alerts_before(first, last) == []
    assert publisher.stats().replayed == 2


def test_heartbeats_name_the_last_sequences_and_the_open_alerts(publisher: Publisher) -> None:
    publisher.publish_alert(an_alert(event_id="e9"))
    publisher.publish_status(a_status())
    publisher.publish_status(a_status())
    publisher.publish_status(a_status("gate"))
    with Subscriber(publisher.endpoint, [DOOR]) as subscriber:
        heartbeat = wait_for_heartbeat(subscriber)
    assert heartbeat.last_sequences == {f"{DOOR}alert/": 1, f"{DOOR}status/": 2}
    assert heartbeat.open_alerts == ("e9",)
    assert heartbeat.interval_s == 0.05


def test_without_cameras_the_daemon_itself_beats() -> None:
    with (
        Publisher(an_identity(), ANY_PORT, heartbeat_s=0.05) as publisher,
        Subscriber(publisher.endpoint) as subscriber,
    ):
        event = next_event(subscriber)
        assert isinstance(event, Message)
        assert (event.envelope.camera, event.envelope.kind) == (DAEMON, "heartbeat")


def test_a_full_queue_drops_the_newest_counts_it_and_still_knows_the_last_value() -> None:
    outbox, writer = Outbox(2), MessageWriter(an_identity())
    parcels = [writer.write("door", a_status(frames=frames)) for frames in range(5)]
    assert [outbox.put(parcel) for parcel in parcels] == [True, True, False, False, False]
    snapshot = outbox.take()
    assert snapshot.waiting == tuple(parcels[:2])
    assert (snapshot.dropped, dict(snapshot.last_sequences)) == (3, {f"{DOOR}status/": 5})
    assert snapshot.current == (parcels[4].message,)
    assert outbox.put(parcels[0])
    assert outbox.take().waiting == (parcels[0],)


def test_a_drop_in_the_queue_is_missed_by_the_subscriber_and_told_by_the_heartbeat(
    publisher: Publisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    publisher.publish_status(a_status(frames=1))
    until_sent(publisher)
    with Subscriber(publisher.endpoint) as subscriber:
        until_joined(subscriber)
        with monkeypatch.context() as patch:
            patch.setattr(publisher._outbox, "_limit", 0)  # every message finds the queue full
            publisher.publish_status(a_status(frames=2))
            publisher.publish_status(a_status(frames=3))
        events = events_until(subscriber, lambda events: sum(map(_missed, events)) == 2)
        assert {event.topic for event in events if isinstance(event, Missed)} == {f"{DOOR}status/"}
        assert wait_for_heartbeat(subscriber).dropped == 2
    assert publisher.stats().dropped == 2


def _missed(event: object) -> int:
    return event.count if isinstance(event, Missed) else 0


def test_a_subscriber_that_never_reads_holds_nobody_up() -> None:
    with (
        Publisher(an_identity(), ANY_PORT, heartbeat_s=0.05, high_water_mark=5, queue_limit=10_000) as publisher,
        Subscriber(publisher.endpoint, high_water_mark=5) as lazy,
        Subscriber(publisher.endpoint, high_water_mark=100_000) as busy,
    ):
        wait_for_heartbeat(lazy)
        wait_for_heartbeat(busy)
        picture = b"\xff\xd8" + bytes(200_000)
        for _ in range(300):  # 60 MB: more than any socket buffer between the two
            publisher.publish_alert(an_alert(), picture)
            drain_one(busy)
        while publisher.stats().sent < 300:  # the test's time-out ends it where they are never sent
            drain_one(busy)
        assert publisher.stats().dropped == 0
        wait_for_heartbeat(busy)


def drain_one(subscriber: Subscriber) -> None:
    subscriber.receive(0)


def test_a_slow_subscriber_is_told_how_much_it_missed() -> None:
    with (
        Publisher(an_identity(), ANY_PORT, heartbeat_s=0.05, high_water_mark=2) as publisher,
        Subscriber(publisher.endpoint, high_water_mark=2) as slow,
    ):
        wait_for_heartbeat(slow)
        picture = b"\xff\xd8" + bytes(500_000)
        for _ in range(200):
            publisher.publish_alert(an_alert(), picture)
        received = missed = 0
        while received + missed < 200:
            event = next_event(slow)
            received += isinstance(event, Message) and isinstance(event.body, Alert)
            missed += event.count if isinstance(event, Missed) else 0
        assert received + missed == 200
        assert missed > 0


def test_many_threads_may_publish_and_no_sequence_is_used_twice(publisher: Publisher) -> None:
    def publish() -> None:
        for _ in range(50):
            publisher.publish_status(a_status())

    with Subscriber(publisher.endpoint) as subscriber:
        wait_for_heartbeat(subscriber)
        threads = [threading.Thread(target=publish) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        events = events_until(subscriber, lambda events: sum(map(_is_status, events)) == 200)
    assert not [event for event in events if isinstance(event, Missed)]
    sequences = [e.envelope.sequence for e in events if isinstance(e, Message) and _is_status(e)]
    assert sequences == list(range(1, 201))


def _is_status(event: object) -> bool:
    return isinstance(event, Message) and isinstance(event.body, CameraStatus)


class RecordingStore:
    """A store in memory; fails when it is told to."""

    def __init__(self) -> None:
        self.saved: list[Message] = []
        self.error: Exception | None = None

    def save(self, message: Message) -> None:
        if self.error is not None:
            raise self.error
        self.saved.append(message)


def test_alerts_are_stored_before_they_are_published_and_even_when_dropped() -> None:
    store = RecordingStore()
    with Publisher(an_identity(), ANY_PORT, queue_limit=1, store=store) as publisher:
        sent = [publisher.publish_alert(an_alert()) for _ in range(50)]
        publisher.publish_status(a_status())
        assert store.saved == sent


@pytest.mark.parametrize("error", [OSError("disk full"), TaintwatchError("the store is locked")])
def test_a_failing_store_is_counted_and_the_alert_published_all_the_same(error: Exception) -> None:
    store = RecordingStore()
    store.error = error
    with Publisher(an_identity(), ANY_PORT, store=store) as publisher, Subscriber(publisher.endpoint) as subscriber:
        publisher.publish_alert(an_alert())
        assert len(wait_for_alerts(subscriber, 1)) == 1
        assert publisher.stats().store_failures == 1


def test_an_alert_that_cannot_be_written_is_refused_and_leaves_no_gap(publisher: Publisher) -> None:
    with pytest.raises(MessageError):
        publisher.publish_alert(replace(an_alert(), score=float("inf")))
    assert publisher.publish_alert(an_alert()).envelope.sequence == 1


def test_closing_sends_what_waits_and_a_last_heartbeat() -> None:
    with Publisher(an_identity(), ANY_PORT, heartbeat_s=60) as publisher, Subscriber(publisher.endpoint) as subscriber:
        publisher.publish_status(a_status(frames=0))
        messages_until(subscriber, lambda found: any(map(_is_status, found)))
        for frames in range(1, 100):
            publisher.publish_status(a_status(frames=frames))
        publisher.close()
        publisher.close()
        found = messages_until(
            subscriber, lambda found: a_status(frames=99) in [m.body for m in found] and is_heartbeat(found[-1])
        )
    assert [m.body.frames for m in found if isinstance(m.body, CameraStatus)] == [*range(1, 100)]
    assert not publisher.stats().alive
    with pytest.raises(PublishError, match="the publisher is closed"):
        publisher.publish_alert(an_alert())


def test_garbage_from_a_subscriber_changes_nothing(publisher: Publisher) -> None:
    with zmq.Context() as context, context.socket(zmq.XSUB) as rude, context.socket(zmq.XSUB) as greedy:
        for socket in (rude, greedy):
            socket.linger = 0
            socket.connect(publisher.endpoint)
        greedy.send(b"\x01" + bytes(5000))
        for frame in (b"", b"\x07rubbish", b"\x01taintwatch/"):
            rude.send(frame)
        assert rude.poll(30_000)
        decode(rude.recv_multipart())
    with Subscriber(publisher.endpoint) as subscriber:
        wait_for_heartbeat(subscriber)
    assert publisher.stats().alive
