"""The store of alerts: written before publishing, and no failure of it stops an alert."""

from __future__ import annotations

import logging
import sqlite3
import stat
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from taintwatch.alerts.messages import Message
from taintwatch.alerts.outbox import MessageWriter
from taintwatch.alerts.publisher import Publisher
from taintwatch.alerts.subscriber import Subscriber
from taintwatch.evidence.reader import AlertReader
from taintwatch.evidence.store import AlertStore, StoreError
from taintwatch.records import AlertState
from taintwatch_models.errors import ConfigError, TaintwatchError, UsageError
from tests.alert_fakes import a_status, an_alert, an_identity, events_until, is_alert

ANY_PORT = "tcp://127.0.0.1:*"
DOOR = "taintwatch/v1/lab/door/alert/"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "alerts.db"


@pytest.fixture
def store(path: Path) -> Iterator[AlertStore]:
    it = AlertStore(path)
    yield it
    it.close()


def a_life(writer: MessageWriter, event_id: str, camera: str = "door", end: bool = True) -> list[Message]:
    states = [AlertState.RAISED, AlertState.UPDATED, *([AlertState.CLEARED] if end else [])]
    return [writer.write(camera, an_alert(camera, event_id, state)).message for state in states]


def test_what_is_no_alert_is_left(store: AlertStore, path: Path) -> None:
    store.save(MessageWriter(an_identity()).write("door", a_status()).message)
    assert not path.exists()


def test_the_database_and_its_journal_are_private(store: AlertStore, path: Path) -> None:
    store.save(a_life(MessageWriter(an_identity()), "e1")[0])
    modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()}
    assert modes == {"alerts.db": 0o600, "alerts.db-wal": 0o600, "alerts.db-shm": 0o600}


def test_an_alert_is_in_the_store_before_anyone_can_receive_it(store: AlertStore, path: Path) -> None:
    with (
        Publisher(an_identity(), ANY_PORT, heartbeat_s=0.05, store=store) as publisher,
        Subscriber(publisher.endpoint) as subscriber,
    ):
        for number in range(5):
            publisher.publish_alert(an_alert(event_id=f"e{number}"))
        kept = {alert.event_id for alert in AlertReader(path).alerts()}
        events = events_until(subscriber, lambda events: sum(map(is_alert, events)) == 5)
    assert {event.envelope.event_id for event in events if isinstance(event, Message) and is_alert(event)} == kept
    assert len(kept) == 5


