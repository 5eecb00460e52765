"""Where a publisher may be bound and where not, and that a start that fails leaves nothing behind."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import zmq

from taintwatch.alerts.publisher import Publisher
from taintwatch.alerts.security import Unprotected
from taintwatch.alerts.subscriber import Subscriber
from taintwatch_models.errors import ConfigError, PublishError
from tests.alert_fakes import an_alert, an_identity, is_alert, messages_until, next_event

ANY_PORT = "tcp://127.0.0.1:*"


@pytest.fixture
def publisher() -> Iterator[Publisher]:
    with Publisher(an_identity(), ANY_PORT, cameras=["door"], heartbeat_s=0.05) as it:
        yield it


def test_two_publishers_on_one_port_are_told_apart_in_one_sentence(publisher: Publisher) -> None:
    with pytest.raises(PublishError) as caught:
        Publisher(an_identity("second"), publisher.endpoint)
    assert str(caught.value) == (
        f"Alerts cannot be published on {publisher.endpoint}: another program is using it. "
        "Stop that one or take another port."
    )


def test_a_path_in_use_is_not_taken_away(tmp_path: Path) -> None:
    endpoint = f"ipc://{tmp_path / 'alerts'}"
    with Publisher(an_identity(), endpoint, heartbeat_s=0.05) as publisher:
        assert publisher.endpoint == endpoint
        with pytest.raises(PublishError, match="another program is using it"):
            Publisher(an_identity("second"), endpoint)
        with Subscriber(endpoint) as subscriber:
            next_event(subscriber)
    with Publisher(an_identity(), endpoint):
        pass  # a path that nobody listens on any more is taken over


def test_inproc_endpoints_join_publisher_and_subscriber_in_one_context() -> None:
    with (
        zmq.Context() as context,
        Publisher(an_identity(), "inproc://alerts", heartbeat_s=0.05, context=context) as publisher,
        Subscriber("inproc://alerts", context=context) as subscriber,
    ):
        sent = publisher.publish_alert(an_alert())
        (alert,) = filter(is_alert, messages_until(subscriber, lambda found: any(map(is_alert, found))))
        assert alert.body == sent.body


@pytest.mark.parametrize(
    ("endpoint", "says"),
    [
        ("tcp://0.0.0.0:*", "other machines could read them"),
        ("tcp://*:5556", "other machines could read them"),
        ("tcp://192.0.2.7:5556", "other machines could read them"),
        ("tcp://[::]:5556", "other machines could read them"),
        ("tcp://127.0.0.1:99999", "port 99999 is above 65535"),
        ("tcp://127.0.0.1", "a host, a colon and a port"),
        ("udp://127.0.0.1:5556", "it must be like tcp://127.0.0.1:5556"),
        ("5556", "it must be like tcp://127.0.0.1:5556"),
        ("ipc:///no/such/folder/alerts", "its folder does not exist"),
    ],
)
def test_an_endpoint_that_cannot_or_must_not_be_used_is_refused(endpoint: str, says: str) -> None:
    with pytest.raises(PublishError) as caught:
        Publisher(an_identity(), endpoint)
    assert says in str(caught.value)
    assert endpoint in str(caught.value)


class OpenDoor(Unprotected):
    """A security object that says yes, and remembers what it was asked for."""

    def __init__(self) -> None:
        self.asked: list[tuple[object, str]] = []

    def configure(self, socket: zmq.Socket[Any], endpoint: str) -> None:
        self.asked.append((socket.type, endpoint))
        socket.setsockopt(zmq.TCP_KEEPALIVE, 1)


def test_the_security_object_decides_and_is_given_both_sockets() -> None:
    server, client = OpenDoor(), OpenDoor()
    with Publisher(an_identity(), "tcp://0.0.0.0:*", heartbeat_s=0.05, security=server) as publisher:
        local = publisher.endpoint.replace("0.0.0.0", "127.0.0.1")  # noqa: S104 - the bind that is tested
        with Subscriber(local, security=client) as subscriber:
            next_event(subscriber)
    assert server.asked == [(zmq.XPUB, "tcp://0.0.0.0:*")]
    assert client.asked == [(zmq.SUB, local)]


class LostKey(Unprotected):
    """A security object that fails in a way that nobody foresaw."""

    def configure(self, socket: zmq.Socket[Any], endpoint: str) -> None:
        raise KeyError("the key is gone")


def test_a_security_object_that_fails_stops_the_start_and_hangs_nothing() -> None:
    with pytest.raises(KeyError, match="the key is gone"):
        Publisher(an_identity(), ANY_PORT, security=LostKey())


def test_failed_starts_leave_no_open_files_behind(publisher: Publisher) -> None:
    def attempt() -> int:
        with pytest.raises(PublishError):
            Publisher(an_identity(), publisher.endpoint)
        return len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - a count is all that is wanted

    first, *later = (attempt() for _ in range(5))
    assert min(later) <= first  # what other threads of the tests open and close meanwhile comes and goes


@pytest.mark.parametrize("limits", [{"heartbeat_s": 0}, {"queue_limit": 0}, {"high_water_mark": 0}])
def test_nonsense_limits_are_refused(limits: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        Publisher(an_identity(), ANY_PORT, **limits)
