"""The benchmark on faces: what it keeps, and how it counts."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from benchmarks.face_trials.attacks import TARGET, Attacks
from benchmarks.face_trials.chunks import CHUNK, in_chunks
from benchmarks.face_trials.model import FaceModel
from benchmarks.face_trials.people import CALIBRATION, TEST, People
from benchmarks.face_trials.report import attacking, detecting
from benchmarks.face_trials.videos import BARE, FPS, VideoTrial, summary
from benchmarks.face_trials.wearers import SHOWN, wearer_attacks


def test_work_that_was_done_is_not_done_again(tmp_path: Path) -> None:
    asked: list[tuple[int, int]] = []

    def make(rows: slice) -> dict[str, NDArray[np.int64]]:
        asked.append((rows.start, rows.stop))
        if len(asked) == 2:
            raise KeyboardInterrupt
        return {"rows": np.arange(rows.start, rows.stop)}

    count = 2 * CHUNK + 5
    with pytest.raises(KeyboardInterrupt):
        in_chunks(tmp_path / "work", count, make)
    arrays = in_chunks(tmp_path / "work", count, make)
    assert arrays["rows"].tolist() == list(range(count))
    assert asked == [(0, CHUNK), (CHUNK, 2 * CHUNK), (CHUNK, 2 * CHUNK), (2 * CHUNK, count)]


def a_table(count: int, shift: float, label: int, probability: float = 0.99) -> dict[str, NDArray[np.float64]]:
    rng = np.random.default_rng(label + 1)
    names = ("margin", "swing", "band_margin", "band_swing", "paper", "saliency_concentration")
    return {name: rng.normal(shift, 1, count) for name in names} | {
        "label": np.full(count, label),
        "probability": np.full(count, probability),
    }


def some_attacks(count: int) -> Attacks:
    wearers = np.arange(count) + 5
    nothing = np.zeros((count, 1))
    return Attacks(
        wearers,
        nothing.astype(np.uint8),
        nothing.astype(np.float32),
        wearers.astype(np.intp),
        np.full(count, 50),
        np.arange(count) % 2 == 0,
    )


def test_an_attack_succeeds_where_the_camera_accepts_another_name() -> None:
    attacks = {"impersonation": some_attacks(10), "dodging": some_attacks(10)}
    unsure = a_table(10, 0, TARGET)
    unsure["probability"][:4] = 0.3
    own = a_table(10, 0, TARGET)
    own["label"][:3] = attacks["dodging"].wearers[:3]
    told = attacking(attacks, {"impersonation": unsure, "dodging": own}, 0.5)
    assert (told["attempts"], told["successes"], told["stop_probability_reached"]) == (10, 6, 5)
    assert told["dodging"]["successes"] == 7


def test_detectors_are_told_at_the_target_fpr_with_their_intervals() -> None:
    benign = {"calibration": a_table(400, 0, 3), "test": a_table(400, 0, 7)}
    attacks = {"impersonation": some_attacks(20), "dodging": some_attacks(20)}
    attacked = {"impersonation": a_table(20, 8, TARGET), "dodging": a_table(20, 0, TARGET)}
    rows = {row["name"]: row for row in detecting(benign, attacks, attacked, 0.5)}
    assert set(rows) >= {"paper", "tight", "bands", "combined"}
    combined = rows["combined"]
    assert combined["tpr"] == 1.0
    assert 0.01 < combined["fpr"] < 0.12
    assert combined["fpr_interval"][0] < combined["fpr"] < combined["fpr_interval"][1]
    assert combined["tpr_dodging"] < 0.3
    assert (combined["benign"], combined["attacks"]) == (400, 20)


def test_the_time_to_alarm_runs_from_the_first_frame_that_was_taken_for_the_target() -> None:
    frames = np.arange(BARE + 10)
    worn = frames >= BARE
    labels = np.where(worn, TARGET, 5)
    caught = VideoTrial(frames, worn, labels, worn, np.array([BARE + 2]))
    missed = VideoTrial(frames, worn, labels, np.zeros_like(worn), np.array([], np.int64))
    false = VideoTrial(frames, worn, np.full_like(labels, 6), frames < 3, np.array([2]))
    told = summary([caught, missed, false], some_attacks(3))
    assert (told["videos"], told["wearers_taken_for_the_target"], told["of_these_alarmed"]) == (3, 2, 1)
    assert told["seconds_to_alarm_median"] == pytest.approx(2 / FPS)
    assert told["false_alarms"] == 1
    assert told["bare_suspicious"] == 3
    assert told["worn_frames_as_target"] == 20


def test_a_pair_is_crafted_on_a_wearers_own_photographs_and_shown_on_all_others_straight_and_turned(
    tmp_path: Path,
) -> None:
    asked = []

    def model(rgb: Tensor) -> Tensor:
        """Everybody is the first one where the picture is green enough."""
        asked.append(len(rgb))
        green = (rgb[:, 1] - rgb[:, 0]).mean((1, 2))[:, None] * 2000
        return torch.cat([green, torch.full_like(green, 1.0), torch.zeros_like(green)], 1)

    part = np.array([CALIBRATION, CALIBRATION, CALIBRATION, TEST, TEST] * 3)
    faces = np.full((15, 112, 112, 3), 128, np.uint8)
    people = People(faces, ("",) * 15, ("a", "b", "c"), np.repeat(np.arange(3), 5), part, 15, 1.0)
    seen = cast(FaceModel, SimpleNamespace(torch_model=model))
    attacks = wearer_attacks(people, seen, tmp_path, 2, 2, 0)
    assert tuple(attacks) == SHOWN
    assert [len(attacks[name].faces) for name in SHOWN] == [4, 4, 4]
    assert set(people.part[attacks["own"].rows]) == {CALIBRATION}
    assert set(people.part[attacks["others"].rows]) == {TEST}
    assert TARGET not in attacks["own"].wearers
    assert max(asked) == 2
    assert attacks["own"].reached.all()
    for name in SHOWN:
        assert (attacks[name].faces[..., 1].astype(int) - attacks[name].faces[..., 2]).mean() > 0  # green, where worn
    assert not np.array_equal(attacks["others"].faces, attacks["posed"].faces)
    made, times = len(asked), [path.stat().st_mtime_ns for path in tmp_path.rglob("*.npz")]
    again: dict[str, Any] = wearer_attacks(people, seen, tmp_path, 2, 2, 0)
    assert np.array_equal(again["posed"].faces, attacks["posed"].faces)
    assert (len(asked), [path.stat().st_mtime_ns for path in tmp_path.rglob("*.npz")]) == (made, times)


def test_detectors_are_told_without_dodging_too() -> None:
    benign = {"calibration": a_table(100, 0, 3), "test": a_table(100, 0, 7)}
    rows = detecting(benign, {"impersonation": some_attacks(8)}, {"impersonation": a_table(8, 8, TARGET)}, 0.5)
    assert {row["tpr_dodging"] for row in rows} == {None}
