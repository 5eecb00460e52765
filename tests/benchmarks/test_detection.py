"""`python -m benchmarks.detection`: what it refuses, what its novelty is, and that its summary is of its cells."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

from benchmarks.detection.__main__ import command
from benchmarks.detection.measure import cached, count
from benchmarks.detection.networks import Network
from benchmarks.detection.novelty import STRENGTHS, degraded, posters, smaller_or_turned
from benchmarks.detection.presentations import FPS, SECONDS, Presentation, Presented
from benchmarks.detection.prints import busy_prints
from benchmarks.detection.scorers import Scorer
from benchmarks.detection.summary import merged_attacks, page, summary_of
from benchmarks.detection.unoptimised import photographs_of_target
from benchmarks.scripts import run_script
from taintwatch_calibration.results import write_json

GREY = np.full((6, 64, 64, 3), 128, np.uint8)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--network", "resnet"), "there is no network 'resnet'; there are mobilenet_v2, efficientnet_lite1, bundled"),
        (("--beside", "none"), "there is no detector 'none' to compare with; there are tight, sentinet"),
        (("--network", "mobilenet_v2"), "is missing: give the measuring data's folder with --data"),
    ],
)
def test_bad_input_is_one_sentence(
    tmp_path: Path, arguments: tuple[str, ...], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_script(command, "detection", ["--data", str(tmp_path), *arguments]) == 2
    assert sentence in capsys.readouterr().err


def test_a_poster_covers_a_part_of_the_picture_and_leaves_the_rest() -> None:
    white = np.full((3, 40, 40, 3), 255, np.uint8)
    shown = posters(GREY, white, np.random.default_rng(0))
    covered = (shown != GREY).any(axis=3).mean(axis=(1, 2))
    assert (covered > 0.02).all()
    assert (covered < 0.6).all()
    assert (posters(GREY, white, np.random.default_rng(0)) == shown).all()


def test_degradation_grows_with_its_strength() -> None:
    ramp = np.tile(np.linspace(30, 220, 64, dtype=np.uint8)[None, None, :, None], (200, 64, 1, 3))
    found = [
        np.abs(degraded(ramp, strength, np.random.default_rng(1)).astype(float) - ramp).mean()
        for strength in STRENGTHS.values()
    ]
    assert found == sorted(found)
    assert found[0] > 0.5


def test_smaller_and_turned_objects_keep_their_size_in_pixels() -> None:
    assert smaller_or_turned(GREY, np.random.default_rng(0)).shape == GREY.shape


def test_busy_prints_are_of_six_kinds_and_no_two_are_alike() -> None:
    photographs = np.random.default_rng(2).integers(0, 256, (3, 40, 40, 3)).astype(np.uint8)
    prints = busy_prints(12, photographs, np.random.default_rng(0))
    assert prints.shape == (12, 128, 128, 3)
    assert len({each.tobytes() for each in prints}) == 12
    assert (prints.std(axis=(1, 2)).max(axis=1) > 25).all()


def test_each_presentation_is_two_seconds_of_a_camera_of_its_own() -> None:
    supply = Presentation(GREY[:2], seed=0)
    first, second = supply.next_batch(16, 0), supply.next_batch(16, 0)
    assert supply.finished
    assert len(first) == round(FPS * SECONDS)
    assert {frame.camera for frame in first}.isdisjoint(frame.camera for frame in second)
    assert first[-1].captured_ns - first[0].captured_ns == round(1e9 * (SECONDS - 1 / FPS))
    assert not np.array_equal(first[0].image, first[1].image)  # noise and motion


def test_an_attack_lasts_where_half_of_its_first_ten_frames_keep_the_label() -> None:
    assert Presented(0, None, (7,) * 5 + (1,) * 15).keeps(7)
    assert not Presented(0, None, (7,) * 4 + (1,) * 6 + (7,) * 10).keeps(7)


def test_counts_come_with_their_exact_interval() -> None:
    found = count(np.arange(100.0), {0.02: 97.5, 0.001: 200.0})
    assert found["0.02"]["count"] == 2
    assert found["0.02"]["interval"] == [pytest.approx(0.00243, abs=1e-5), pytest.approx(0.07038, abs=1e-5)]
    assert found["0.001"] == {"count": 0, "share": 0.0, "interval": [0.0, pytest.approx(0.03622, abs=1e-5)]}


def test_what_was_measured_is_not_measured_again_unless_something_changed(tmp_path: Path) -> None:
    calls: list[int] = []

    def measure() -> dict[str, int]:
        calls.append(1)
        return {"runs": len(calls)}

    path = tmp_path / "cells" / "one.json"
    assert cached(path, ("model", 1), measure) == {"runs": 1}
    assert cached(path, ("model", 1), measure) == {"runs": 1}
    assert cached(path, ("model", 2), measure) == {"runs": 2}
    older: list[str] = []
    assert cached(path, ("model", 3), measure, older) == {"runs": 2}  # as it is, and said
    assert older == ["one"]


class Dark:
    """A network of one rule: what has a dark pixel shows the target."""

    def __init__(self) -> None:
        self.targets, self.test = (1, 0), np.full((4, 64, 64, 3), 200, np.uint8)
        self.site, self.held_out = np.zeros((3, 64, 64, 3), np.uint8), np.full((2, 64, 64, 3), 90, np.uint8)

    def labels_of(self, pictures: np.ndarray) -> np.ndarray:
        return np.asarray(pictures.min(axis=(1, 2, 3)) < 100, np.int64)


def test_photographs_of_the_target_fool_unseen_where_one_of_them_stays_below_the_threshold() -> None:
    class Blackness:
        def score(self, pictures: np.ndarray) -> np.ndarray:
            return np.asarray(200.0 - pictures.min(axis=(1, 2, 3)))

    (row,) = photographs_of_target(cast(Network, Dark()), cast(Scorer, Blackness()), {0.02: 120.0, 0.001: 100.0})
    assert row["attacker"] == "a photograph, the best of 5"
    assert row["0.02"] == {"attempts": 4, "fools": 1.0, "unseen": 1.0}  # the grey ones
    assert row["0.001"] == {"attempts": 4, "fools": 1.0, "unseen": 0.0}


def cell(kind: str, name: str, n: int, two: int, low: int, **more: Any) -> dict[str, Any]:
    rates = {"0.02": (two, [0.0, 0.05]), "0.001": (low, [0.0, 0.01])}
    return {"kind": kind, "name": name, "n": n, **more} | {
        rate: {"count": above, "share": above / n, "interval": interval} for rate, (above, interval) in rates.items()
    }


def document() -> dict[str, Any]:
    def attack(maker: str, patch: str, n: int, two: int) -> dict[str, Any]:
        return cell("attack", patch, n, two, two // 2, maker=maker, size=0.35, attempts=80, successes=n)

    network = {
        "network": "one", "head": "GAP", "accuracy": 0.9, "site": 300, "cells": [
            cell("benign", "held out", 400, 8, 1), cell("novelty", "posters", 80, 2, 1),
            cell("novelty", "degraded, weak", 80, 1, 0), cell("novelty", "degraded, strong", 80, 3, 1),
            cell("novelty", "later: car park", 100, 1, 0, alerts=2, seconds=3600.0),
            attack("adam", "a", 30, 30), attack("adam", "b", 10, 2),
            attack("ours", "c", 40, 40), attack("art", "d", 5, 0),
        ],
        "presentations": {"shown": 50, "alerts": 1, "with_a_suspicious_frame": 2, "attacked": 8,
                          "faded": 2, "alert_after": [3, 3, 3, 4, 4, 5, 12]},
        "adaptive": [{"attacker": "all", "0.02": {"attempts": 40, "fools": 0.5, "unseen": 0.2},
                      "0.001": {"attempts": 40, "fools": 0.5, "unseen": 0.3}},
                     {"attacker": "a photograph", "optimised": False,
                      "0.02": {"attempts": 40, "fools": 0.6, "unseen": 0.6},
                      "0.001": {"attempts": 40, "fools": 0.6, "unseen": 0.6}}],
    }  # fmt: skip
    result: dict[str, Any] = {"networks": [network], "attacks": merged_attacks([network])}
    result |= {"date": "d", "processor": "p"}
    return {"summary": summary_of(result), **result}


def test_the_summary_is_computed_from_the_cells() -> None:
    summary = document()["summary"]
    assert summary["tpr_worst_cell"] == 32 / 40  # both patches of a maker; cells of five successes do not count
    assert summary["tpr_worst_cell_is"] == "one, adam, 0.35"
    assert summary["tpr_by_maker"] == {"adam": 0.8, "ours": 1.0}
    assert summary["tpr_at_0.1_percent"] == pytest.approx((15 + 1 + 20) / 80)
    assert (summary["models"], summary["fpr_ok"]) == (1, 1)
    assert summary["novelty"]["degraded"] == pytest.approx(1 / 160, abs=1e-5)
    assert summary["novelty"]["later_footage"] == 0
    assert summary["presentations"] == {"shown": 50, "alerts": 1}
    assert summary["adaptive_worst_unseen"] == 0.2
    assert summary["time_to_alert"] == {
        "attacked": 8, "faded": 2, "alerted": 7, "median_frames": 4, "within_10_frames": 0.75,
    }  # fmt: skip
    rate, low, high = summary["footage_alerts"]["a_camera_day_and_its_interval"]
    assert (rate, low, high) == (48.0, pytest.approx(5.8, abs=0.1), pytest.approx(173.4, abs=0.1))  # Garwood, of 2


def test_the_page_names_the_worst_cell_and_every_part() -> None:
    text = page(document(), "python -m benchmarks.detection --data D")
    assert "| worst cell at 2% | 80.0% (one, adam, 0.35) | 90% |" in text
    for heading in ("Attacks seen", "False alarms", "Novelty", "Presentations", "Attackers who know everything"):
        assert f"## {heading}" in text


def test_a_json_document_has_a_line_for_each_cell(tmp_path: Path) -> None:
    path = tmp_path / "found.json"
    write_json(path, {"cells": [{"network": f"network {row}", "share": row / 7} for row in range(9)]})
    assert len(path.read_text().splitlines()) == 13
