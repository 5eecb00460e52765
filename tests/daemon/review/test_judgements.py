"""What people say of alerts, and what the pipeline makes of it."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from click.testing import CliRunner

from taintwatch.alerts.incidents import AlertTracker
from taintwatch.alerts.outbox import MessageWriter
from taintwatch.cli.alerts import alerts_group
from taintwatch.evidence.annotations import Annotations
from taintwatch.evidence.audit import AuditLog, read_audit
from taintwatch.evidence.database import connect
from taintwatch.evidence.folder import EvidenceFolder
from taintwatch.evidence.migration import copy_of
from taintwatch.evidence.store import AlertStore
from taintwatch.pipeline import watch
from taintwatch.records import Alert, AlertState
from taintwatch.review.dismissals import MOST, Dismissals, Reason
from taintwatch.review.judgements import Judgement, Judgements
from taintwatch.review.reviewer import Reviewer
from taintwatch.review.snoozes import Snoozes
from taintwatch.vote.policies import KofN
from taintwatch.vote.voter import Hold, Voter
from taintwatch_models.errors import UsageError
from taintwatch_models.records import Frame, Region, Verdict, read_only
from tests.alert_fakes import an_alert, an_identity
from tests.daemon.review.test_appearance import BOX, Picture, noisy, stickered, wall
from tests.fakes import FakeClassifier, FakeDetector, FakeSupply, a_verdict

HOUR_NS = 3_600_000_000_000
POLYGON = ((120, 60), (216, 60), (216, 156), (120, 156))
WHO = "page 127.0.0.1"
REGION = Region(BOX, (POLYGON,), 0.12)


class Windowed(FakeDetector):
    """Suspects everything, and says that it rests on `BOX`."""

    def __call__(self, prediction: Any) -> Verdict:
        return replace(a_verdict(prediction, True), region=REGION)


class Clock:
    """A wall clock that a test sets."""

    def __init__(self) -> None:
        self.ns = 1_700_000_000_000_000_000

    def __call__(self) -> int:
        return self.ns


@pytest.fixture
def folder(tmp_path: Path) -> EvidenceFolder:
    """One alert at the door with its frame, one without."""
    it = EvidenceFolder(tmp_path / "evidence")
    it.prepare()
    store, writer = AlertStore(it.history), MessageWriter(an_identity())
    for event_id in ("poster", "bare"):
        store.save(writer.write("door", replace(an_alert("door", event_id), label=0, region=REGION)).message)
    it.put("poster", "frame.jpg", cv2.imencode(".jpg", wall())[1].tobytes())
    store.close()
    return it


@pytest.fixture
def judgements(folder: EvidenceFolder) -> Judgements:
    return Judgements(folder, AuditLog(None), wall_ns=Clock())


def alerts_of(pictures: list[Picture], folder: EvidenceFolder, **more: Any) -> list[Alert]:
    """Run the pipeline, in which everything is suspicious, over these pictures at 25 frames a second."""
    dismissals = Dismissals(folder.dismissals, **more)
    frames = [
        Frame("door", index, read_only(picture), 10**9 + index * 40_000_000, 10**18 + index, index * 0.04)
        for index, picture in enumerate(pictures)
    ]
    steps = watch(
        FakeSupply([[frame] for frame in frames]), FakeClassifier(), [Windowed()], Voter(KofN(2, 3), hold=Hold(0, 0)),
        AlertTracker(), None, Reviewer(dismissals.of), max_batch=4, wait_s=0, stopping=lambda: False,
    )  # fmt: skip
    return [step.alert for batch in steps for step in batch if step.alert is not None]


def test_a_dismissed_scene_raises_no_alert_and_an_attack_in_its_place_does(
    judgements: Judgements, folder: EvidenceFolder
) -> None:
    assert alerts_of([noisy(wall())] * 4, folder)
    judgements.judge("poster", Judgement.FALSE_ALARM, WHO)
    assert alerts_of([noisy(wall())] * 10, folder) == []
    assert alerts_of([stickered(wall())] * 4, folder)[0].state is AlertState.RAISED


def test_what_was_dismissed_stays_so_whatever_the_classifier_calls_it(
    judgements: Judgements, folder: EvidenceFolder
) -> None:
    bright = wall()
    bright[0, 0] = 255  # FakeClassifier's toaster
    assert alerts_of([bright] * 4, folder)[0].label_name == "toaster"
    judgements.judge("poster", Judgement.FALSE_ALARM, WHO)
    assert alerts_of([bright] * 10, folder) == []


def test_a_dismissal_ends_the_alert_that_stands_and_an_acknowledgement_does_not(
    judgements: Judgements, folder: EvidenceFolder
) -> None:
    scene = wall()
    judgements.acknowledge("poster", True, WHO)
    [known] = Dismissals(folder.dismissals, wall_ns=Clock()).of("door")
    verdict = replace(Windowed()(FakeClassifier()([a_frame_of(scene)])[0]))
    reviewer = Reviewer(lambda camera: (known,))
    assert reviewer(a_frame_of(scene), [verdict], alert_open=True)[0].suspicious
    [quiet] = reviewer(a_frame_of(scene), [verdict], alert_open=False)
    assert (quiet.suspicious, quiet.dismissal) == (False, "poster")
    judgements.judge("poster", Judgement.FALSE_ALARM, WHO)
    [known] = Dismissals(folder.dismissals, wall_ns=Clock()).of("door")
    assert not reviewer(a_frame_of(scene), [verdict], alert_open=True)[0].suspicious


def a_frame_of(picture: Picture) -> Frame:
    return Frame("door", 0, read_only(picture), 10**9, 10**18, 0.0)


def test_what_was_acknowledged_is_raised_again_after_a_day(judgements: Judgements, folder: EvidenceFolder) -> None:
    judgements.acknowledge("poster", True, WHO)
    clock = Clock()
    clock.ns += 23 * HOUR_NS
    assert alerts_of([wall()] * 4, folder, wall_ns=clock) == []
    clock.ns += 2 * HOUR_NS
    assert alerts_of([wall()] * 4, folder, wall_ns=clock)


def test_a_judgement_is_kept_listed_and_taken_back(judgements: Judgements, folder: EvidenceFolder) -> None:
    assert judgements.judge("poster", Judgement.FALSE_ALARM, WHO).judgement == "false alarm"
    [kept] = judgements.dismissals.all()
    assert (kept.event_id, kept.camera, kept.reason, kept.by) == ("poster", "door", Reason.FALSE_ALARM, WHO)
    assert judgements.dismissals.picture("poster") is not None
    assert judgements.judge("poster", Judgement.ATTACK, WHO).judgement == "attack"
    assert judgements.dismissals.all() == []
    assert alerts_of([wall()] * 4, folder)


def test_an_undone_dismissal_takes_the_judgement_along(judgements: Judgements, folder: EvidenceFolder) -> None:
    judgements.judge("poster", Judgement.FALSE_ALARM, WHO)
    assert judgements.undo("poster", WHO).label_name == "toaster"
    assert Annotations(folder.history).of(["poster"])["poster"].judgement is None
    with pytest.raises(UsageError, match="There is no dismissal poster"):
        judgements.undo("poster", WHO)


def test_an_alert_without_a_picture_cannot_be_dismissed_but_acknowledged(judgements: Judgements) -> None:
    with pytest.raises(UsageError, match="no picture with a region is kept"):
        judgements.judge("bare", Judgement.FALSE_ALARM, WHO)
    assert judgements.acknowledge("bare", True, WHO).acknowledged_wall_ns is not None
    assert judgements.dismissals.all() == []


def test_what_was_said_stands_in_the_audit_log(folder: EvidenceFolder) -> None:
    judgements = Judgements(folder, AuditLog.of(folder.root))
    judgements.judge("poster", Judgement.FALSE_ALARM, WHO)
    judgements.undo("poster", WHO)
    judgements.acknowledge("bare", True, WHO)
    judgements.note("bare", "on the left", WHO)
    judgements.snooze("door", 60, WHO)
    report = read_audit(folder.root / "audit.jsonl", None)
    assert [entry["action"] for entry in report.entries] == [
        "dismissed", "judged", "dismissal_undone", "acknowledged", "note", "snoozed",
    ]  # fmt: skip
    assert {entry["who"] for entry in report.entries} == {WHO}
    assert report.findings == ()


def test_a_camera_has_so_many_dismissals_and_no_more(judgements: Judgements) -> None:
    judgements.judge("poster", Judgement.FALSE_ALARM, WHO)
    [kept], jpeg = judgements.dismissals.all(), cv2.imencode(".jpg", wall())[1].tobytes()
    for number in range(MOST - 1):
        judgements.dismissals.add(replace(kept, event_id=f"n{number}"), jpeg)
    with pytest.raises(UsageError, match=f"has {MOST} dismissals"):
        judgements.dismissals.add(replace(kept, event_id="more"), jpeg)
    judgements.dismissals.add(replace(kept, camera="hall", event_id="more"), jpeg)


@pytest.mark.parametrize("content", [b"", b"[]", b'{"event_id": 1}', b"\xff\xfe", b"{" * 100_000])
def test_a_damaged_dismissal_counts_for_nothing_and_is_said(
    judgements: Judgements, folder: EvidenceFolder, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    judgements.judge("poster", Judgement.FALSE_ALARM, WHO)
    (folder.dismissals / "poster.json").write_bytes(content)
    assert Dismissals(folder.dismissals).of("door") == ()
    assert "counts for nothing" in caplog.text


def test_a_snooze_ends_by_itself(tmp_path: Path) -> None:
    clock = Clock()
    snoozes = Snoozes(tmp_path / "kept" / "snoozes.json", wall_ns=clock)
    assert snoozes.set("door", 30) == clock.ns + HOUR_NS // 2
    assert snoozes.is_snoozed("door")
    assert not snoozes.is_snoozed("hall")
    clock.ns += HOUR_NS
    assert not snoozes.is_snoozed("door")
    with pytest.raises(UsageError, match="0 to 1440 minutes"):
        snoozes.set("door", 1e9)


@pytest.fixture
def place(folder: EvidenceFolder) -> list[str]:
    return ["--folder", str(folder.root)]


def say(*arguments: str) -> str:
    result = CliRunner().invoke(alerts_group, list(arguments), standalone_mode=False, catch_exceptions=False)
    if result.exception is not None:
        raise result.exception
    return str(result.output)


def test_the_command_line_judges_lists_and_undoes(place: list[str], folder: EvidenceFolder) -> None:
    assert "false alarm" in say("judge", "post", "false-alarm", *place)
    assert "door  toaster  false alarm, by command line, user " in say("dismissals", *place)
    assert json.loads(say("dismissals", "--json", *place))["boxes"] == [list(BOX)]
    assert "judged again" in say("undo", "post", *place)
    assert say("dismissals", *place) == ""
    assert "snoozed until" in say("snooze", "door", "60", *place)
    assert "awake" in say("snooze", "door", "0", *place)
    assert "acknowledged" in say("acknowledge", "poster", "bare", *place)
    with pytest.raises(UsageError, match="0 dismissals start with"):
        say("undo", "nothing", *place)


def test_a_database_of_an_earlier_version_is_brought_up_to_date_and_kept_as_it_was(folder: EvidenceFolder) -> None:
    Annotations(folder.history).note("poster", "on the left")
    path = folder.root / "alerts.db"
    with closing(sqlite3.connect(path)) as old:
        old.executescript("ALTER TABLE annotations DROP COLUMN judgement; PRAGMA user_version = 3;")
    connect(path, power_safe=False).close()
    annotations = Annotations(folder.history)
    annotations.judge("poster", "attack")
    assert annotations.of(["poster"])["poster"].note == "on the left"
    with closing(sqlite3.connect(copy_of(path, 3))) as kept:
        assert kept.execute("PRAGMA user_version").fetchone() == (3,)
        assert kept.execute("SELECT note FROM annotations").fetchone() == ("on the left",)


def test_random_patches_are_excused_by_none_of_twenty_dismissals(folder: EvidenceFolder) -> None:
    rng = np.random.default_rng(3)
    scenes = [wall(seed) for seed in range(20)]
    known = Dismissals(folder.dismissals)
    judgements = Judgements(folder, AuditLog(None))
    judgements.judge("poster", Judgement.FALSE_ALARM, WHO)
    [first] = judgements.dismissals.all()
    for number, scene in enumerate(scenes):
        jpeg = cv2.imencode(".jpg", scene)[1].tobytes()
        judgements.dismissals.add(replace(first, event_id=f"scene{number}"), jpeg)
    assert len(known.of("door")) == 21
    seen = [any(each.appearance.shows(noisy(scene), BOX) for each in known.of("door")) for scene in scenes]
    assert all(seen)
    excused = 0
    for number in range(100):
        attacked = scenes[number % 20].copy()
        side = int(rng.integers(24, 60))
        patch = cv2.resize(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8), (side, side))
        top, left = (int(rng.integers(start, start + 96 - side)) for start in (60, 120))
        attacked[top : top + side, left : left + side] = patch
        excused += any(each.appearance.shows(attacked, BOX) for each in known.of("door"))
    assert excused == 0
