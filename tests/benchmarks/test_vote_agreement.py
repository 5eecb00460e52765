"""What frames agree in: restless false alarms are told from an attack, and what flickers is the attack."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from benchmarks.held_print import HeldPrint
from benchmarks.vote_agreement import __main__ as bench
from benchmarks.vote_agreement.replay import AGREEMENTS, POLICIES, attack_outcome, benign_alerts, flickering
from benchmarks.vote_agreement.streams import videos_of

POLICY, THRESHOLD, TARGET = POLICIES["3 of 5"], 9.0, 7


def judged(index: int, *, attacked: bool = False, restless: bool = False) -> dict[str, Any]:
    if attacked:
        return {"score": 12.0, "label": TARGET, "box": [100, 80, 60, 60]}
    place = [70 * (index % 4), 70 * (index // 4 % 3), 40, 40]
    return {"score": 10.0 if restless else 1.0, "label": 100 + index, "box": place if restless else None}


def a_video(*, restless: bool) -> dict[str, Any]:
    benign = [judged(index, restless=restless and index % 20 < 6) for index in range(200)]
    scene = {"patch": "ours", "size": 0.35, "carried": False, "target": TARGET, "first": 40}
    scene["frames"] = [judged(index, attacked=True) for index in range(60)]
    return {"thresholds": {"0.001": THRESHOLD, "0.02": THRESHOLD}, "benign": benign, "scenes": [scene]}


def test_false_alarms_here_and_there_raise_only_where_nothing_need_agree() -> None:
    alerts = [benign_alerts(a_video(restless=True)["benign"], THRESHOLD, POLICY, each) for each in AGREEMENTS]
    assert alerts[0] > 0
    assert alerts[1:] == [0, 0, 0]


@pytest.mark.parametrize("agreement", AGREEMENTS)
def test_one_flickering_attack_is_one_alert_whatever_frames_agree_in(agreement: str) -> None:
    video = a_video(restless=False)
    stream, fooled = flickering(video["scenes"][0], video["benign"], 3)
    assert fooled is not None
    seen = [one["label"] == TARGET for one in stream]
    assert not any(seen[:fooled])
    assert 0.2 < sum(seen[50:650]) / 600 < 0.8, "it is hidden now and then"
    outcome = attack_outcome(stream, fooled, THRESHOLD, POLICY, agreement)
    assert outcome.alerts == 1
    assert outcome.delay_s is not None
    assert 0.2 <= outcome.delay_s < 5


def test_the_comparison_has_a_row_for_each_agreement(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "POLICIES", {"3 of 5": POLICY})
    monkeypatch.setattr(bench, "RATES", (0.001,))
    found = bench.compare({"one": a_video(restless=True), "two": a_video(restless=False)})
    assert [row["agree_in"] for row in found["rows"]] == list(AGREEMENTS)
    assert (found["benign_frames"], found["benign_s"]) == (400, 40.0)
    assert found["suspicious_benign_frames"]["0.001"] == 60
    none, *others = found["rows"]
    assert none["benign_alerts"] > 0
    assert {row["benign_alerts"] for row in others} == {0}
    assert {(row["attacks"], row["missed"]) for row in found["rows"]} == {(4, 0)}
    assert (none["alert_stood_before"], {row["alert_stood_before"] for row in others}) == (2, {0})


def test_a_held_print_covers_its_place_and_shakes_and_a_hung_one_does_not() -> None:
    white = np.full((64, 64, 3), 255, np.uint8)
    frames = []
    for held in (True, False):
        for index in (0, 11):
            picture = np.zeros((240, 320, 3), np.uint8)
            HeldPrint(white, (0.5, 0.5), 0.4, held=held).lay(picture, index)
            frames.append(picture)
    x, y, side, _ = HeldPrint(white, (0.5, 0.5), 0.4).box(320, 240)
    assert (x, y, side) == (112.0, 72.0, 96.0)
    for picture in frames:
        assert abs(int((picture[..., 0] > 128).sum()) - side**2) < 0.03 * side**2
        assert picture[120, 160].tolist() == [255, 255, 255]
    assert not np.array_equal(frames[0], frames[1])
    assert np.array_equal(frames[2], frames[3])


def test_footage_is_found_below_both_folders(tmp_path: Path) -> None:
    for folder, name in (("footage", "parking.mp4"), ("videos", "walk.mkv")):
        (tmp_path / folder).mkdir()
        cv2.imwrite(str(tmp_path / folder / "x.png"), np.zeros((2, 2, 3), np.uint8))
        (tmp_path / folder / name).touch()
    assert list(videos_of(tmp_path)) == ["parking"]
