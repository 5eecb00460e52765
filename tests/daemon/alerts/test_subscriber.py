"""The subscriber on real sockets: it waits, reconnects, tells a restart, and survives what is no message."""

from __future__ import annotations

import time

import pytest
import zmq

from taintwatch.alerts.gaps import Missed, Restarted
from taintwatch.alerts.messages import Message
from taintwatch.alerts.publisher import Publisher
from taintwatch.alerts.subscriber import Malformed, Subscriber
from taintwatch_models.errors import UsageError
from tests.alert_fakes import PATIENCE_S, a_status, an_alert, an_identity, events_until, next_event, until_sent

ANY_PORT = "tcp://127.0.0.1:*"


def heartbeats_are_heard(subscriber: Subscriber) -> None:
    """Wait until something came that is not returned: what is missed from then on is counted."""
    start = time.monotonic()
    while subscriber.silent_s >= time.monotonic() - start:
        assert subscriber.receive(0.05) is None
        assert time.monotonic() - start < PATIENCE_S, "no heartbeat came"


def test_nothing_within_the_time_out_is_none_and_silence_is_measured() -> None:
    now = [100.0]
    with Subscriber("tcp://127.0.0.1:9", monotonic=lambda: now[0]) as subscriber:
        assert subscriber.receive(0) is None
        now[0] = 107.5
        assert subscriber.silent_s == 7.5


def test_it_may_be_there_before_the_publisher() -> None:
    with Publisher(an_identity(), ANY_PORT) as first:
        endpoint = first.endpoint
    with Subscriber(endpoint) as subscriber:
        assert subscriber.receive(0.05) is None
        with Publisher(an_identity(), endpoint, heartbeat_s=0.05):
            assert isinstance(next_event(subscriber), Message)
            assert subscriber.silent_s < 10


def test_it_reconnects_after_a_restart_and_says_so() -> None:
    with (
        Publisher(an_identity("first"), ANY_PORT, heartbeat_s=0.05) as publisher,
        Subscriber(publisher.endpoint) as sub,
    ):
        endpoint = publisher.endpoint
        publisher.publish_status(a_status())
        events_until(sub, lambda events: any(isinstance(event, Message) for event in events))
        publisher.close()
        with Publisher(an_identity("second"), endpoint, heartbeat_s=0.05) as successor:
            while not isinstance(event := next_event(sub), Restarted):
                pass
            assert (event.instance, event.previous) == ("second", "first")
            sent = successor.publish_alert(an_alert())
            events_until(sub, lambda events: sent in events)


def test_what_was_published_while_it_was_reconnecting_is_reported_missed() -> None:
    with (
        Publisher(an_identity("first"), ANY_PORT, heartbeat_s=0.05) as publisher,
        Subscriber(publisher.endpoint) as sub,
    ):
        next_event(sub)
        publisher.close()
        with Publisher(an_identity("second"), publisher.endpoint, heartbeat_s=0.05) as successor:
            for frames in range(4):
                successor.publish_status(a_status(frames=frames))
            accounted = 0
            while accounted < 4:
                event = next_event(sub)
                accounted += event.count if isinstance(event, Missed) else 0
                accounted += isinstance(event, Message) and event.envelope.kind == "status"
            assert accounted == 4


def test_heartbeats_reveal_gaps_but_are_not_returned_where_only_alerts_are_wanted() -> None:
    topic = "taintwatch/v1/lab/door/alert/"
    with Publisher(an_identity(), ANY_PORT, cameras=["door"], heartbeat_s=0.05) as publisher:
        publisher.publish_alert(an_alert())
        publisher.publish_status(a_status())
        until_sent(publisher, 2)
        with Subscriber(publisher.endpoint, [topic]) as subscriber:
            alert = next_event(subscriber)
            assert isinstance(alert, Message)
            assert alert.topic == topic
            heartbeats_are_heard(subscriber)
            publisher._outbox._limit = 0  # every further message finds the queue full
            publisher.publish_status(a_status())
            publisher.publish_alert(an_alert())
            assert next_event(subscriber) == Missed(topic, 1)
            assert subscriber.silent_s < 10


def test_what_is_no_message_is_told_and_the_next_one_still_comes() -> None:
    with zmq.Context() as context, context.socket(zmq.XPUB) as socket:
        socket.linger = 0
        port = socket.bind_to_random_port("tcp://127.0.0.1")
        with Subscriber(f"tcp://127.0.0.1:{port}") as subscriber:
            assert socket.poll(30_000)
            socket.recv()
            for _ in range(2):
                socket.send_multipart([b"taintwatch/v1/lab/door/alert/", b"{nonsense"])
            events = [next_event(subscriber), next_event(subscriber)]
    assert all(isinstance(event, Malformed) and "not strict JSON" in event.reason for event in events)


@pytest.mark.parametrize(
    ("endpoint", "prefix", "says"),
    [
        ("127.0.0.1:5556", "", "it must be like tcp://127.0.0.1:5556"),
        ("tcp://127.0.0.1:*", "", "give the port that the daemon publishes on"),
        ("tcp://127.0.0.1:70000", "", "port 70000 is above 65535"),
        ("tcp://127.0.0.1:5556", "door", "No topic starts with 'door'"),
    ],
)
def test_a_wrong_endpoint_or_prefix_is_refused(endpoint: str, prefix: str, says: str) -> None:
    with pytest.raises(UsageError) as caught:
        Subscriber(endpoint, [prefix])
    assert says in str(caught.value)