def test_alerts_go_on_while_the_database_is_locked_and_are_kept_afterwards(
    store: AlertStore, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    writer = MessageWriter(an_identity())
    first, second, third = a_life(writer, "e1")
    store.save(first)
    with closing(sqlite3.connect(path, isolation_level=None)) as other, caplog.at_level(logging.INFO, "taintwatch"):
        other.execute("BEGIN IMMEDIATE")
        for message in (second, third):
            with pytest.raises(StoreError, match=r"database is locked.* It waits in memory"):
                store.save(message)
        assert (store.waiting, store.failures, store.lost) == (2, 2, 0)
        assert "locked" in str(store.trouble)
        other.execute("ROLLBACK")
        store.retry()
    assert AlertReader(path).records("e1") == [first, second, third]
    assert (store.waiting, store.trouble) == (0, None)
    said = [record.getMessage() for record in caplog.records]
    assert len(said) == 2  # once that it is so, once that it is over
    assert "not kept for now" in said[0]
    assert "kept again" in said[1]


def test_the_publisher_counts_what_could_not_be_kept_and_sends_it(store: AlertStore, path: Path) -> None:
    path.mkdir()  # no database can be there
    with (
        Publisher(an_identity(), ANY_PORT, heartbeat_s=0.05, store=store) as publisher,
        Subscriber(publisher.endpoint) as subscriber,
    ):
        sent = publisher.publish_alert(an_alert())
        (alert,) = filter(is_alert, events_until(subscriber, lambda events: any(map(is_alert, events))))
        assert isinstance(alert, Message)
        assert alert.body == sent.body
        assert publisher.stats().store_failures == 1
        path.rmdir()
        publisher.publish_alert(an_alert(event_id="e2"))
    assert [alert.event_id for alert in AlertReader(path).alerts()] == ["e1", "e2"]


@pytest.mark.parametrize("damage", ["at the start", "while running"])
def test_a_damaged_database_is_set_aside_and_a_new_one_begun(
    path: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    writer = MessageWriter(an_identity())
    store = AlertStore(path)
    for number in range(50):
        store.save(a_life(writer, f"e{number}")[0])
    with closing(sqlite3.connect(path)) as other:
        other.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    if damage == "at the start":
        store.close()
    content = bytearray(path.read_bytes())
    content[100:] = b"\xff" * (len(content) - 100)
    path.write_bytes(content)
    if damage == "at the start":
        store.open()
    else:
        store.history.close()  # its cache of the file is gone, as after long enough
    store.save(a_life(writer, "after")[0])
    store.close()
    assert [alert.event_id for alert in AlertReader(path).alerts()] == ["after"]
    assert len(list(path.parent.glob("alerts.db.damaged-*"))) >= 1
    assert "is damaged; it was renamed" in caplog.text


def test_a_text_file_in_its_place_is_set_aside_too(store: AlertStore, path: Path) -> None:
    path.write_text("this was never a database, and it is long enough to be looked at as one" * 20)
    store.open()
    store.save(a_life(MessageWriter(an_identity()), "e1")[0])
    assert len(AlertReader(path).alerts()) == 1


def test_a_database_that_was_removed_under_its_feet_is_begun_anew(store: AlertStore, path: Path) -> None:
    first, second, _ = a_life(MessageWriter(an_identity()), "e1")
    store.save(first)
    for file in path.parent.glob("alerts.db*"):
        file.unlink()
    store.save(second)
    assert AlertReader(path).records("e1") == [second]


def test_a_database_of_a_later_version_is_refused(store: AlertStore, path: Path) -> None:
    with closing(sqlite3.connect(path)) as other:
        other.execute("PRAGMA user_version = 9")
    with pytest.raises(ConfigError, match="later version of Taintwatch"):
        store.open()


def test_what_waits_is_bounded_and_the_loss_is_counted(path: Path) -> None:
    path.mkdir()
    store = AlertStore(path, backlog=3)
    writer = MessageWriter(an_identity())
    for number in range(5):
        with pytest.raises(StoreError):
            store.save(a_life(writer, f"e{number}")[0])
    assert (store.waiting, store.lost) == (3, 2)
    path.rmdir()
    store.close()
    assert [alert.event_id for alert in AlertReader(path).alerts()] == ["e2", "e3", "e4"]


def test_reading_a_missing_or_damaged_database_is_one_sentence(path: Path) -> None:
    with pytest.raises(UsageError, match=r"There is no .*alerts.db"):
        AlertReader(path).alerts()
    path.write_bytes(b"nonsense" * 1000)
    with pytest.raises(TaintwatchError, match="cannot be read"):
        AlertReader(path).alerts()


def test_what_was_written_is_flushed_in_the_background_and_the_journal_stays_small(
    store: AlertStore, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("taintwatch.evidence.database.LARGE_JOURNAL", 50_000)
    writer = MessageWriter(an_identity())
    journal = path.with_name("alerts.db-wal")
    sizes = []
    for number in range(300):
        store.save(a_life(writer, f"e{number}")[0])
        if number % 10 == 9:
            store.flush()
            sizes.append(journal.stat().st_size)
    assert max(sizes) < 1_000_000  # without it there would be more than 5 MB
    assert len(AlertReader(path).alerts()) == 300


def test_looking_after_it_leaves_no_more_descriptors_behind_the_longer_it_runs(
    store: AlertStore, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = MessageWriter(an_identity())
    held = []
    for number, large in enumerate([4_000_000, 4_000_000, 0, 4_000_000, 0, 0]):
        monkeypatch.setattr("taintwatch.evidence.database.LARGE_JOURNAL", large)
        store.save(a_life(writer, f"e{number}")[0])
        store.flush()
        AlertReader(path).alerts()
        held.append(sum(each.resolve().name == path.name for each in Path("/proc/self/fd").iterdir()))
    assert held == held[:1] * len(held)


def test_opening_again_never_touches_a_database_that_is_there_but_through_sqlite(
    store: AlertStore, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.save(a_life(MessageWriter(an_identity()), "e1")[0])
    opened: list[object] = []
    monkeypatch.setattr("taintwatch.evidence.database.os.open", lambda file, *_: opened.append(file))
    store.history.close()
    store.save(a_life(MessageWriter(an_identity()), "e2")[0])
    assert opened == []
