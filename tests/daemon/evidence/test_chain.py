"""Whatever is done to stored alerts without the daemon's key is found out; what the daemon does itself is not."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from taintwatch.alerts.bodies import Heartbeat, sealed_text
from taintwatch.alerts.outbox import MessageWriter
from taintwatch.alerts.publisher import Publisher
from taintwatch.alerts.subscriber import Malformed, Subscriber
from taintwatch.evidence.chain import Signer, verify_chain
from taintwatch.evidence.evidence import Evidence, EvidenceSettings
from taintwatch.evidence.store import AlertStore
from taintwatch.records import AlertState
from taintwatch_models.signatures import check_signature
from tests.alert_fakes import an_alert, an_identity, events_until, is_heartbeat, messages_until

RECORDS = 8


@pytest.fixture
def signer(tmp_path: Path) -> Signer:
    return Signer.of(tmp_path / "signing.key")


@pytest.fixture
def database(tmp_path: Path, signer: Signer) -> Path:
    store = AlertStore(tmp_path / "alerts.db", signer=signer)
    store.open()
    writer = MessageWriter(an_identity())
    for number in range(RECORDS // 2):
        for state in (AlertState.RAISED, AlertState.CLEARED):
            store.save(writer.write("door", an_alert(event_id=f"e{number}", state=state)).message)
    store.close()
    return tmp_path / "alerts.db"


def tamper(database: Path, *statements: str) -> None:
    with closing(sqlite3.connect(database, isolation_level=None)) as connection:
        for statement in statements:
            connection.execute(statement)


def test_an_untouched_chain_holds_over_starts_of_the_daemon(database: Path, signer: Signer) -> None:
    found = verify_chain(database, signer.public)
    assert (found.records, found.unsigned, found.findings) == (RECORDS, 0, ())
    store = AlertStore(database, signer=signer)
    store.open()
    store.save(MessageWriter(an_identity("second")).write("door", an_alert(event_id="later")).message)
    store.close()
    assert verify_chain(database, signer.public, found.head).findings == ()


@pytest.mark.parametrize(
    ("statement", "sentence"),
    [
        ("UPDATE records SET json = replace(json, 'toaster', 'nothing') WHERE id = 3", "Record 3 was changed"),
        ("UPDATE records SET topic = 'taintwatch/v1/lab/yard/alert/' WHERE id = 3", "Record 3 was changed"),
        ("DELETE FROM records WHERE id = 4", "Records 4 to 4 were removed"),
        ("DELETE FROM records WHERE id > 6", "Records 7 to 8 are gone"),
        ("DELETE FROM records WHERE id < 3", "Records 1 to 2 were removed"),
        ("UPDATE records SET id = 100 WHERE id = 4", "Records 4 to 4 were removed"),
        ("UPDATE records SET previous = hash WHERE id = 5", "does not follow"),
        ("DELETE FROM heads", "No head is signed"),
        ("UPDATE heads SET id = 6", "was not signed"),
        ("UPDATE alerts SET state = 'open' WHERE event_id = 'e1'", "summary of alert e1"),
        ("UPDATE alerts SET label_name = 'cat' WHERE event_id = 'e1'", "summary of alert e1"),
        (
            "INSERT INTO forgotten SELECT daemon, id + 92, previous, hash, 'x' FROM records WHERE id = 4",
            "not by the daemon",
        ),
    ],
)
def test_whatever_is_changed_is_found(database: Path, signer: Signer, statement: str, sentence: str) -> None:
    tamper(database, statement)
    assert any(sentence in finding for finding in verify_chain(database, signer.public).findings)


def test_whoever_makes_the_whole_chain_anew_lacks_the_key(database: Path, tmp_path: Path, signer: Signer) -> None:
    other = Signer.of(tmp_path / "other.key")
    database.unlink()
    store = AlertStore(database, signer=other)
    store.open()
    store.save(MessageWriter(an_identity()).write("door", an_alert()).message)
    store.close()
    assert "was not signed" in " ".join(verify_chain(database, signer.public).findings)


def test_an_older_copy_is_found_by_the_head_that_a_heartbeat_named(database: Path, signer: Signer) -> None:
    older = database.read_bytes()
    store = AlertStore(database, signer=signer)
    store.open()
    store.save(MessageWriter(an_identity("second")).write("door", an_alert(event_id="later")).message)
    head = store.head.hash
    store.close()
    assert verify_chain(database, signer.public, head).findings == ()
    database.write_bytes(older)
    assert "older copy" in " ".join(verify_chain(database, signer.public, head).findings)


@pytest.mark.parametrize("forgotten", [["e1"], ["e0"], ["e0", "e1"], ["e3"], ["e0", "e1", "e2", "e3"]])
def test_what_the_daemon_removes_for_its_age_leaves_the_chain_whole(
    database: Path, signer: Signer, forgotten: list[str]
) -> None:
    store = AlertStore(database, signer=signer)
    store.open()
    store.forget(forgotten)
    writer = MessageWriter(an_identity("second"))
    store.save(writer.write("door", an_alert(event_id="later")).message)
    store.close()
    found = verify_chain(database, signer.public)
    assert (found.findings, found.records) == ((), RECORDS - 2 * len(forgotten) + 1)


def test_heartbeats_carry_the_head_and_forged_or_old_ones_are_told_apart(tmp_path: Path) -> None:
    evidence = Evidence(EvidenceSettings(tmp_path / "kept", min_free_mb=0))
    public = evidence.signer.public

    def authentic(text: str, signature: str) -> bool:
        return check_signature(public, text, signature)

    with (
        Publisher(
            an_identity(),
            "tcp://127.0.0.1:*",
            cameras=["door"],
            heartbeat_s=0.05,
            store=evidence.store,
            seal=evidence.seal,
        ) as publisher,
        Subscriber(publisher.endpoint, authentic=authentic) as subscriber,
    ):
        publisher.publish_alert(an_alert())
        found = messages_until(
            subscriber,
            lambda found: bool(found) and is_heartbeat(found[-1]) and found[-1].body.records == 1,  # type: ignore[union-attr]
        )
        heartbeat = found[-1].body
        assert isinstance(heartbeat, Heartbeat)
        assert heartbeat.head == evidence.store.head.hash
        forged = replace(heartbeat, head="0" * 64)
        assert not authentic(sealed_text("lab", "door", "first", forged), heartbeat.signature or "")
    evidence.close()
    with (
        Publisher(an_identity(), "tcp://127.0.0.1:*", cameras=["door"], heartbeat_s=0.05) as rogue,
        Subscriber(rogue.endpoint, authentic=authentic) as subscriber,
    ):
        events = events_until(subscriber, lambda events: bool(events))
        assert isinstance(events[0], Malformed)


def test_the_key_is_the_owners_alone_and_its_public_half_lies_beside_it(tmp_path: Path, signer: Signer) -> None:
    assert (tmp_path / "signing.key").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "signing.pub").read_text().strip() == signer.public
    assert Signer.of(tmp_path / "signing.key").public == signer.public
