"""How the search for the most cameras goes, and what is read off its runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks import scale
from taintwatch_models.errors import UsageError


def a_run(cameras: int, fps: float, *, holds: int) -> dict[str, Any]:
    """A run that keeps up with `holds` cameras; 250 MB and 12 for each."""
    return {
        "cameras": cameras,
        "fps_each": fps,
        "seconds": 10.0,
        "delay_ms": {"p99": 20.0 if cameras <= holds else 400.0},
        "dropped_share": 0.0,
        "frames_per_second": cameras * fps,
        "resident_mb": [0.0, 0.0, 250.0 + 12.0 * cameras],
    }


@pytest.mark.parametrize("holds", [0, 1, 5, 13, 64])
def test_the_search_ends_near_the_most_cameras_that_keep_up(holds: int, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    def run(options: Any, video: Path, cameras: int, fps: float, seconds: float) -> dict[str, Any]:
        asked.append(cameras)
        return a_run(cameras, fps, holds=holds)

    monkeypatch.setattr(scale, "_in_a_process", run)
    rows = scale.curve(scale._options(["--fps", "5"]), Path("none.mp4"))
    found = scale.largest(rows)["5"]
    assert found <= holds <= found + max(1, found // 3)
    assert len(asked) <= 12


def test_a_run_that_judged_too_little_does_not_keep_up() -> None:
    row = a_run(2, 10.0, holds=8)
    assert scale.keeps_up(row)
    assert not scale.keeps_up({**row, "frames_per_second": 15.0})
    assert not scale.keeps_up({**row, "dropped_share": 0.02})


def test_memory_per_camera_is_the_slope_of_the_runs() -> None:
    found = scale.memory_per_camera([a_run(cameras, 5.0, holds=64) for cameras in (1, 2, 4, 8)])
    assert found is not None
    assert found["mb"] == pytest.approx(12.0)
    assert scale.memory_per_camera([a_run(1, 5.0, holds=64)]) is None


def test_the_growth_of_memory_has_an_interval_that_holds_the_truth() -> None:
    seconds = np.arange(900)
    samples = 300 + 2.0 * seconds / 3600 + np.random.default_rng(0).normal(0, 0.3, 900)
    found = scale.growth(samples.tolist())
    assert found["low"] <= 2.0 <= found["high"]
    assert found["mb_a_day"] == pytest.approx(24 * found["mb_an_hour"], abs=0.1)


def test_a_soak_that_is_too_short_is_refused() -> None:
    with pytest.raises(UsageError, match="at least two minutes"):
        scale.growth([300.0] * 40)
