"""Replay: what a subscriber missed is asked for and comes, in bounded answers; what cannot be had is said."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import zmq
from hypothesis import given
from hypothesis import strategies as st

from taintwatch.alerts import replay as protocol
from taintwatch.alerts.gaps import Missed, Restarted
from taintwatch.alerts.keys import load_public, make_key_pair
from taintwatch.alerts.messages import Message, MessageError, as_json
from taintwatch.alerts.outbox import MessageWriter
from taintwatch.alerts.publisher import Publisher
from taintwatch.alerts.replay import (
    Request,
    decode_answer,
    decode_request,
    encode_answer,
    encode_failure,
    encode_request,
    replay_endpoint,
)
from taintwatch.alerts.replay_server import ReplayServer
from taintwatch.alerts.security import CurveClient, CurveServer
from taintwatch.alerts.subscriber import Event, Subscriber
from taintwatch.evidence.reader import AlertReader
from taintwatch.evidence.store import AlertStore
from taintwatch.publication import replay_beside
from taintwatch.records import Alert
from taintwatch_models.errors import ConfigError, PublishError, TaintwatchError
from tests.alert_fakes import PATIENCE_S, a_status, an_alert, an_identity, next_event, until_joined, until_sent

ANY_PORT = "tcp://127.0.0.1:*"
DOOR = "taintwatch/v1/lab/door/alert/"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[AlertStore]:
    it = AlertStore(tmp_path / "alerts.db")
    yield it
    it.close()


@pytest.fixture
def server(store: AlertStore, tmp_path: Path) -> Iterator[ReplayServer]:
    with ReplayServer(AlertReader(tmp_path / "alerts.db"), ANY_PORT) as it:
        yield it


@pytest.fixture
def publisher(store: AlertStore, server: ReplayServer) -> Iterator[Publisher]:
    with Publisher(
        an_identity(), ANY_PORT, cameras=["door"], heartbeat_s=0.05, store=store, replay=server.endpoint
    ) as it:
        yield it


def a_request(first: int = 1, last: int | None = 3) -> Request:
    return Request(1, 7, DOOR, "first", first, last)


def lose(publisher: Publisher, count: int, first: int = 0) -> list[Message]:
    """Publish alerts that find the queue full, so that nobody is sent them."""
    limit, publisher._outbox._limit = publisher._outbox._limit, 0
    try:
        return [publisher.publish_alert(an_alert(event_id=f"lost{first + number}")) for number in range(count)]
    finally:
        publisher._outbox._limit = limit


@contextmanager
def listening(publisher: Publisher) -> Iterator[Subscriber]:
    """A subscriber that was told of one alert and counts from there."""
    publisher.publish_alert(an_alert(event_id="seen"))
    until_sent(publisher)
    with Subscriber(publisher.endpoint) as subscriber:
        until_joined(subscriber)
        yield subscriber


def until_alerts(subscriber: Subscriber, count: int) -> list[Event]:
    """Events up to that many alerts; heartbeats left out."""
    events: list[Event] = []
    while sum(isinstance(event, Message) and isinstance(event.body, Alert) for event in events) < count:
        event = next_event(subscriber)
        if not isinstance(event, Message) or isinstance(event.body, Alert):
            events.append(event)
    return events


def test_missed_alerts_come_by_themselves_and_nothing_is_said_to_be_missed(publisher: Publisher) -> None:
    with listening(publisher) as subscriber:
        lost = lose(publisher, 5)
        events = until_alerts(subscriber, 5)
        last = publisher.publish_alert(an_alert(event_id="then"))
        (then,) = until_alerts(subscriber, 1)
    assert [event.body for event in events if isinstance(event, Message)] == [message.body for message in lost]
    assert all(isinstance(event, Message) and event.envelope.replayed for event in events)
    assert then == last


def test_more_than_one_answer_holds_comes_all_the_same(publisher: Publisher, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("taintwatch.alerts.replay_server.MOST_MESSAGES", 7)
    monkeypatch.setattr(protocol, "MOST_BYTES", 4000)
    with listening(publisher) as subscriber:
        lost = lose(publisher, 40)
        events = until_alerts(subscriber, 40)
    assert [event.envelope.sequence for event in events if isinstance(event, Message)] == [
        message.envelope.sequence for message in lost
    ]


def test_what_the_store_does_not_have_is_said_to_be_missed(publisher: Publisher, store: AlertStore) -> None:
    with listening(publisher) as subscriber:
        publisher._store, kept = _Forgetful(), publisher._store
        lose(publisher, 2)
        publisher._store = kept
        lose(publisher, 1, first=2)
        events = until_alerts(subscriber, 1)
        while not (missed := [event for event in events if isinstance(event, Missed)]):
            events.append(next_event(subscriber))
    assert sum(event.count for event in missed) == 2


class _Forgetful:
    def save(self, message: Message) -> None:
        raise TaintwatchError("full")


def test_missed_statuses_are_not_asked_for(publisher: Publisher, server: ReplayServer) -> None:
    publisher.publish_status(a_status())
    until_sent(publisher)
    with Subscriber(publisher.endpoint) as subscriber:
        until_joined(subscriber)
        publisher._outbox._limit = 0
        publisher.publish_status(a_status())
        while not isinstance(event := next_event(subscriber), Missed):
            pass
    assert event.topic.endswith("/status/")
    assert server.answered == 0


def test_without_a_store_missed_alerts_are_said_at_once() -> None:
    with (
        Publisher(an_identity(), ANY_PORT, cameras=["door"], heartbeat_s=0.05) as publisher,
        listening(publisher) as subscriber,
    ):
        lose(publisher, 3)
        while not isinstance(event := next_event(subscriber), Missed):
            pass
    assert (event.count, event.ranges) == (3, ((2, 4),))


def test_where_nobody_answers_they_are_said_to_be_missed_in_the_end(
    store: AlertStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("taintwatch.alerts.replay_client.ANSWER_S", 0.2)
    with (
        Publisher(an_identity(), ANY_PORT, heartbeat_s=0.05, store=store, replay="tcp://127.0.0.1:9") as publisher,
        listening(publisher) as subscriber,
    ):
        lose(publisher, 3)
        while not isinstance(event := next_event(subscriber), Missed):
            pass
    assert event.count == 3


def test_what_the_last_start_published_and_nobody_got_comes_after_the_restart(
    store: AlertStore, server: ReplayServer
) -> None:
    first = Publisher(an_identity("first"), ANY_PORT, heartbeat_s=0.05, store=store, replay=server.endpoint)
    with first, listening(first) as subscriber:
        stuck = threading.Event()
        first._sender.send_waiting = lambda socket: first._outbox.look()  # type: ignore[method-assign]
        first._sender.beat = lambda socket, now_s: None  # type: ignore[method-assign]
        first._sender.beat_if_due = lambda socket, now_s: stuck.set()  # type: ignore[method-assign]
        assert stuck.wait(PATIENCE_S)
        tail = first.publish_alert(an_alert(event_id="tail"))  # stored, but never sent: it is killed here
        first.close(0)
        with Publisher(an_identity("second"), first.endpoint, heartbeat_s=0.05, store=store, replay=server.endpoint):
            events = until_alerts(subscriber, 1)
    assert any(isinstance(event, Restarted) for event in events)
    (got,) = [event for event in events if isinstance(event, Message)]
    assert (got.body, got.envelope.instance, got.envelope.replayed) == (tail.body, "first", True)


def test_what_a_start_published_of_which_nothing_was_heard_comes_too(store: AlertStore, server: ReplayServer) -> None:
    first = Publisher(an_identity("first"), ANY_PORT, heartbeat_s=0.05, store=store, replay=server.endpoint)
    with Subscriber(first.endpoint) as subscriber:
        with first:
            first.publish_alert(an_alert(event_id="seen"))
            until_alerts(subscriber, 1)
        unheard = MessageWriter(an_identity("unheard"))
        for number in range(3):
            store.save(unheard.write("door", an_alert(event_id=f"u{number}")).message)
        with Publisher(
            an_identity("third"), first.endpoint, heartbeat_s=0.05, store=store, replay=server.endpoint
        ) as third:
            third.publish_alert(an_alert(event_id="third"))
            events = until_alerts(subscriber, 4)
    ids = [event.envelope.event_id for event in events if isinstance(event, Message)]
    assert sorted(map(str, ids)) == ["third", "u0", "u1", "u2"]


def test_keys_are_wanted_for_replay_too(tmp_path: Path, store: AlertStore) -> None:
    for name in ("server", "anna", "stranger"):
        make_key_pair(name, tmp_path)
    curve = CurveServer.from_files(tmp_path / "server.key_secret", _allow(tmp_path, "anna"))
    writer = MessageWriter(an_identity())
    store.save(writer.write("door", an_alert()).message)
    with ReplayServer(AlertReader(tmp_path / "alerts.db"), ANY_PORT, security=curve) as server:
        answers: dict[str | None, int] = {}
        names: tuple[str | None, ...] = ("anna", "stranger", None)
        for who in names:
            security = who and CurveClient(tmp_path / f"{who}.key_secret", tmp_path / "server.key")
            with zmq.Context() as context, context.socket(zmq.DEALER) as socket:
                socket.linger = 0
                if security:
                    security.configure(socket, server.endpoint)
                socket.connect(server.endpoint)
                socket.send(encode_request(a_request()))
                answers[who] = socket.poll(30_000 if who == "anna" else 1500) and len(socket.recv_multipart())
        assert answers == {"anna": 2, "stranger": 0, None: 0}
        assert server.answered == 1


def _allow(folder: Path, name: str) -> Path:
    from taintwatch.alerts.keys import AllowedClients

    AllowedClients(folder / "clients").allow(name, load_public(folder / f"{name}.key"))
    return folder / "clients"


def test_a_revoked_client_gets_no_answers_any_more_and_the_server_goes_on(tmp_path: Path, store: AlertStore) -> None:
    for name in ("server", "anna", "bob"):
        make_key_pair(name, tmp_path)
    clients = _allow(tmp_path, "anna")
    _allow(tmp_path, "bob")
    store.save(MessageWriter(an_identity()).write("door", an_alert()).message)
    curve = CurveServer.from_files(tmp_path / "server.key_secret", clients)
    with (
        ReplayServer(AlertReader(tmp_path / "alerts.db"), ANY_PORT, security=curve) as server,
        zmq.Context() as context,
        context.socket(zmq.DEALER) as anna,
        context.socket(zmq.DEALER) as bob,
    ):
        for name, socket in (("anna", anna), ("bob", bob)):
            socket.linger = 0
            CurveClient(tmp_path / f"{name}.key_secret", tmp_path / "server.key").configure(socket, server.endpoint)
            socket.connect(server.endpoint)
            socket.send(encode_request(a_request()))
            assert socket.poll(30_000)
            socket.recv_multipart()
        (clients / "bob.key").unlink()
        give_up = time.monotonic() + PATIENCE_S
        while not asks_in_vain(bob):  # until the connections were made anew, one way or the other
            assert time.monotonic() < give_up, "the revoked client was still answered"
        while asks_in_vain(anna):  # what is asked while they are made anew is lost
            assert time.monotonic() < give_up + PATIENCE_S, "the other one was answered no more"


def asks_in_vain(socket: zmq.Socket[bytes]) -> bool:
    """Ask; return whether no answer comes."""
    socket.send(encode_request(a_request()))
    if not socket.poll(1500):
        return True
    socket.recv_multipart()
    return False


def test_garbage_gets_no_answer_and_does_no_harm(server: ReplayServer, store: AlertStore) -> None:
    store.save(MessageWriter(an_identity()).write("door", an_alert()).message)
    with zmq.Context() as context, context.socket(zmq.DEALER) as socket:
        socket.linger = 0
        socket.connect(server.endpoint)
        for frames in ([b""], [b"{}"], [b"\xff"], [b"1", b"2"], [encode_request(a_request(5, 2))]):
            socket.send_multipart(frames)
        socket.send(encode_request(a_request()))
        assert socket.poll(30_000)
        answer = decode_answer(socket.recv_multipart())
        assert len(answer.messages) == 1
        assert not socket.poll(100)
    assert (server.answered, server.refused) == (1, 5)


def test_a_request_that_is_too_long_ends_only_its_own_connection(server: ReplayServer, store: AlertStore) -> None:
    with zmq.Context() as context, context.socket(zmq.DEALER) as rude, context.socket(zmq.DEALER) as good:
        for socket in (rude, good):
            socket.linger = 0
            socket.connect(server.endpoint)
        rude.send(b" " * 100_000)
        good.send(encode_request(a_request()))
        assert good.poll(30_000)


def test_a_store_that_cannot_be_read_is_said_in_the_answer(server: ReplayServer) -> None:
    with zmq.Context() as context, context.socket(zmq.DEALER) as socket:
        socket.linger = 0
        socket.connect(server.endpoint)
        socket.send(encode_request(a_request()))
        assert socket.poll(30_000)
        answer = decode_answer(socket.recv_multipart())
    assert answer.messages == ()
    assert "There is no" in str(answer.error)


def test_a_port_in_use_is_one_sentence(server: ReplayServer) -> None:
    with pytest.raises(PublishError, match=r"Missed alerts cannot be published on .*another program is using it"):
        ReplayServer(AlertReader(Path("none")), server.endpoint)


def test_an_answer_may_hold_only_what_was_asked_for() -> None:
    found = [as_json(message) for message in _written(3)]
    header, *frames = encode_answer(a_request(), found)
    assert len(decode_answer([header, *frames]).messages) == 3
    narrow, *_ = encode_failure(a_request(2, 3), "")
    with pytest.raises(MessageError, match="was not asked for"):
        decode_answer([narrow, *frames])
    with pytest.raises(MessageError):
        decode_answer([])


def _written(count: int) -> list[Message]:
    writer = MessageWriter(an_identity())
    return [writer.write("door", an_alert()).message for _ in range(count)]


@given(
    st.binary(max_size=200)
    | st.recursive(
        st.none() | st.integers() | st.text(),
        lambda x: st.dictionaries(
            st.sampled_from(["schema", "id", "topic", "instance", "first", "last", "request"]), x
        ),
    ).map(lambda value: json.dumps(value).encode())
)
def test_any_bytes_are_a_request_and_an_answer_or_a_message_error(frame: bytes) -> None:
    for decode in (decode_request, lambda data: decode_answer([data])):
        try:
            decode(frame)
        except MessageError:
            continue


@pytest.mark.parametrize(
    ("connected", "announced", "asked"),
    [
        ("tcp://10.1.2.3:5556", "tcp://0.0.0.0:5557", "tcp://10.1.2.3:5557"),
        ("tcp://[::1]:5556", "tcp://[::]:5557", "tcp://[::1]:5557"),
        ("tcp://camera:5556", None, None),
        ("tcp://camera:5556", "ipc:///etc/secret", None),
        ("tcp://camera:5556", "nonsense", None),
        ("ipc:///run/a", "ipc:///run/a.replay", "ipc:///run/a.replay"),
        ("ipc:///run/a", "tcp://10.0.0.1:5557", None),
        ("ipc:///run/a", "tcp://127.0.0.1:5557", "tcp://127.0.0.1:5557"),
    ],
)
def test_only_the_daemon_that_we_know_is_asked(connected: str, announced: str | None, asked: str | None) -> None:
    assert replay_endpoint(connected, announced) == asked


def test_the_default_endpoint_is_the_next_port() -> None:
    assert replay_beside("tcp://127.0.0.1:5556") == "tcp://127.0.0.1:5557"
    assert replay_beside("tcp://127.0.0.1:*") == "tcp://127.0.0.1:*"
    assert replay_beside("ipc:///run/x") == "ipc:///run/x.replay"
    for wrong in ("tcp://127.0.0.1:65535", "nonsense"):
        with pytest.raises(ConfigError):
            replay_beside(wrong)
