"""The history over SQLite and over PostgreSQL: the same answers, the same chain, the same commands."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from taintwatch.alerts.messages import Message
from taintwatch.alerts.outbox import MessageWriter
from taintwatch.cli.alerts import alerts_group
from taintwatch.config.digest import canonical
from taintwatch.config.load import parse_config
from taintwatch.evidence.annotations import Annotation, Annotations
from taintwatch.evidence.chain import Signer, verify_chain
from taintwatch.evidence.evidence import Evidence, EvidenceSettings
from taintwatch.evidence.folder import EvidenceFolder
from taintwatch.evidence.history import History
from taintwatch.evidence.media_store import LocalMedia
from taintwatch.evidence.postgres_history import PostgresHistory
from taintwatch.evidence.reader import AlertReader, Filter
from taintwatch.evidence.sqlite_history import SqliteHistory
from taintwatch.evidence.store import AlertStore, StoreError
from taintwatch.records import AlertState
from taintwatch_models.errors import ConfigError, TaintwatchError, UsageError
from tests.alert_fakes import an_alert, an_identity
from tests.postgres_server import PostgresServer

RAISED, UPDATED, CLEARED = AlertState.RAISED, AlertState.UPDATED, AlertState.CLEARED


def emptied(server: PostgresServer) -> PostgresHistory:
    """A history without a record, its tables made by the first test that asks."""
    history = PostgresHistory(server.url)
    if history.is_there():
        tables = "alerts, records, forgotten, heads, annotations, deliveries"
        history.write(lambda session: session.change(f"TRUNCATE {tables}"))
    return history


@pytest.fixture(params=["sqlite", "postgresql"])
def history(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[History]:
    it: History = SqliteHistory(tmp_path / "alerts.db")
    if request.param == "postgresql":
        it = emptied(request.getfixturevalue("postgres"))
    yield it
    it.close()


@pytest.fixture
def signer(tmp_path: Path) -> Signer:
    return Signer.of(tmp_path / "signing.key")


@pytest.fixture
def store(history: History, signer: Signer) -> Iterator[AlertStore]:
    it = AlertStore(history, signer=signer)
    it.open()
    yield it
    it.close()


def a_life(writer: MessageWriter, event_id: str, camera: str = "door", end: bool = True) -> list[Message]:
    states = [RAISED, UPDATED, *([CLEARED] if end else [])]
    return [writer.write(camera, an_alert(camera, event_id, state)).message for state in states]


def save(store: AlertStore, *messages: Message) -> None:
    for message in messages:
        store.save(message)


def test_what_was_saved_is_read_back_as_it_was(store: AlertStore) -> None:
    life = a_life(MessageWriter(an_identity()), "e1")
    save(store, *life, life[0])
    reader = AlertReader(store.history)
    (kept,) = reader.alerts()
    assert reader.records("e1") == life  # what was saved twice is there once
    assert (kept.event_id, kept.state, kept.camera, kept.label_name) == ("e1", "cleared", "door", "toaster")
    assert (kept.records, kept.daemon, kept.score) == (3, "local", life[-1].body.score)  # type: ignore[union-attr]
    assert (store.failures, store.trouble, store.head.id) == (0, None, 3)
    assert reader.latest(["e1", "none"]) == {"e1": life[-1]}


def test_filters_choose_by_camera_time_site_and_state(store: AlertStore) -> None:
    writer, base = MessageWriter(an_identity()), an_alert()
    for number, (camera, state) in enumerate([("door", CLEARED), ("gate", RAISED), ("door", AlertState.INTERRUPTED)]):
        alert = replace(base, event_id=f"e{number}", camera=camera, state=state, raised_wall_ns=1000 + number)
        save(store, writer.write(camera, alert).message)
    reader = AlertReader(store.history)

    def ids(**wanted: object) -> list[str]:
        return [alert.event_id for alert in reader.alerts(Filter(**wanted))]  # type: ignore[arg-type]

    assert ids() == ["e0", "e1", "e2"]
    assert ids(camera="door") == ["e0", "e2"]
    assert ids(state="open") == ["e1"]
    assert ids(state="interrupted") == ["e2"]
    assert ids(since_ns=1001) == ["e1", "e2"]
    assert ids(until_ns=1001) == ["e0"]
    assert ids(limit=2) == ["e1", "e2"]
    assert ids(site="lab", daemon="local") == ["e0", "e1", "e2"]
    assert ids(site="elsewhere") == ids(daemon="other") == []
    assert ids(camera="door' OR '1'='1") == []


def test_an_alert_is_found_by_the_start_of_its_id(store: AlertStore) -> None:
    writer = MessageWriter(an_identity())
    for event_id in ("abc1", "abc2", "xyz"):
        save(store, a_life(writer, event_id)[0])
    reader = AlertReader(store.history)
    assert reader.find("x").event_id == "xyz"
    with pytest.raises(UsageError, match="2 alerts have ids that start with 'abc'"):
        reader.find("abc")
    for nothing in ("q", "", "%", "ab_1"):
        with pytest.raises(UsageError, match="No alert has an id"):
            reader.find(nothing)


def test_missed_messages_are_found_by_sequence_and_over_starts(store: AlertStore) -> None:
    first, second = MessageWriter(an_identity("first")), MessageWriter(an_identity("second"))
    save(store, *a_life(first, "e1"), *a_life(second, "e2"))
    reader, topic = AlertReader(store.history), "taintwatch/v1/lab/door/alert/"

    def said(found: list[str]) -> list[tuple[str, int]]:
        return [(each["instance"], each["sequence"]) for each in map(json.loads, found)]

    assert said(reader.published(topic, "first", 2, 9, 10)) == [("first", 2), ("first", 3)]
    assert said(reader.published_since(topic, "first", 3, "third", 10)) == [("first", 3)] + [
        ("second", number) for number in (1, 2, 3)
    ]
    assert reader.published_since(topic, "unknown", 1, "third", 10) == []
    assert [message.envelope.event_id for message in reader.left_open()] == []


@pytest.mark.parametrize(
    ("statement", "sentence"),
    [
        ("UPDATE records SET json = replace(json, 'toaster', 'nothing') WHERE id = 3", "Record 3 was changed"),
        ("DELETE FROM records WHERE id = 4", "Records 4 to 4 were removed"),
        ("DELETE FROM records WHERE id > 6", "Records 7 to 9 are gone"),
        ("UPDATE records SET previous = hash WHERE id = 5", "does not follow"),
        ("DELETE FROM heads", "No head is signed"),
        ("UPDATE alerts SET state = 'open' WHERE event_id = 'e1'", "summary of alert e1"),
    ],
)
def test_whatever_is_changed_is_found(store: AlertStore, signer: Signer, statement: str, sentence: str) -> None:
    writer = MessageWriter(an_identity())
    for number in range(3):
        save(store, *a_life(writer, f"e{number}"))
    store.flush()
    assert verify_chain(store.history, signer.public).findings == ()
    store.history.write(lambda session: session.change(statement))
    assert any(sentence in finding for finding in verify_chain(store.history, signer.public).findings)


def test_forgetting_spares_an_open_alert_and_leaves_the_chain_whole(store: AlertStore, signer: Signer) -> None:
    writer = MessageWriter(an_identity())
    save(store, *a_life(writer, "first"), *a_life(writer, "open", end=False), *a_life(writer, "over"))
    notes = Annotations(store.history)
    notes.note("first", "soon gone")
    notes.note("open", "stays")
    store.open()
    store.forget(["first", "over", "open", "never"])
    reader = AlertReader(store.history)
    assert [alert.event_id for alert in reader.alerts()] == ["open"]
    assert (len(reader.records("open")), reader.records("over")) == (2, [])
    assert notes.of(["first", "open"]) == {"open": Annotation(None, "stays")}
    store.close()
    found = verify_chain(store.history, signer.public)
    assert (found.findings, found.records) == ((), 2)


def test_the_commands_read_either(store: AlertStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(store, *a_life(MessageWriter(an_identity()), "e1"))
    store.close()
    folder = EvidenceFolder(tmp_path, history=store.history)
    monkeypatch.setattr(EvidenceFolder, "of_section", lambda *_: folder)
    config = tmp_path / "taintwatch.toml"
    config.write_text('[evidence]\nfolder = "."\n')

    def run(*arguments: str) -> str:
        return CliRunner().invoke(alerts_group, [*arguments, "--config", str(config)], catch_exceptions=False).output

    assert json.loads(run("list", "--json"))["event_id"] == "e1"
    assert "cleared" in run("show", "e")
    assert "1 alert to" in run("export", str(tmp_path / "out.zip"))
    assert "3 records; 0 removed" in run("verify")
    assert "e1  removed" in run("prune", "--keep-days", "0", "--yes")
    assert "0 records; 3 removed" in run("verify") or "0 records; 0 removed" in run("verify")


def test_several_daemons_keep_chains_of_their_own_in_one_database(postgres: PostgresServer, signer: Signer) -> None:
    emptied(postgres).close()
    stores = [AlertStore(PostgresHistory(postgres.url), daemon=name, signer=signer) for name in ("north", "south")]
    for number, store in enumerate(stores):
        store.open()
        save(store, *a_life(MessageWriter(an_identity(f"start{number}")), f"e{number}"))
    second = AlertStore(PostgresHistory(postgres.url), daemon="north")
    with pytest.raises(ConfigError, match=r"Another daemon writes to .* as 'north'"):
        second.open()
    second.history.close()
    heads = [store.head for store in stores]
    assert [head.id for head in heads] == [3, 3]
    for store in stores:
        store.close()
    reader = PostgresHistory(postgres.url)
    assert verify_chain(reader, signer.public, heads[0].hash).findings == ()
    reader.write(lambda session: session.change("DELETE FROM records WHERE daemon = 'south' AND id = 2"))
    assert verify_chain(reader, signer.public, daemon="north").findings == ()
    assert [text.partition(":")[0] for text in verify_chain(reader, signer.public).findings] == ["south"]
    reader.close()


def test_alerts_wait_while_the_server_is_down_and_are_there_once_afterwards(
    postgres: PostgresServer, signer: Signer, caplog: pytest.LogCaptureFixture
) -> None:
    store = AlertStore(emptied(postgres), signer=signer)
    store.open()
    first, second, third = a_life(MessageWriter(an_identity()), "e1")
    save(store, first)
    postgres.kill()
    try:
        with caplog.at_level(logging.INFO, "taintwatch"):
            for message in (second, third):
                with pytest.raises(StoreError, match="waits in memory"):
                    store.save(message)
            assert store.waiting == 2
            with pytest.raises(TaintwatchError, match="cannot be read"):
                AlertReader(store.history).alerts()
    finally:
        postgres.start()
    store.history._not_before = 0.0  # type: ignore[attr-defined]
    store.retry()
    assert AlertReader(store.history).records("e1") == [first, second, third]
    assert (store.waiting, store.lost, store.trouble) == (0, 0, None)
    store.close()
    assert verify_chain(store.history, signer.public).findings == ()
    store.history.close()


def test_a_later_version_is_refused(postgres: PostgresServer) -> None:
    history = emptied(postgres)
    history.open()
    (before,) = history.write(lambda session: session.rows("SELECT version_num FROM alembic_version"))
    history.write(lambda session: session.change("UPDATE alembic_version SET version_num = '99'"))
    history.close()
    other = PostgresHistory(postgres.url)
    try:
        with pytest.raises(ConfigError, match="later version of Taintwatch"):
            other.open("other")
    finally:
        other.close()
        history.write(lambda session: session.change("UPDATE alembic_version SET version_num = :version_num", before))
        history.close()


def test_a_password_is_read_from_a_private_file_and_never_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    secret = tmp_path / "password"
    secret.write_text("correct-horse\n")
    secret.chmod(0o644)
    url = "postgresql://watch@127.0.0.1:1/history"
    with pytest.raises(ConfigError, match="can be read or changed by other users"):
        PostgresHistory(url, password_file=secret)
    secret.chmod(0o600)
    store = AlertStore(PostgresHistory(url, password_file=secret))
    with caplog.at_level(logging.DEBUG):
        store.open()  # nobody listens there
        store.flush()
    assert "alerts are not kept for now" in caplog.text
    assert "correct-horse" not in caplog.text + str(store.trouble)


@pytest.mark.parametrize(
    ("keys", "sentence"),
    [
        ('database = "postgresql://watch:correct-horse@db/history"', "a password must not stand in the address"),
        ('database = "postgresql://db/history?password=correct-horse"', "a password must not stand in the address"),
        ('database = "mysql://db/history"', "give an address like postgresql"),
        ('daemon = "north"', "belongs to a database"),
    ],
)
def test_a_wrong_database_is_one_sentence_without_the_password(keys: str, sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence) as told:
        parse_config(f'[evidence]\nfolder = "kept"\n{keys}\n', "test.toml")
    assert "correct-horse" not in str(told.value)


def test_an_address_without_a_password_is_taken(tmp_path: Path) -> None:
    config = parse_config(
        '[evidence]\nfolder = "kept"\ndatabase = "postgresql://watch@db/history"\nmedia = "s3://cameras/evidence"\n',
        "test.toml",
        tmp_path,
    )
    assert config.evidence.media == "s3://cameras/evidence"
    assert canonical(config)["evidence"]["database"] == "postgresql://watch@db/history"


def test_the_evidence_of_a_killed_daemon_is_ended_by_the_next_of_its_name_alone(
    postgres: PostgresServer, tmp_path: Path
) -> None:
    emptied(postgres).close()

    def evidence(name: str) -> Evidence:
        place = EvidenceFolder(
            tmp_path / name,
            history=PostgresHistory(postgres.url),
            media=LocalMedia(tmp_path / "shared", shared=True),
            daemon=name,
        )
        return Evidence(EvidenceSettings(place.root, place=place, min_free_mb=0))

    for name in ("north", "south"):
        it = evidence(name)
        save(it.store, *a_life(MessageWriter(an_identity(name)), f"left-{name}", end=False))
        it.folder.put(f"left-{name}", "frame.jpg", b"picture")
        it.close()
    it = evidence("north")
    assert [alert.event_id for alert in it.interrupted()] == ["left-north"]
    assert [media.event_id for media in it.folder.all_media(["left-north"])] == ["left-north"]
    it._retention.plan()
    assert it.stats().holdings is not None
    assert it.stats().holdings.alerts == 1  # type: ignore[union-attr]
    it.close()
