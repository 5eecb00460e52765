"""The fleet's benchmark: its attacks do not overlap, and each is counted as what it was."""

from __future__ import annotations

from itertools import pairwise

import pytest

from benchmarks.fleet.cameras import Attack, schedule_attacks
from benchmarks.fleet.score import score
from taintwatch.evidence.reader import StoredAlert


def an_alert(number: int, camera: str, raised_s: float, state: str = "cleared") -> StoredAlert:
    raised_ns = round(raised_s * 1e9)
    return StoredAlert(f"e{number}", "group", "bench", camera, state, raised_ns, raised_ns, "toaster", 1.0, 2, 100)


def test_attacks_on_a_camera_are_apart_and_within_the_time() -> None:
    cameras = [f"c{number}" for number in range(20)]
    attacks = schedule_attacks(cameras, 100.0, 300.0, 3, 30.0, 25.0)
    assert len(attacks) == 60
    for camera in cameras:
        own = [attack for attack in attacks if attack.camera == camera]
        assert own[0].start_s >= 100.0
        assert own[-1].end_s <= 300.0
        assert all(after.start_s - before.end_s >= 25.0 for before, after in pairwise(own))
    assert len({attack.start_s for attack in attacks}) == 60  # not all at once
    with pytest.raises(ValueError, match="need more than 200 s"):
        schedule_attacks(cameras, 100.0, 300.0, 4, 30.0, 25.0)


def test_an_attack_counts_once_however_often_it_was_cut_and_never_twice() -> None:
    attacks = [Attack(f"c{number}", 100.0, 130.0) for number in range(6)]
    found = score(
        attacks,
        [
            an_alert(0, "c0", 105.0),
            an_alert(1, "c1", 105.0, "interrupted"),  # its machine was lost ...
            an_alert(2, "c1", 120.0),  # ... and another one raised it anew
            an_alert(3, "c2", 128.0, "interrupted"),  # it was over before its camera was back
            an_alert(4, "c3", 105.0),
            an_alert(5, "c3", 115.0),  # twice
            an_alert(6, "c4", 300.0),  # at no attack's time
        ],
    )
    assert (found.attacks, found.recorded_once, found.continued, found.cut_short) == (6, 3, 1, 1)
    assert found.missed == ("c4 at 100", "c5 at 100")
    assert found.twice == ("c3 at 100",)
    assert found.unexplained == ("e6",)
