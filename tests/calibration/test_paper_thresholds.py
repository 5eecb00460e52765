"""K and dR are chosen from the whole surface of benign rates, and every K's ranks are those that the detector gives."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from taintwatch_calibration.paper_thresholds import choose_paper, knee_of, ranks_of_pixels
from taintwatch_models.calibration_file import Calibration, PaperCalibration
from taintwatch_models.loading import load_radar_file
from taintwatch_models.model_files import ModelSettings
from taintwatch_models.onnx_radar import OnnxRadar
from taintwatch_models.onnx_session import SessionSettings
from tests.tiny_model import write_model

MEASURED = (0.83, 0.57, 0.39, 0.31, 0.24, 0.18, 0.13, 0.10, 0.09, 0.09, 0.09, 0.08, 0.08, 0.07, 0.06, 0.06, 0.03, 0.04,
            0.04, 0.02)  # fmt: skip
"""Share of 90 benign photographs whose rank changes on MobileNetV2, K = 1 to 20."""


def test_k_max_is_where_the_benign_rate_is_near_its_minimum() -> None:
    assert knee_of(dict(enumerate(MEASURED, 1))) == 7
    assert knee_of({1: 1.0, 2: 0.0, 3: 0.0, 4: 0.0}) == 2
    assert knee_of({1: 0.0, 2: 0.0}) == 1  # a curve that does not fall
    assert knee_of({5: 0.4}) == 5


@given(st.integers(1, 6), st.floats(0.01, 0.5), st.data())
def test_the_smallest_rank_change_within_the_rate_and_up_to_k_max_is_chosen(
    most: int, target_fpr: float, data: st.DataObject
) -> None:
    draw = st.lists(st.integers(0, 12), min_size=20, max_size=20)
    ranks = {count: np.array(data.draw(draw)) for count in range(1, most + 1)}
    surface = choose_paper(ranks, target_fpr, PaperCalibration())
    chosen = surface.chosen
    assert chosen.labels <= surface.k_max
    assert surface.rate(chosen.labels, chosen.rank_change) <= target_fpr
    within = [
        (change, count)
        for count in range(1, surface.k_max + 1)
        for change in range(13)
        if surface.rate(count, change) <= target_fpr
    ]
    assert (chosen.rank_change, chosen.labels) == min(within)


def test_the_k_that_a_rate_takes_falls_as_the_rank_change_grows() -> None:
    ranks = {1: np.array([9, 9, 9, 0]), 2: np.array([5, 5, 0, 0]), 3: np.array([1, 0, 0, 0])}
    surface = choose_paper(ranks, 0.25, PaperCalibration())
    assert [surface.labels_needed(change, 0.25) for change in (0, 4, 5, 9)] == [3, 3, 2, 1]
    assert surface.labels_needed(0, 0.1) is None


@pytest.mark.parametrize("fill", ["noise", "average", "blur", "inpaint"])
def test_the_ranks_of_all_k_are_those_of_the_detector_run_once_for_each(tmp_path: Path, fill: str) -> None:
    radar = load_radar_file(ModelSettings(path=str(write_model(tmp_path / "m.onnx"))))
    height, width = radar.info.preprocessing.size
    pixels = np.random.default_rng(3).integers(0, 256, (24, height, width, 3), dtype=np.uint8)
    settings = PaperCalibration(fill=fill)
    ranks = ranks_of_pixels(radar, pixels, settings, (1, 2, 3, 20), threads=1)
    assert set(ranks) == {1, 2, 3}  # no more K than classes
    run = OnnxRadar(radar, ("paper",), Calibration(paper=settings), SessionSettings(threads=1))
    inputs = radar.info.preprocessing.normalise(pixels)
    for count, found in ranks.items():
        expected = run(inputs, paper_labels=np.array([count], np.int64))["paper_rank"]
        assert np.array_equal(found, expected)
