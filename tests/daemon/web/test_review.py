"""What people say of alerts on the page: judged, dismissed, undone, snoozed, acknowledged in a row."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from taintwatch.alerts.outbox import MessageWriter
from taintwatch.evidence.folder import EvidenceFolder
from taintwatch.evidence.store import AlertStore
from taintwatch.review.dismissals import Dismissals
from taintwatch.web.server import WebServer
from tests.alert_fakes import an_alert, an_identity
from tests.web_scene import ask, serving, web_config, write


@pytest.fixture
def folder(tmp_path: Path) -> EvidenceFolder:
    """Three alerts; of the first there is a picture."""
    it = EvidenceFolder(tmp_path / "evidence")
    it.prepare()
    store, writer = AlertStore(it.history), MessageWriter(an_identity())
    for number in range(3):
        store.save(writer.write("door", an_alert("door", f"event{number}")).message)
    jpeg = cv2.imencode(".jpg", np.full((48, 64, 3), 90, np.uint8))[1].tobytes()
    it.put("event0", "frame.jpg", jpeg)
    store.close()
    return it


@pytest.fixture
def server(folder: EvidenceFolder) -> Iterator[WebServer]:
    with serving(web_config(f'[evidence]\nfolder = "{folder.root}"')) as it:
        yield it


def test_a_false_alarm_is_dismissed_listed_with_its_picture_and_undone(
    server: WebServer, folder: EvidenceFolder
) -> None:
    said = write(server, "/api/alerts/event0/judgement", {"judgement": "false alarm"}).json()
    assert said["judgement"] == "false alarm"
    [told] = ask(server, "/api/review").json()["dismissals"]
    assert (told["event_id"], told["camera"], told["until_ms"]) == ("event0", "door", None)
    assert told["by"].startswith("page 127.0.0.1")
    assert ask(server, "/dismissals/event0").headers["content-type"] == "image/jpeg"
    assert len(Dismissals(folder.dismissals).of("door")) == 1
    assert write(server, "/api/dismissals/event0/undo", {}).status == 200
    assert ask(server, "/api/review").json()["dismissals"] == []
    assert ask(server, "/api/alerts/event0").json()["judgement"] is None
    assert ask(server, "/dismissals/event0").status == 404
    assert write(server, "/api/dismissals/event0/undo", {}).status == 404


def test_what_cannot_be_dismissed_is_said_and_stays_as_it_was(server: WebServer) -> None:
    answer = write(server, "/api/alerts/event1/judgement", {"judgement": "false alarm"})
    assert answer.status == 400
    assert "no picture with a region is kept" in answer.json()["problem"]
    assert ask(server, "/api/alerts/event1").json()["judgement"] is None


def test_several_alerts_are_acknowledged_at_once(server: WebServer) -> None:
    told = {"event_ids": ["event0", "event2", "gone"], "acknowledged": True}
    assert write(server, "/api/acknowledge", told).json() == {"acknowledged": 2, "missing": ["gone"]}
    seen = {alert["event_id"]: alert["acknowledged_ms"] is not None for alert in ask(server, "/api/alerts").json()}
    assert seen == {"event0": True, "event1": False, "event2": True}


def test_a_camera_is_snoozed_and_woken(server: WebServer) -> None:
    until = write(server, "/api/cameras/door/snooze", {"minutes": 60}).json()["until_ms"]
    assert ask(server, "/api/review").json()["snoozes"] == {"door": until}
    assert write(server, "/api/cameras/door/snooze", {"minutes": 0}).json() == {"until_ms": None}
    assert ask(server, "/api/review").json()["snoozes"] == {}


@pytest.mark.parametrize(
    ("path", "told"),
    [("alerts/event0/judgement", {"judgement": "nonsense"}), ("alerts/event0/judgement", {"judgement": []}),
     ("acknowledge", {"event_ids": "event0", "acknowledged": True}), ("acknowledge", {"event_ids": ["a"] * 501}),
     ("cameras/door/snooze", {"minutes": -1}), ("cameras/door/snooze", {"minutes": True}),
     ("cameras/door/snooze", {"minutes": 1e300}), ("cameras/a%20b/snooze", {"minutes": 1})],
)  # fmt: skip
def test_nonsense_is_refused_in_a_sentence(server: WebServer, path: str, told: Any) -> None:
    answer = write(server, f"/api/{path}", told)
    assert answer.status in (400, 404)
    assert answer.json()["problem"].endswith(".")


def test_nobody_else_can_say_anything(server: WebServer) -> None:
    for path in ("alerts/event0/judgement", "dismissals/event0/undo", "cameras/door/snooze", "acknowledge"):
        assert ask(server, f"/api/{path}", "POST", b"{}").status == 403
