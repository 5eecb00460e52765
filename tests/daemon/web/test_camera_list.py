"""One view of all cameras: over the shared history, of every site, the worst first, at 400 of them."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from taintwatch.cameras.camera_status import CameraState, CameraStatus
from taintwatch.evidence.folder import EvidenceFolder
from taintwatch.evidence.history import History
from taintwatch.evidence.postgres_history import PostgresHistory
from taintwatch.evidence.sqlite_history import SqliteHistory
from taintwatch.status import RunStatus
from taintwatch.web.camera_list import CameraList
from taintwatch.web.live import LiveState
from tests.fleet_scene import CAMERAS, fill_history
from tests.postgres_server import PostgresServer
from tests.web_scene import ask, serving, web_config


def status_of(**states: CameraState) -> RunStatus:
    said = tuple(CameraStatus(name, state, "fake", fps=2.0) for name, state in states.items())
    return RunStatus(1, 1.0, 2.0, 0, 0, 0, 0, 0, 1.0, 2.0, None, said)


@pytest.fixture(params=["sqlite", "postgresql"])
def history(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[History]:
    if request.param == "sqlite":
        it: History = SqliteHistory(tmp_path / "alerts.db")
    else:
        server: PostgresServer = request.getfixturevalue("postgres")
        it = PostgresHistory(server.url)
        it.open("to-empty")
        it.write(lambda session: session.change("TRUNCATE alerts, records, forgotten, heads, annotations, deliveries"))
        it.close()
        it = PostgresHistory(server.url)
    fill_history(it, time.time_ns())
    yield it
    it.close()


def test_400_cameras_of_all_sites_come_the_worst_first(history: History, tmp_path: Path) -> None:
    live = LiveState()
    live.progress(status_of(till01=CameraState.LOST, new=CameraState.RUNNING))
    cameras = CameraList(live, EvidenceFolder(tmp_path, history=history), "shop0")
    start = time.monotonic()
    rows = cameras.all()
    assert time.monotonic() - start < 10.0  # milliseconds; a query for each camera would take longer even here
    assert len(rows) == CAMERAS + 1
    assert [(row["site"], row["camera"], row["open"]) for row in rows[:4]] == [
        ("shop3", "till07", 1),
        ("shop3", "till09", 1),
        ("shop5", "till00", 1),
        ("shop0", "till01", 0),  # not watched now
    ]
    assert rows[3]["state"] == "lost"
    assert [row["recent"] for row in rows[4:]] == sorted((row["recent"] for row in rows[4:]), reverse=True)
    (new,) = [row for row in rows if row["camera"] == "new"]
    assert (new["state"], new["alerts"], new["last_ms"]) == ("running", 0, None)
    assert all(row["state"] is None for row in rows if row["site"] != "shop0")


def test_the_page_gives_the_list_and_the_alerts_of_one_site_s_camera(tmp_path: Path) -> None:
    folder = EvidenceFolder(tmp_path / "kept")
    folder.prepare()
    fill_history(folder.history, time.time_ns())
    with serving(web_config(f'site = "shop0"\n[evidence]\nfolder = "{folder.root}"\n')) as server:
        assert len(ask(server, "/api/cameras").json()) == CAMERAS
        (alert,) = ask(server, "/api/alerts?camera=till07&site=shop3").json()
        assert alert["event_id"] == "3-7"
        assert len(ask(server, "/api/alerts?camera=till07").json()) == 8


def test_without_a_history_the_cameras_watched_here_are_shown() -> None:
    live = LiveState()
    live.progress(status_of(a=CameraState.RUNNING, b=CameraState.CONNECTING, c=CameraState.STALE))
    rows = CameraList(live, None, "shop").all()
    assert [(row["camera"], row["state"]) for row in rows] == [("c", "stale"), ("b", "connecting"), ("a", "running")]
