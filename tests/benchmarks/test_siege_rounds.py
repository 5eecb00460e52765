"""The siege's count: every scripted attack needs an alert of its own, and what was seen of one without is kept."""

from __future__ import annotations

from typing import Any

from benchmarks.siege.rounds import Log, Look, lives, lost_rounds
from taintwatch.cameras.camera_status import CameraState, CameraStatus


def record(event_id: str, state: str, raised: int, frame: int) -> dict[str, Any]:
    """What the daemon prints of an alert."""
    numbers = {"raised_frame_index": raised, "frame_index": frame, "suspicious_frames": 3}
    return {"event_id": event_id, "camera": "door", "state": state, **numbers}


def a_log(*frames: int) -> Log:
    statuses = [CameraStatus("door", CameraState.RUNNING, "sim:", frames=n, captured=n) for n in frames]
    return Log("door", [Look(float(number), status) for number, status in enumerate(statuses)])


def test_an_attack_without_an_alert_of_its_own_is_lost_and_what_was_seen_of_it_is_kept() -> None:
    """Rounds of 100 frames, of which 40 to 69 show the attack: the second alert stands over the attack of round 3."""
    printed = [
        record("a", "raised", 142, 142),
        record("a", "cleared", 142, 223),
        record("b", "raised", 243, 243),
        record("b", "cleared", 243, 380),
        {"event_id": "c", "camera": "decoy", "state": "raised", "raised_frame_index": 342, "frame_index": 342,
         "suspicious_frames": 3},
    ]  # fmt: skip
    shown, lost = lost_rounds(a_log(20, 180, 260, 310, 350, 390, 420), lives(printed, "door"))
    assert shown == 3
    (row,) = lost
    assert row["round"] == 3
    assert row["alerts"] == [{"raised": -97, "ended": 40, "suspicious_frames": 3}]
    assert [(look["frame"], look["judged"]) for look in row["looks"]] == [(-80, 0), (-30, 50), (10, 90)]


def test_rounds_of_which_only_a_part_was_shown_do_not_count() -> None:
    assert lost_rounds(a_log(20, 199), []) == (0, [])
    assert lost_rounds(Log("door"), []) == (0, [])
