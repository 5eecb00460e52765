"""The demo's pictures show what they say: the region, the patch, the alert, and the whole story on one sheet."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from taintwatch.demo.annotation import AMBER, GREEN, RED, GroundTruth, annotate, text_width
from taintwatch.demo.contact_sheet import Panel, Row, contact_sheet
from taintwatch.demo.frame_record import FrameHistory, FrameRecord, ScoreReading
from taintwatch.demo.verdict import ActResult
from taintwatch.evidence.media import encode_jpeg
from taintwatch_models.records import Region

GREY = np.full((240, 320, 3), 128, np.uint8)
SQUARE = Region((100, 80, 60, 60), (((100, 80), (160, 80), (160, 140), (100, 140)),), 0.05)
TRUTH = GroundTruth("stop", 14, True, (200, 100, 50, 50))


def seen(index: int = 0, score: float = 2.0, region: Region | None = SQUARE, raised: bool = True) -> FrameRecord:
    judged = {"tight": ScoreReading(score, 1.0, score > 1.0), "paper": ScoreReading(3.0, 40.0, False)}
    return FrameRecord(index, 8, "speed limit", 0.97, judged, 1.0, raised, region, "stop", encode_jpeg(GREY))


def near(picture: NDArray[np.uint8], colour: tuple[int, int, int], tolerance: int = 40) -> NDArray[np.bool_]:
    return np.asarray((np.abs(picture.astype(int) - colour) < tolerance).all(axis=2))


def test_the_critical_region_is_outlined_in_red_and_the_patch_in_amber() -> None:
    picture = annotate(seen(), TRUTH)
    assert near(picture[105:120, 98:103], RED).any(axis=1).all()
    assert near(picture[98:103, 200:250], AMBER).any()
    benign = annotate(seen(region=None), replace(TRUTH, attacked=False, box=None))
    assert not near(benign[105:120, 98:103], RED).any()
    assert not near(benign[90:160, 190:260], AMBER).any()


def test_the_corner_says_whether_there_is_an_alert() -> None:
    assert near(annotate(seen(raised=True), TRUTH)[2:12, -20:], RED).mean() > 0.5
    assert near(annotate(seen(raised=False), TRUTH)[2:12, -20:], GREEN).mean() > 0.5


@pytest.mark.parametrize(("score", "colour"), [(2.0, RED), (0.5, GREEN), (-3.0, GREEN)])
def test_the_bar_is_red_beyond_the_threshold_and_as_long_as_the_score(
    score: float, colour: tuple[int, int, int]
) -> None:
    footer = annotate(seen(score=score), TRUTH)[240:]
    row = near(footer[40:41, 79 : 79 + 150], colour)
    expected = max(0.0, min(1.0, score / 1.5)) * 150
    assert abs(int(row.sum()) - expected) <= 6


def test_a_frame_gets_a_footer_and_keeps_its_width() -> None:
    assert annotate(seen(), TRUTH).shape == (240 + 66, 320, 3)


def test_the_bar_of_a_score_in_benign_spreads_is_at_two_thirds_where_it_is_zero() -> None:
    assert (
        ScoreReading(0.0, 0.0, False).share
        == pytest.approx(ScoreReading(5.0, 5.0, False).share)
        == pytest.approx(2 / 3)
    )
    assert [ScoreReading(score, 0.0, score > 0).share for score in (-9.0, 9.0)] == [0.0, 1.0]


def test_where_cmag_is_at_work_both_pictures_stand_beside_the_frame() -> None:
    given, rebuilt = (np.full((32, 32, 3), colour, np.uint8) for colour in ((250, 10, 10), (10, 250, 250)))
    for score, colour, other in ((0.4, RED, GREEN), (-0.4, GREEN, RED)):
        judged = {"tight": ScoreReading(2.0, 1.0, True), "cmag": ScoreReading(score, 0.0, score > 0)}
        picture = annotate(replace(seen(), readings=judged, given=given, rebuilt=rebuilt), TRUTH)
        assert picture.shape == (240 + 66, 320 + 88, 3)
        column = picture[:, 320:]
        assert near(column, (250, 10, 10)).sum() == pytest.approx(72 * 72, abs=10)
        assert near(column, (10, 250, 250)).sum() == pytest.approx(72 * 72, abs=10)
        assert near(column, colour).any()
        assert not near(column, other).any()
        assert (picture[:, :320] == annotate(replace(seen(), readings=judged), TRUTH)).all()


def test_the_sheet_has_a_row_for_each_attack_and_marks_patch_and_alert_on_the_strip() -> None:
    frames = [seen(index, score=2.0 if 10 <= index < 20 else 0.2) for index in range(30)]
    result = ActResult("on-sign", 10, 20, 1.0, 12, 24, 2, ())
    panels = [Panel(f"{number} words", frames[index], TRUTH) for number, index in enumerate((5, 10, 12, 24), 1)]
    row = Row("a patch", panels, frames, result, "tight")
    one, two = contact_sheet("title", "sub", [row]), contact_sheet("title", "sub", [row, row])
    assert one.shape[1] == two.shape[1] == 4 * 392 + 5 * 12
    assert two.shape[0] - one.shape[0] == one.shape[0] - 78
    strip = one[-160:]
    left, right = 16, one.shape[1] - 16

    def columns(colour: tuple[int, int, int]) -> tuple[float, float]:
        found = np.nonzero(near(strip[-60:], colour, 2).sum(axis=0) > 8)[0]
        return (found[0] - left) / (right - left) * 29, (found[-1] - left) / (right - left) * 29

    assert columns(RED) == pytest.approx((12, 24), abs=0.3)
    assert columns((205, 240, 255)) == pytest.approx((10, 20), abs=0.3)


def test_longer_words_need_more_room() -> None:
    assert text_width("alert", 12) < text_width("an alert", 12) < text_width("an alert", 24)


def test_the_reel_gives_the_frame_nearest_to_one_that_was_dropped() -> None:
    reel = FrameHistory()
    for index in (0, 3, 9):
        reel.add(seen(index))
    assert [reel.nearest(index).index for index in (0, 4, 7, 50)] == [0, 3, 9, 9]
    assert reel.last is not None
    assert reel.last.index == 9
