"""A trial's figures, worked out by hand on a few frames, and the page that shows them."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from click.testing import CliRunner

from taintwatch.alarm_rates import wilson_interval
from taintwatch.web.trials import Trials
from taintwatch_calibration.printing.sheet_metadata import CraftedAttack
from taintwatch_calibration.trial.charts import heat_map, timeline
from taintwatch_calibration.trial.figures import Rate, figures_of
from taintwatch_calibration.trial.matrix import Cell, Matrix, nearest_cell, numbers
from taintwatch_calibration.trial.report import report, report_html, write_report
from taintwatch_calibration.trial.scored import SCORES, ScoredClip, Trial, read_trial, write_trial
from taintwatch_models.errors import UsageError
from tests.trial_scene import scored_clip

NEAR, FAR = Cell("office", 0.3, 0.0), Cell("office", 0.6, 0.0)


def a_trial(*clips: ScoredClip) -> Trial:
    return Trial(clips, {"tight": 1.0}, {"model": "toy", "calibrated": True})


def four_clips() -> Trial:
    attack = scored_clip(
        "attack", [True, True, False, False, True], [0.0, 0.0, 3.0, 0.5, 2.0], from_s=0.2,
        raised=[False, False, False, True, True], name="a.mp4",
    )  # fmt: skip
    far = scored_clip("attack", [False, False], [0.2, 0.1], cell=FAR, raised=[False, False], name="b.mp4")
    clean = scored_clip("clean", [True, True, False, True], [0.0, 2.0, 0.0, 0.0], raised=[False, True, False, False])
    control = scored_clip("control", [True, False], [0.0, 0.0], cell=FAR, name="c.mp4")
    return a_trial(attack, far, replace(clean, video="d.mp4"), control)


def test_rates_count_the_frames_that_they_are_about() -> None:
    figures = figures_of(four_clips())
    assert (figures.recognised.count, figures.recognised.total) == (5, 6)  # 2 before the attack, 4 clean; no control
    assert (figures.success.count, figures.success.total) == (4, 5)
    assert (figures.detected["tight"].count, figures.detected["tight"].total) == (1, 4)
    assert (figures.false_positives["tight"].count, figures.false_positives["tight"].total) == (1, 8)
    assert (figures.success.low, figures.success.high) == wilson_interval(4, 5)


def test_frames_are_counted_in_the_cell_of_their_own_pose() -> None:
    trial = four_clips()
    moved = replace(trial.clips[0], distance_m=[0.58] * 5)
    by_cell = dict(figures_of(a_trial(moved, *trial.clips[1:])).by_cell["success"])
    assert (by_cell[NEAR].total, by_cell[FAR].total) == (0, 5)
    lost = replace(moved, distance_m=[None] * 5)
    figures = figures_of(a_trial(lost, *trial.clips[1:]))
    assert dict(figures.by_cell["success"])[FAR].total == 2
    assert (figures.poses.count, figures.poses.total) == (8, 13)


def test_the_time_to_the_alarm_runs_from_the_first_fooled_frame() -> None:
    figures = figures_of(four_clips())
    alarms = {alarm.video: alarm for alarm in figures.alarms}
    assert alarms["a.mp4"].alarm_s == pytest.approx(0.1)
    assert alarms["a.mp4"].fooled == pytest.approx(2 / 3, abs=1e-3)
    assert alarms["b.mp4"].alarm_s is None
    assert (figures.alarmed.count, figures.alarmed.total) == (1, 2)
    assert figures.median_alarm_s == pytest.approx(0.1)


def test_an_alarm_that_stood_before_the_attack_is_no_detection() -> None:
    standing = scored_clip(
        "attack", [True, True, False, False], [2.0, 2.0, 2.0, 2.0], from_s=0.2, raised=[False, True, True, True]
    )
    figures = figures_of(a_trial(standing))
    (alarm,) = figures.alarms
    assert (alarm.standing, alarm.raised, alarm.alarm_s) == (True, False, None)
    assert (figures.alarmed.total, figures.standing, figures.median_alarm_s) == (0, 1, None)
    assert figures.false_alarms == 1
    page = report_html(a_trial(standing), "T")
    assert "In 1 clip with a successful attack an alarm stood already" in page
    assert "stood before" in page


def test_the_report_says_what_its_thresholds_and_its_footage_are_worth() -> None:
    trial = four_clips()
    page = report_html(trial, "T")
    assert "The dot is the calibrated threshold" in page
    assert "in 1 s of benign footage; too short for a rate an hour" in page
    page = report_html(replace(trial, settings={**trial.settings, "calibrated": False}), "T")
    assert "The dot is the default (uncalibrated) threshold" in page


def test_the_report_shows_the_way_from_the_recipe_to_the_clips() -> None:
    attack = CraftedAttack("patch", "stop", 0.35, "ab" * 32, "cd" * 32)
    clip = scored_clip("attack", [False], [2.0])
    clips = (replace(clip, info=replace(clip.info, attack=attack)), clip)
    trial = replace(a_trial(*clips), settings={"model": "toy", "model_sha256": "cd" * 32})
    page = report_html(trial, "T")
    assert "35% of the picture" in page
    assert "ab" * 8 in page
    assert "the scored model" in page
    assert "another model (cdcdcdcd)" in report_html(replace(trial, settings={"model_sha256": "00" * 32}), "T")


def test_false_alarms_are_counted_once_and_over_the_benign_time() -> None:
    figures = figures_of(four_clips())
    assert figures.false_alarms == 1
    assert figures.benign_s == pytest.approx(0.1 * (2 + 4 + 2))


def test_a_targeted_attack_succeeds_with_its_label_alone() -> None:
    clip = scored_clip("attack", [False, False, True], [2.0, 2.0, 2.0])
    assert figures_of(a_trial(replace(clip, hit=[True, False, False]))).success.count == 1


def test_the_roc_curve_goes_from_nothing_to_everything_and_has_its_area() -> None:
    attack = scored_clip("attack", [False] * 4, [3.0, 2.0, 1.5, 0.5])
    clean = scored_clip("clean", [True] * 4, [0.0, 0.2, 1.2, 0.1])
    roc = figures_of(a_trial(attack, clean)).rocs[0]
    assert (roc.false_positive[0], roc.true_positive[0]) == (0.0, 0.0)
    assert (roc.false_positive[-1], roc.true_positive[-1]) == (1.0, 1.0)
    assert sorted(roc.true_positive) == roc.true_positive
    assert roc.area == pytest.approx(15 / 16, abs=1e-4)
    assert roc.at == (0.25, 0.75)


def test_a_trial_without_truth_or_attack_has_no_rate_but_a_page() -> None:
    clip = replace(scored_clip("clean", [True], [0.0]), right=[None])
    figures = figures_of(a_trial(clip))
    assert figures.recognised.share is None
    assert figures.rocs[0].area is None
    assert "none" in report_html(a_trial(clip), "empty")
    assert figures_of(a_trial()).success.total == 0


def test_poses_without_a_plan_make_their_own_cells() -> None:
    clip = scored_clip("clean", [True] * 4, [0.0] * 4)
    loose = replace(clip, info=replace(clip.info, cell=None), distance_m=[0.3, 0.3, 1.2, 1.2])
    cells = [cell for cell, rate in figures_of(a_trial(loose)).by_cell["recognised"] if rate.total]
    assert len(cells) == 2
    assert [cell.distance_m for cell in cells] == pytest.approx([0.3, 1.2], rel=0.15)


def test_the_nearest_cell_is_of_the_same_light_and_not_far() -> None:
    cells = Matrix((0.3, 0.6), (0.0, 30.0), ("office", "dim")).cells
    assert len(cells) == 8
    assert nearest_cell(cells, "dim", 0.35, 27.0) == Cell("dim", 0.3, 30.0)
    assert nearest_cell(cells, "dim", 2.0, 0.0) is None
    assert nearest_cell(cells, "dim", 0.3, 15.0) is None
    assert nearest_cell(cells, "street", 0.3, 0.0) is None


@pytest.mark.parametrize(("distances", "angles"), [((), (0.0,)), ((0.0,), (0.0,)), ((0.3,), (89.0,))])
def test_a_matrix_that_cannot_be_recorded_is_refused(distances: tuple[float, ...], angles: tuple[float, ...]) -> None:
    with pytest.raises(UsageError):
        Matrix(distances, angles)
    with pytest.raises(UsageError, match="--x has value 'a,b'"):
        numbers("a,b", "--x")


class Page(HTMLParser):
    """What a browser would fetch, and whether every tag is closed."""

    VOID = frozenset({"meta", "img", "br", "rect", "line", "circle", "polyline", "i"})

    def __init__(self) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self.open: list[str] = []
        self.scripts = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href")]
        self.scripts += tag == "script" or any(name.startswith("on") for name, _ in attrs)
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in self.VOID:
            assert self.open.pop() == tag


def test_the_page_is_whole_holds_no_script_and_fetches_nothing() -> None:
    page = Page()
    page.feed(report_html(four_clips(), "A <b>trial</b> & more"))
    assert page.open == []
    assert page.scripts == 0
    assert page.addresses
    assert all(address.startswith("data:") for address in page.addresses)


def test_what_a_clip_is_called_cannot_become_markup() -> None:
    clip = replace(scored_clip("attack", [False], [2.0]), video='"><script>alert(1)</script>.mp4')
    clip = replace(clip, info=replace(clip.info, cell=None, source="<script>"))
    assert "<script>" not in report_html(a_trial(clip), "<script>")


def test_the_page_says_the_figures(tmp_path: Path) -> None:
    page = write_report(four_clips(), "Lobby, Monday", tmp_path / "lobby").read_text()
    assert re.search(r"<b>80\.0%</b>attack succeeds<small>4 of 5; 37\.6% to 96\.4%", page)
    assert "the model was not calibrated" not in page.lower()
    told = json.loads((tmp_path / "lobby" / "report.json").read_text())
    assert told["title"] == "Lobby, Monday"
    assert told["figures"]["success"]["count"] == 4
    assert told["clips"][0]["sha256"] == "ab" * 32
    assert "data:" not in json.dumps(told)


def test_the_daemons_page_lists_the_report(tmp_path: Path) -> None:
    write_report(four_clips(), "Lobby, Monday", tmp_path / "lobby")
    assert [(trial.name, trial.title) for trial in Trials(tmp_path).all()] == [("lobby", "Lobby, Monday")]


def test_a_heat_map_has_a_cell_for_every_place_and_says_where_nothing_was_seen() -> None:
    rates = [(NEAR, Rate.of([True, False])), (FAR, Rate.of([]))]
    table = heat_map("found", rates, "office")
    assert "50%<small>1/2" in table
    assert table.count("no frame") == 1


def test_a_timeline_shows_the_attack_the_wrong_labels_and_the_alarm() -> None:
    drawn = timeline(four_clips().clips[0], "tight", 1.0)
    assert drawn.count("#f6e3c5") == drawn.count("#b22222") == drawn.count("#333") == 1
    assert drawn.count(",") == 5


def test_scores_are_read_as_they_were_written_and_reported_by_the_command(tmp_path: Path) -> None:
    write_trial(four_clips(), tmp_path / SCORES)
    assert read_trial(tmp_path) == four_clips()
    result = CliRunner().invoke(report, [str(tmp_path), "--title", "T"], catch_exceptions=False)
    assert result.exit_code == 0
    assert "<title>T</title>" in (tmp_path / "report.html").read_text()


@pytest.mark.parametrize(
    ("content", "words"),
    [(None, "not a readable file of a trial's scores"), ("{}", "its format is not"),
     ('{"format": "taintwatch-trial/1", "clips": [{}]}', "clips.0.video: field required")],
)  # fmt: skip
def test_scores_that_are_none_are_refused(tmp_path: Path, content: str | None, words: str) -> None:
    if content is not None:
        (tmp_path / SCORES).write_text(content)
    with pytest.raises(UsageError, match=words):
        read_trial(tmp_path)
