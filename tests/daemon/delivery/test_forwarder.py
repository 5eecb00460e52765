"""Alerts to a broker: in order, at least once, over restarts of daemon and broker; repeats are told apart."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from taintwatch.alerts.outbox import MessageWriter, new_instance_id
from taintwatch.config.load import parse_config
from taintwatch.delivery import nats_sink as nats_sink_module
from taintwatch.delivery.forwarder import Forwarder, OutgoingRecord
from taintwatch.delivery.nats_sink import NatsSink, subject_of
from taintwatch.evidence.evidence import Evidence, EvidenceSettings
from taintwatch.evidence.store import AlertStore
from taintwatch.records import AlertState
from taintwatch_models.errors import ConfigError, TaintwatchError
from tests.alert_fakes import an_alert, an_identity
from tests.nats_broker import PROGRAM, NatsBroker, nats_broker


class FakeSink:
    """A broker that a test takes away, or lets die behind its confirmation."""

    name = "fake"

    def __init__(self) -> None:
        self.got: list[str] = []
        self.down = False

    def send(self, records: Sequence[OutgoingRecord]) -> None:
        if self.down:
            raise TaintwatchError("it is away")
        self.got += [record.event_id for record in records]

    def idle(self) -> None:
        pass

    def close(self) -> None:
        pass


@pytest.fixture
def store(tmp_path: Path) -> Iterator[AlertStore]:
    it = AlertStore(tmp_path / "alerts.db")
    it.open()
    yield it
    it.close()


def save(store: AlertStore, *event_ids: str) -> None:
    writer = MessageWriter(an_identity(new_instance_id()))
    for event_id in event_ids:
        store.save(writer.write("door", an_alert(event_id=event_id, state=AlertState.CLEARED)).message)


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def forwarder_of(store: AlertStore, sink: FakeSink, clock: Clock | None = None) -> Forwarder:
    return Forwarder(store.history, store.daemon, sink, stored=lambda: store.head.id, clock=clock or Clock())


def test_what_is_stored_is_sent_once_and_the_next_start_goes_on_behind_it(store: AlertStore) -> None:
    sink = FakeSink()
    save(store, "before")
    forwarder = forwarder_of(store, sink)
    forwarder.step()  # a new sink begins here
    save(store, *(f"e{number}" for number in range(250)))
    forwarder.step()
    assert sink.got == [f"e{number}" for number in range(250)]
    save(store, "between")
    again = forwarder_of(store, sink)
    again.step()
    assert sink.got[250:] == ["between"]
    assert (again.stats().sent, again.stats().waiting, again.stats().lost) == (1, 0, 0)


def test_nothing_is_lost_while_the_broker_is_away(store: AlertStore, caplog: pytest.LogCaptureFixture) -> None:
    sink, clock = FakeSink(), Clock()
    forwarder = forwarder_of(store, sink, clock)
    forwarder.step()
    sink.down = True
    attempts = 0
    for number in range(60):
        save(store, f"e{number}")
        clock.now += 0.5
        forwarder.step()
        attempts = forwarder.stats().failures
    assert 3 <= attempts <= 8  # ever more seldom
    assert (forwarder.stats().waiting, forwarder.stats().trouble) == (60, "it is away")
    sink.down = False
    clock.now += 60.0
    forwarder.step()
    assert sink.got == [f"e{number}" for number in range(60)]
    assert (forwarder.stats().waiting, forwarder.stats().trouble) == (0, None)
    assert caplog.text.count("alerts wait in the history") == 1


def test_a_confirmation_that_was_lost_sends_the_same_key_again(store: AlertStore) -> None:
    keys: list[str] = []

    class Forgetful(FakeSink):
        def send(self, records: Sequence[OutgoingRecord]) -> None:
            keys.extend(record.key for record in records)
            if len(keys) == 1:
                raise TaintwatchError("the answer did not come")

    clock = Clock()
    forwarder = forwarder_of(store, Forgetful(), clock)
    forwarder.step()
    save(store, "e1")
    forwarder.step()
    clock.now += 10.0
    forwarder.step()
    assert len(keys) == 2
    assert len(set(keys)) == 1


def test_what_was_removed_before_it_could_be_sent_is_counted(store: AlertStore) -> None:
    sink, clock = FakeSink(), Clock()
    forwarder = forwarder_of(store, sink, clock)
    forwarder.step()
    save(store, "old", "older", "new")
    store.forget(["old", "older"])
    forwarder.step()
    assert (sink.got, forwarder.stats().lost) == (["new"], 2)
    save(store, "newest")
    store.forget(["newest"])
    forwarder.step()
    assert (forwarder.stats().waiting, forwarder.stats().lost) == (0, 3)


def test_topics_become_subjects() -> None:
    assert subject_of("taintwatch/v1/shop/door.2/alert/") == "taintwatch.v1.shop.door%2E2.alert"


@pytest.mark.parametrize(
    ("keys", "sentence"),
    [
        ('url = "nats://watch:secret@broker:4222"', "a password must not stand in the address"),
        ('url = "http://broker"', "give an address like nats://host:4222"),
        ('url = "nats://broker"\nuser = "watch"', "'password_file' is missing"),
    ],
)
def test_a_wrong_broker_is_one_sentence(keys: str, sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence) as told:
        parse_config(f"[nats]\n{keys}\n", "test.toml")
    assert "secret" not in str(told.value)


@pytest.fixture(scope="module")
def broker() -> Iterator[NatsBroker]:
    if PROGRAM is None:
        pytest.skip("nats-server is missing (Debian: apt-get install nats-server)")
    pytest.importorskip("nats")
    with nats_broker() as it:
        yield it


def messages_of(broker: NatsBroker) -> list[tuple[str, dict[str, Any]]]:
    """What the stream holds: subjects and messages, in order."""
    import nats

    async def read() -> list[tuple[str, dict[str, Any]]]:
        client = await nats.connect(broker.url)
        stream = client.jetstream()
        count = (await stream.stream_info("TAINTWATCH")).state.messages
        found = [await stream.get_msg("TAINTWATCH", number + 1) for number in range(count)]
        await client.close()
        return [(str(each.subject), json.loads(each.data or b"{}")) for each in found]

    return asyncio.run(read())


def test_jetstream_has_each_record_once_over_restarts_of_broker_and_daemon(
    broker: NatsBroker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nats_sink_module, "CALL_S", 1.0)
    section = parse_config(f'[nats]\nurl = "{broker.url}"\n', "test.toml").nats

    def started() -> Evidence:
        it = Evidence(EvidenceSettings(tmp_path / "kept", images=False, min_free_mb=0, keep_days=36_500))
        it.forward(NatsSink(section))
        return it

    def settled(it: Evidence) -> None:
        for _ in range(600):
            (stats,) = it.stats().deliveries
            if stats.waiting == 0 and stats.sent == it.store.saved:
                return
            it._forwarders[0]._not_before = 0.0
            it._forwarders[0]._stopping.wait(0.05)
        raise AssertionError(it.stats().deliveries)

    evidence = started()
    settled(evidence)
    save(evidence.store, "e0", "e1")
    settled(evidence)
    broker.kill()
    save(evidence.store, "e2", "e3")
    broker.start()
    settled(evidence)
    evidence._forwarders[0]._reached = 0  # as if every confirmation had been lost
    evidence._forwarders[0].wake()
    for _ in range(200):
        if evidence.stats().deliveries[0].sent >= 8:
            break
        evidence._forwarders[0]._stopping.wait(0.05)
    evidence.close()
    evidence = started()
    save(evidence.store, "e4")
    settled(evidence)
    evidence.close()
    found = messages_of(broker)
    assert [message["event_id"] for _, message in found] == ["e0", "e1", "e2", "e3", "e4"]
    assert {subject for subject, _ in found} == {"taintwatch.v1.lab.door.alert"}
