"""The scores around an alert: kept from before it to after it, thinned where it lasts, written as it grows."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from taintwatch.alerts.incidents import AlertTracker
from taintwatch.assembly import make_voter
from taintwatch.config.sections import VoteSection
from taintwatch.evidence.evidence import Evidence, EvidenceSettings
from taintwatch.evidence.score_history import MOST, ScoreDocument, ScoreHistory
from taintwatch.records import Alert, AlertState
from tests.alert_fakes import an_alert
from tests.daemon.test_vote_agreement import ten_flickering_minutes
from tests.fakes import a_frame, a_prediction, a_verdict

FPS = 10
RAISED_S, CLEARED_S = 20, 30


def watch(history: ScoreHistory, seconds: float, scores: Callable[[float], float] = lambda at: 1.0) -> list[Any]:
    """Show frames of which an alert is raised and cleared; return the documents as (second, document)."""
    found = []
    for index in range(round(seconds * FPS)):
        at, alert = index / FPS, None
        if at in (RAISED_S, CLEARED_S):
            state = AlertState.RAISED if at == RAISED_S else AlertState.CLEARED
            alert = replace(an_alert(event_id="e1"), state=state)
        found += [(at, document) for document in history.see(shown(index), [verdict(index, scores(at))], alert)]
    return found


def shown(index: int, subject: str | None = None) -> Any:
    return replace(a_frame(index), wall_ns=round(index / FPS * 1e9), media_s=index / FPS, subject=subject)


def verdict(index: int, score: float) -> Any:
    return replace(a_verdict(a_prediction(shown(index), 1), score > 2.0), score=score, threshold=2.0)


def points(document: ScoreDocument) -> list[list[float]]:
    return list(json.loads(document.text)["points"])


def test_an_alert_has_its_scores_from_before_it_to_after_it() -> None:
    documents = watch(ScoreHistory(), 60, lambda at: 3.0 if RAISED_S - 1 <= at < CLEARED_S else 1.0)
    assert {document.event_id for _, document in documents} == {"e1"}
    at, last = documents[-1]
    assert at == CLEARED_S + 5
    kept = points(last)
    assert RAISED_S * 1000 - kept[0][0] in (10_000, 10_100)
    assert kept[-1][0] == (CLEARED_S + 5) * 1000
    assert [ms for ms, score, _ in kept if score > 2] == [1000 * RAISED_S + 100 * step for step in range(-10, 100)]
    assert {threshold for *_, threshold in kept} == {2.0}


def test_it_is_written_while_the_alert_stands_and_never_grows_beyond_its_bound() -> None:
    history, raised = ScoreHistory(), replace(an_alert(event_id="e1"), state=AlertState.RAISED)
    written = []
    for index in range(3600 * FPS):
        for document in history.see(shown(index), [verdict(index, 3.0)], raised if index == 0 else None):
            written.append((index / FPS, len(points(document))))
    times = [at for at, _ in written]
    assert times[:4] == [2, 6, 14, 30]
    assert max(after - before for before, after in pairwise(times)) <= 30.1
    assert max(count for _, count in written) <= MOST
    assert 3590 < points(history.close()[0])[-1][0] / 1000 <= 3600
    assert len(written) < 150


def test_ten_minutes_of_one_flickering_attack_are_one_alert_with_all_of_its_history() -> None:
    voter, tracker, history = make_voter(VoteSection(), ("tight",)), AlertTracker(), ScoreHistory()
    flags = [*ten_flickering_minutes(), *[False] * 200]
    states, documents = list[Alert](), list[ScoreDocument]()
    for index, suspicious in enumerate(flags):
        frame = shown(index)
        one = verdict(index, 3.0 if suspicious else 1.0)
        alert = tracker(a_prediction(frame, 1), [one], voter(frame, [one]))
        states += [] if alert is None or alert.state is AlertState.UPDATED else [alert]
        documents += history.see(frame, [one], alert)
    assert [alert.state for alert in states] == [AlertState.RAISED, AlertState.CLEARED]
    kept = points(documents[-1])
    assert MOST / 2 < len(kept) <= MOST
    assert kept[0][0] == 0
    assert kept[-1][0] >= 600_000
    assert 0.2 < sum(score > 2 for _, score, _ in kept) / len(kept) < 0.8, "its flicker is seen"


def test_subjects_that_have_left_are_let_go_with_what_they_had() -> None:
    history, raised = ScoreHistory(), replace(an_alert(event_id="e1"), state=AlertState.RAISED)
    for number in range(50):
        history.see(shown(number, f"sign {number}"), [verdict(number, 3.0)], raised if number == 7 else None)
    assert len(history._tracks) == 50
    later: Sequence[ScoreDocument] = ()
    for index in range(40 * FPS, 700 * FPS, FPS):
        later = [*later, *history.see(shown(index), [verdict(index, 1.0)], None)]
    assert [document.event_id for document in later] == ["e1"]
    assert json.loads(later[0].text)["subject"] == "sign 7"
    assert len(history._tracks) == 1


def test_what_was_not_judged_is_not_a_score() -> None:
    history, raised = ScoreHistory(), replace(an_alert(event_id="e1"), state=AlertState.RAISED)
    history.see(shown(0), [verdict(0, 3.0), verdict(0, float("nan"))], raised)
    history.see(shown(1), [replace(verdict(1, 3.0), checked=False)], None)
    assert points(history.close()[0]) == [[0, 3.0, 2.0]]


def test_evidence_keeps_it_beside_the_pictures_and_without_them_too(tmp_path: Path) -> None:
    evidence = Evidence(EvidenceSettings(tmp_path / "kept", images=False, min_free_mb=0.0))
    raised = replace(an_alert(event_id="e1"), state=AlertState.RAISED)
    for index in range(5):
        evidence.offer(shown(index), raised if index == 2 else None, [verdict(index, 1.0 + index)])
    evidence.close()
    kept = json.loads((tmp_path / "kept" / "media" / "e1" / "scores.json").read_text())
    assert [score for _, score, _ in kept["points"]] == [1.0, 2.0, 3.0, 4.0, 5.0]


def test_a_history_that_has_no_room_beside_those_that_wait_is_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("taintwatch.evidence.recorder.DOCUMENTS", 0)
    evidence = Evidence(EvidenceSettings(tmp_path / "kept", min_free_mb=0.0))
    evidence.offer(shown(0), replace(an_alert(event_id="e1"), state=AlertState.RAISED), [verdict(0, 3.0)])
    evidence.close()
    stats = evidence.stats().recorder
    assert stats is not None
    assert stats.failures == 1
    assert not (tmp_path / "kept" / "media" / "e1" / "scores.json").exists()
