"""Alerts on the page: listed, opened with their evidence, acknowledged, annotated, exported."""

from __future__ import annotations

import io
import json
import sqlite3
import tempfile
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from taintwatch.alerts.outbox import MessageWriter
from taintwatch.evidence.annotations import LONGEST_NOTE, Annotation, Annotations
from taintwatch.evidence.audit import AuditLog, read_audit
from taintwatch.evidence.folder import EvidenceFolder
from taintwatch.evidence.media import encode_jpeg
from taintwatch.evidence.private_file import write_private
from taintwatch.evidence.reader import Filter
from taintwatch.evidence.store import AlertStore
from taintwatch.records import AlertState
from taintwatch.web.live import LiveState
from taintwatch.web.repository import AlertRepository
from taintwatch.web.server import WebServer
from taintwatch_models.errors import UsageError
from tests.alert_fakes import an_alert, an_identity
from tests.web_scene import PATIENCE_S, ask, serving, web_config, write

START_NS = 1_700_000_000_000_000_000
HOUR_MS = 3_600_000


@pytest.fixture
def folder(tmp_path: Path) -> EvidenceFolder:
    """Three alerts an hour apart, the last one open; the first has pictures and a clip."""
    it = EvidenceFolder(tmp_path / "evidence")
    it.prepare()
    store, writer = AlertStore(it.history), MessageWriter(an_identity())
    for number, (camera, ended) in enumerate((("door", True), ("hall", True), ("door", False))):
        for state in (AlertState.RAISED, *([AlertState.CLEARED] if ended else [])):
            at_ns = START_NS + number * HOUR_MS * 1_000_000
            alert = replace(an_alert(camera, f"event{number}", state), raised_wall_ns=at_ns, wall_ns=at_ns + 10**9)
            store.save(writer.write(camera, alert).message)
    for name in ("frame.jpg", "overlay.jpg", "clip.mp4"):
        write_private(it.root / "media" / "event0" / name, f"this is {name}".encode())
    store.close()
    return it


@pytest.fixture
def server(folder: EvidenceFolder) -> Iterator[WebServer]:
    with serving(web_config(f'[evidence]\nfolder = "{folder.root}"')) as it:
        yield it


def test_what_people_say_of_alerts_stands_in_the_audit_log(folder: EvidenceFolder) -> None:
    log = AuditLog.of(folder.root)
    with serving(web_config(f'[evidence]\nfolder = "{folder.root}"'), audit=log) as server:
        for wanted in (True, False):
            write(server, "/api/alerts/event0/acknowledge", {"acknowledged": wanted})
        write(server, "/api/alerts/event0/note", {"note": "a poster"})
        write(server, "/api/alerts/nothing/note", {"note": "refused"})
    entries = read_audit(folder.root / "audit.jsonl", None).entries
    assert [entry["action"] for entry in entries] == ["acknowledged", "acknowledgement_undone", "note"]
    assert {(entry["who"], entry["event_id"]) for entry in entries} == {("page 127.0.0.1", "event0")}
    assert entries[-1]["text"] == "a poster"


def ids(server: WebServer, query: str = "") -> list[str]:
    return [alert["event_id"] for alert in ask(server, f"/api/alerts?{query}").json()]


def test_the_list_says_what_was_shown_recovered_and_how_surely_newest_first(server: WebServer) -> None:
    alerts = ask(server, "/api/alerts").json()
    assert [alert["event_id"] for alert in alerts] == ["event2", "event1", "event0"]
    first = alerts[-1]
    assert (first["label"], first["recovered"], first["confidence"]) == ("toaster", "stop", 0.98)
    assert (first["state"], first["raised_ms"]) == ("cleared", START_NS // 10**6)
    assert first["ended_ms"] == first["raised_ms"] + 1000
    assert (alerts[0]["state"], alerts[0]["ended_ms"]) == ("raised", None)


def test_the_list_is_filtered_by_camera_time_and_state(server: WebServer) -> None:
    start = START_NS // 10**6
    assert ids(server, "camera=hall") == ["event1"]
    assert ids(server, f"since={start + HOUR_MS}") == ["event2", "event1"]
    assert ids(server, f"until={start + HOUR_MS}") == ["event0"]
    assert ids(server, "state=open") == ["event2"]
    assert ids(server, "limit=1") == ["event2"]
    assert ids(server, "camera=none") == []


@pytest.mark.parametrize("query", ["state=%27", "since=yesterday", "since=-1", "limit=9999999999999999", "until=1e9"])
def test_a_filter_that_is_none_is_refused_with_a_sentence(server: WebServer, query: str) -> None:
    answer = ask(server, f"/api/alerts?{query}")
    assert answer.status == 400
    assert answer.json()["problem"].endswith(".")


def test_an_alert_opens_with_its_evidence_and_the_json_as_it_was_published(server: WebServer) -> None:
    alert = ask(server, "/api/alerts/event0").json()
    assert alert["files"] == ["clip", "frame", "overlay"]
    assert [record["body"]["state"] for record in alert["records"]] == ["raised", "cleared"]
    for kind, name, content_type in (("frame", "frame.jpg", "image/jpeg"), ("clip", "clip.mp4", "video/mp4")):
        answer = ask(server, f"/alerts/event0/{kind}")
        assert (answer.status, answer.body) == (200, f"this is {name}".encode())
        assert answer.headers["content-type"] == content_type
    assert ask(server, "/alerts/event1/frame").status == 404
    assert ask(server, "/alerts/event0/lock").status == 404


def test_the_list_gets_small_pictures(server: WebServer, folder: EvidenceFolder) -> None:
    whole = np.full((720, 1280, 3), 90, np.uint8)
    write_private(folder.root / "media" / "event1" / "overlay.jpg", encode_jpeg(whole))
    for _ in range(2):
        answer = ask(server, "/alerts/event1/thumbnail")
        assert (answer.status, answer.headers["content-type"]) == (200, "image/jpeg")
        shown = cv2.imdecode(np.frombuffer(answer.body, np.uint8), cv2.IMREAD_COLOR)
        assert shown is not None
        assert shown.shape == (136, 240, 3)
    (folder.root / "media" / "event1" / "overlay.jpg").unlink()
    assert ask(server, "/alerts/event1/thumbnail").status == 404  # what was removed is shown to nobody
    assert ask(server, "/alerts/event0/thumbnail").status == 404  # what lies there is no picture
    assert ask(server, "/alerts/event2/thumbnail").status == 404


def test_a_clip_can_be_asked_for_in_parts_as_players_do(server: WebServer) -> None:
    answer = ask(server, "/alerts/event0/clip", Range="bytes=5-6")
    assert (answer.status, answer.body) == (206, b"is")


def test_an_alert_that_is_not_there_is_said_so(server: WebServer) -> None:
    answer = ask(server, "/api/alerts/nothing")
    assert (answer.status, answer.json()) == (404, {"problem": "There is no alert nothing."})
    assert write(server, "/api/alerts/nothing/note", {"note": "x"}).status == 404


def test_acknowledging_and_a_note_are_kept_in_the_store(server: WebServer, folder: EvidenceFolder) -> None:
    assert write(server, "/api/alerts/event0/acknowledge", {"acknowledged": True}).status == 200
    note = "a poster, \u2603 <b>not</b> a sign"
    assert write(server, "/api/alerts/event0/note", {"note": note}).json()["note"] == note
    shown = ask(server, "/api/alerts").json()[-1]
    assert shown["note"] == note
    assert shown["acknowledged_ms"] > 0
    kept = Annotations(folder.history).of(["event0", "event1"])
    assert kept["event0"].note == note
    assert "event1" not in kept
    assert write(server, "/api/alerts/event0/acknowledge", {"acknowledged": False}).status == 200
    assert Annotations(folder.history).of(["event0"]) == {"event0": Annotation(None, note)}


@pytest.mark.parametrize(
    ("what", "told"),
    [("acknowledge", {"acknowledged": 1}), ("acknowledge", []), ("note", {"note": None}), ("note", {}),
     ("note", {"note": "x" * (LONGEST_NOTE + 1)}), ("note", {"note": "x" * 100_000})],
)  # fmt: skip
def test_nonsense_is_refused_and_changes_nothing(
    server: WebServer, folder: EvidenceFolder, what: str, told: Any
) -> None:
    answer = write(server, f"/api/alerts/event0/{what}", told)
    assert answer.status == 400
    assert answer.json()["problem"].endswith(".")
    assert Annotations(folder.history).of(["event0"]) == {}


def test_annotations_go_with_their_alert_and_the_store_goes_on_writing(folder: EvidenceFolder) -> None:
    annotations = Annotations(folder.history)
    annotations.note("event0", "gone soon")
    annotations.acknowledge("event1", 7)
    store, writer = AlertStore(folder.history), MessageWriter(an_identity("second"))
    store.forget(["event0"])
    store.save(writer.write("door", an_alert("door", "event3")).message)
    store.close()
    with closing(sqlite3.connect(folder.root / "alerts.db")) as connection:
        assert connection.execute("SELECT event_id FROM annotations").fetchall() == [("event1",)]
    with pytest.raises(UsageError, match="There is no alert event0"):
        annotations.note("event0", "too late")
    annotations.note("event3", "here")


def test_the_export_holds_the_alerts_asked_for_with_pictures_and_notes(server: WebServer) -> None:
    write(server, "/api/alerts/event0/note", {"note": "seen"})
    answer = ask(server, "/export.zip?camera=door")
    assert answer.status == 200
    with zipfile.ZipFile(io.BytesIO(answer.body)) as archive:
        names = {"alerts.json", "notes.json", "event0/clip.mp4", "event0/frame.jpg", "event0/overlay.jpg"}
        assert set(archive.namelist()) == names
        assert [alert["event_id"] for alert in json.loads(archive.read("alerts.json"))] == ["event0", "event2"]
        assert json.loads(archive.read("notes.json"))["event0"]["note"] == "seen"


def test_without_an_evidence_folder_alerts_are_shown_from_memory_and_not_marked() -> None:
    live = LiveState()
    live.alert(an_alert(event_id="e1"))
    live.alert(an_alert(event_id="e1", state=AlertState.CLEARED))
    with serving(web_config(), live) as server:
        (alert,) = ask(server, "/api/alerts").json()
        assert (alert["event_id"], alert["state"]) == ("e1", "cleared")
        assert len(ask(server, "/api/alerts/e1").json()["records"]) == 2
        assert ids(server, "state=open") == []
        assert ask(server, "/api/about").json()["kept"] is False
        assert write(server, "/api/alerts/e1/note", {"note": "x"}).status == 400
        assert ask(server, "/export.zip").status == 400


@pytest.mark.parametrize("query", ["since=9999999999999", "until=9223372036855", "limit=9999999999999", "since=-1"])
def test_numbers_beyond_all_measure_are_refused_in_a_sentence(server: WebServer, query: str) -> None:
    answer = ask(server, f"/api/alerts?{query}")
    assert (answer.status, "must be a whole number from 0 to" in answer.json()["problem"]) == (400, True)
    assert ask(server, "/api/alerts?until=9223372036854").status == 200


def test_a_note_that_is_no_text_is_refused(server: WebServer) -> None:
    answer = write(server, "/api/alerts/event0/note", {"note": "half a pair: \ud800"})
    assert (answer.status, answer.json()["problem"]) == (400, "A note must be text that Unicode knows.")


def test_only_a_few_exports_are_made_at_once_and_none_is_left_on_the_disk(
    server: WebServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scratch, go_on = tmp_path / "scratch", threading.Event()
    scratch.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))
    export = AlertRepository.export

    def slow(repository: AlertRepository, wanted: Filter, folder: Path) -> Path:
        assert go_on.wait(30)
        return export(repository, wanted, folder)

    monkeypatch.setattr(AlertRepository, "export", slow)
    with ThreadPoolExecutor(2) as askers:
        answers = [askers.submit(ask, server, "/export.zip") for _ in range(2)]
        until(lambda: len(list(scratch.iterdir())) == 2)
        refused = ask(server, "/export.zip")
        go_on.set()
        assert [answer.result().status for answer in answers] == [200, 200]
    assert (refused.status, "on their way" in refused.json()["problem"]) == (503, True)
    until(lambda: not list(scratch.iterdir()))
    assert ask(server, "/export.zip").status == 200
    until(lambda: not list(scratch.iterdir()))


def until(condition: Callable[[], object]) -> None:
    give_up = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < give_up, "it did not come about"
        time.sleep(0.005)
