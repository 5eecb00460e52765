"""Trials end to end: print, rasterise, simulate, score, in real processes; and bad input."""

from __future__ import annotations

import csv
import io
import json
import re
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from click.testing import CliRunner, Result

from taintwatch_calibration.camera_model.video_recorder import recording
from taintwatch_calibration.cli_trial import trial_group
from taintwatch_calibration.printing.sheet_metadata import read_sheet
from taintwatch_calibration.trial.clips import ClipMetadata, find_videos, read_clip, read_poses, write_clip_metadata
from taintwatch_calibration.trial.matrix import Matrix
from taintwatch_calibration.trial.scored import ScoredClip, read_trial
from taintwatch_calibration.trial.simulate import SimulationSettings, misfit
from taintwatch_models.errors import TaintwatchError, UsageError
from tests.sheets import needs_pdftoppm
from tests.trial_scene import bundled_placement, print_sheet

pytestmark = needs_pdftoppm
PLACED = bundled_placement("on-sign")
NEAR = f"{100 * PLACED.distance_m:.0f}cm"
AT = f"{PLACED.at[0]:.3f},{PLACED.at[1]:.3f}"
CELLS = ("--distances", PLACED.distance_m, "--angles", "0,25", "--lights", "office")
PLACE = (*CELLS, "--seconds", "0.4", "--lead", "0.4")


def run(*arguments: object) -> str:
    return _invoked(*arguments).output


def printed(*arguments: object) -> str:
    """Run a command; return what a pipe behind it would get."""
    return _invoked(*arguments).stdout


def _invoked(*arguments: object) -> Result:
    return CliRunner().invoke(
        trial_group, [str(argument) for argument in arguments], catch_exceptions=False, standalone_mode=False
    )


@pytest.fixture(scope="module")
def sheets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sheets")
    print_sheet(folder / "sign.pdf", "board", "--sign", PLACED.sign)
    print_sheet(folder / "attack.pdf", "patch", "on-sign", "--size-mm", PLACED.size_mm)
    print_sheet(folder / "control.pdf", "control", "on-sign", "--size-mm", PLACED.size_mm)
    return folder


@pytest.fixture(scope="module")
def clips(sheets: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("trial") / "clips"
    pieces = ("--attack", sheets / "attack.pdf", "--control", sheets / "control.pdf", "--at", AT)
    told = run("simulate", "--sheet", sheets / "sign.pdf", *pieces, *PLACE, "--workers", 1, "--out", out)
    assert "6 clips of 2 places" in told
    return out


@pytest.fixture(scope="module")
def scored(clips: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("scored")
    assert "6 clips" in run("score", clips, "--out", out, "--workers", 2)
    return out


def by_condition(folder: Path, condition: str) -> list[ScoredClip]:
    return [clip for clip in read_trial(folder).clips if clip.info.condition == condition]


def test_each_clip_says_what_it_is_and_where_it_was_recorded(clips: Path) -> None:
    videos = find_videos((clips,))
    assert len(videos) == 6
    info = read_clip(clips / f"attack-office-{NEAR}-0deg.mp4")
    assert info is not None
    assert (info.condition, info.truth, info.attack_from_s, info.fov_deg) == ("attack", PLACED.sign, 0.4, 55.0)
    assert info.markers_mm is not None
    assert len(read_poses(clips / f"attack-office-{NEAR}-25deg.truth.csv")) == 12


def test_the_poses_that_are_scored_are_the_true_ones(clips: Path, scored: Path) -> None:
    for clip in read_trial(scored).clips:
        truth = read_poses(Path(clip.video).with_suffix(".truth.csv"))
        assert clip.poses_from == "markers"
        for index, distance in enumerate(clip.distance_m):
            assert distance == pytest.approx(truth[index].pose.distance_m, rel=0.03)
            assert clip.angle_deg[index] == pytest.approx(truth[index].pose.angle_deg, abs=4)


def test_the_object_is_recognised_until_the_attack_comes_and_the_control_changes_nothing(scored: Path) -> None:
    straight = next(c for c in by_condition(scored, "attack") if c.info.cell and c.info.cell.angle_deg == 0)
    assert straight.attacked == [False] * 6 + [True] * 6
    assert straight.right[:6] == [True] * 6
    assert straight.right[6:].count(False) >= 4
    for condition in ("control", "clean"):
        assert all(right for clip in by_condition(scored, condition) for right in clip.right)


def test_scores_hold_both_detectors_the_vote_and_pictures(scored: Path) -> None:
    trial = read_trial(scored)
    assert trial.detectors == ("tight", "paper")
    assert len(str(trial.settings["model_sha256"])) == 64
    for clip in trial.clips:
        assert {len(values) for values in clip.scores.values()} == {len(clip.time_s)} == {len(clip.raised)}
        assert all(picture.startswith("data:image/jpeg;base64,") for _, picture in clip.examples)
        assert clip.examples


def test_what_is_there_is_neither_recorded_nor_scored_again(sheets: Path, clips: Path, scored: Path) -> None:
    before = {path.name: path.stat().st_mtime_ns for path in clips.iterdir()}
    done = {path.name: path.stat().st_mtime_ns for path in (scored / ".done").iterdir()}
    (clips / f"clean-office-{NEAR}-0deg.json").unlink()  # a clip whose making was interrupted
    pieces = ("--attack", sheets / "attack.pdf", "--control", sheets / "control.pdf", "--at", AT)
    run("simulate", "--sheet", sheets / "sign.pdf", *pieces, *PLACE, "--workers", 1, "--out", clips)
    run("score", clips, "--out", scored, "--workers", 1)
    after = {path.name: path.stat().st_mtime_ns for path in clips.iterdir()}
    again = {path.name: path.stat().st_mtime_ns for path in (scored / ".done").iterdir()}
    assert {name for name in before if before[name] != after[name]} == {
        f"clean-office-{NEAR}-0deg{suffix}" for suffix in (".mp4", ".json", ".truth.csv")
    }
    assert sum(done[name] != again[name] for name in done) == 1


def test_a_report_is_made_of_it(scored: Path, tmp_path: Path) -> None:
    run("report", scored, "--title", "Loop", "--out", tmp_path)
    told = json.loads((tmp_path / "report.json").read_text())
    assert told["figures"]["recognised"]["total"] == 24
    assert (tmp_path / "report.html").read_text().count("data:image/jpeg") == 6


def test_videos_of_ones_own_are_scored_with_a_csv(clips: Path, tmp_path: Path) -> None:
    shutil.copy(clips / f"control-office-{NEAR}-0deg.mp4", tmp_path / "mine.mp4")
    poses = tmp_path / "poses.csv"
    poses.write_text("video,from_s,to_s,distance_m,angle_deg\nmine.mp4,0,0.2,0.5,10\nmine.mp4,0.2,9,0.6,20\n")
    mine = ("--condition", "clean", "--truth", PLACED.sign, "--poses", poses, "--workers", 1)
    told = printed("score", tmp_path / "mine.mp4", *mine, "--out", tmp_path / "t", "--csv")
    rows = {row["rate"]: row for row in csv.DictReader(io.StringIO(told))}
    assert rows["recognised when clean"] | {"low": "", "high": ""} == {
        "rate": "recognised when clean", "count": "6", "total": "6", "share": "1.0", "low": "", "high": "",
    }  # fmt: skip
    assert rows["attack succeeds"]["share"] == ""  # there was none
    (clip,) = read_trial(tmp_path / "t").clips
    assert clip.poses_from == "csv"
    assert sorted(set(clip.distance_m), key=str) == [0.5, 0.6]
    assert all(clip.right)


def test_videos_of_ones_own_are_scored_with_their_sheet(sheets: Path, clips: Path, tmp_path: Path) -> None:
    shutil.copy(clips / f"clean-office-{NEAR}-25deg.mp4", tmp_path / "mine.mp4")
    sheet = ("--condition", "clean", "--sheet", sheets / "sign.pdf", "--fov", 55, "--workers", 1)
    told = printed("score", tmp_path / "mine.mp4", *sheet, "--out", tmp_path / "t", "--json")
    assert json.loads(told)["recognised when clean"]["share"] == 1.0
    (clip,) = read_trial(tmp_path / "t").clips
    assert clip.poses_from == "markers"
    assert clip.distance_m[0] == pytest.approx(PLACED.distance_m, rel=0.05)
    assert all(clip.right)  # the sheet knows that it shows a stop sign


def test_what_the_recipe_says_travels_from_sheet_to_clip(sheets: Path, clips: Path) -> None:
    attack = read_sheet(sheets / "attack.pdf").attack
    assert attack is not None
    assert (attack.kind, attack.target) == ("on-sign", "speed limit 100 km/h")
    for condition in ("attack", "control", "clean"):
        info = read_clip(clips / f"{condition}-office-{NEAR}-0deg.mp4")
        assert info is not None
        assert info.attack == (None if condition == "clean" else attack)
        assert info.target == ("speed limit 100 km/h" if condition == "attack" else None)


def test_a_sheet_too_near_to_show_its_markers_is_warned_of_and_scored_with_the_true_poses(
    sheets: Path, clips: Path, tmp_path: Path
) -> None:
    near = ("--distances", "0.1", "--angles", "0", "--lights", "office", "--seconds", "0.2", "--workers", 1)
    told = run("simulate", "--sheet", sheets / "sign.pdf", *near, "--out", tmp_path / "near")
    assert "warning: at 0.1 m the board of markers" in told
    far = clips / f"clean-office-{NEAR}-0deg.mp4"
    told = run("score", tmp_path / "near", far, "--out", tmp_path / "t", "--workers", 1)
    assert "no marker is seen in clean-office-10cm-0deg.mp4: the true poses beside the clips are taken" in told
    found = {clip.poses_from: clip for clip in read_trial(tmp_path / "t").clips}
    assert set(found) == {"truth", "markers"}
    assert found["truth"].distance_m[0] == pytest.approx(0.1, rel=0.05)


def test_a_clip_without_any_pose_does_not_stop_the_scoring_of_the_others(clips: Path, tmp_path: Path) -> None:
    name = f"clean-office-{NEAR}-0deg"
    for suffix in (".mp4", ".json"):
        shutil.copy(clips / f"{name}{suffix}", tmp_path / f"good{suffix}")
    shutil.copy(clips / f"{name}.json", tmp_path / "blank.json")
    with recording(tmp_path / "blank.mp4") as recorder:
        for index in range(3):
            recorder.add(np.full((480, 640, 3), 90, np.uint8), index / 10)
    told = run("score", tmp_path / "good.mp4", tmp_path / "blank.mp4", "--out", tmp_path / "t", "--workers", 1)
    assert "no pose is known in blank.mp4: their frames count, but at no distance and angle" in told
    assert [clip.poses_from for clip in read_trial(tmp_path / "t").clips] == ["markers", "none"]


def test_stills_to_craft_on_are_taken_before_the_attack_and_with_their_label(clips: Path, tmp_path: Path) -> None:
    told = run("stills", clips, "--every", 2, "--out", tmp_path / "stills")
    rows = (tmp_path / "stills" / "labels.csv").read_text().splitlines()
    assert f"{len(rows) - 1} pictures and labels.csv" in told
    assert len(rows) == 1 + 2 * (3 + 3)  # two clean clips, and what comes before two attacks
    assert all(row.endswith(f",{PLACED.sign}") and not row.startswith("control") for row in rows[1:])
    assert all((tmp_path / "stills" / row.split(",")[0]).is_file() for row in rows[1:])


@pytest.fixture
def grey_video(tmp_path: Path) -> Path:
    path = tmp_path / "grey.mp4"
    with recording(path) as recorder:
        for index in range(3):
            recorder.add(np.full((120, 160, 3), 90, np.uint8), index / 10)
    return path


def test_a_video_that_nobody_said_anything_about_is_refused(grey_video: Path) -> None:
    with pytest.raises(UsageError, match=r"grey\.mp4: nothing says what is in this clip; give --condition"):
        run("score", grey_video, "--out", grey_video.parent / "t")


def test_a_video_without_markers_and_without_csv_is_refused(sheets: Path, grey_video: Path) -> None:
    score = ("score", grey_video, "--condition", "clean", "--workers", 1, "--out", grey_video.parent / "t")
    with pytest.raises(UsageError, match=r"neither markers \(--sheet\) nor a CSV \(--poses\)"):
        run(*score)
    with pytest.raises(UsageError, match=r"markers are in no picture; record them too, or give the poses in a CSV"):
        run(*score, "--sheet", sheets / "sign.pdf")
    other = grey_video.parent / "other.csv"
    other.write_text("video,from_s,to_s,distance_m,angle_deg\nelse.mp4,0,9,1,0\n")
    with pytest.raises(UsageError, match=r"no row of the CSV is about it; check the file names"):
        run(*score, "--poses", other)


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ("", "cannot be read|holds no pose"),
        ("from_s,to_s,distance_m\n0,1,1\n", "line 2: angle_deg is missing"),
        ("from_s,to_s,distance_m,angle_deg\n0,1,near,0\n", "line 2: .* must be numbers"),
        ("from_s,to_s,distance_m,angle_deg\n0,1,1,0\n2,1,1,0\n", "line 3: from_s must be before to_s"),
    ],
)
def test_a_wrong_csv_is_refused_with_its_line(tmp_path: Path, rows: str, words: str) -> None:
    path = tmp_path / "poses.csv"
    path.write_text(rows)
    with pytest.raises(UsageError, match=words):
        read_poses(path)


def test_bad_input_is_said_in_one_sentence(sheets: Path, grey_video: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    out = ("--out", tmp_path / "t")
    chart = print_sheet(tmp_path / "chart.pdf", "chart")
    cases: list[tuple[tuple[object, ...], str]] = [
        (("score", tmp_path / "empty", *out), "empty holds no video"),
        (("score", tmp_path / "gone.mp4", *out), r"gone\.mp4 does not exist"),
        (("score", grey_video, "--condition", "clean", "--truth", "kitten", *out), "no label 'kitten'"),
        (("score", grey_video, "--votes", "many", *out), "--votes has value 'many'"),
        (("score", grey_video, "--condition", "clean", "--sheet", chart, *out), "no markers on this sheet"),
        (("simulate", "--sheet", tmp_path / "gone.pdf", *out), r"gone\.json: not a readable description of a sheet"),
        (("simulate", "--sheet", sheets / "sign.pdf", "--attack", chart, *out), "nothing on this sheet to cut out"),
        (("simulate", "--sheet", sheets / "sign.pdf", "--lights", "moon", *out), "no light 'moon'"),
        (("simulate", "--sheet", sheets / "sign.pdf", "--size", "big", *out), "--size has value 'big'"),
        (("simulate", "--sheet", sheets / "sign.pdf", "--at", "here", *out), "--at has value 'here'"),
        (("simulate", "--sheet", sheets / "sign.pdf", "--profile", "x.json", *out), "x.json: not a readable colour"),
        (("stills", grey_video, *out), "which class it shows is not known"),
        (("report", tmp_path / "empty"), "not a readable file of a trial's scores"),
    ]
    for arguments, words in cases:
        with pytest.raises(TaintwatchError, match=words):
            run(*arguments)


def test_a_damaged_description_of_a_clip_is_refused(grey_video: Path) -> None:
    write_clip_metadata(grey_video, ClipMetadata("clean", 55.0))
    assert read_clip(grey_video) == ClipMetadata("clean", 55.0)
    grey_video.with_suffix(".json").write_text('{"format": "taintwatch-clip/1", "condition": "x", "fov_deg": 5}')
    with pytest.raises(UsageError, match="condition: input should be 'attack', 'control' or 'clean'"):
        read_clip(grey_video)


def test_a_sheet_that_is_the_attack_itself_is_recorded_as_one(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "p.png"), np.full((40, 40, 3), (0, 200, 90), np.uint8))
    sheet = print_sheet(tmp_path / "p.pdf", "patch", tmp_path / "p.png", "--size-mm", 90, "--board")
    one = ("--distances", "0.3", "--angles", "0", "--lights", "plain", "--seconds", "0.2", "--workers", 1)
    run("simulate", "--sheet", sheet, *one, "--truth", "7", "--out", tmp_path / "c")
    info = read_clip(tmp_path / "c" / "attack-plain-30cm-0deg.mp4")
    assert info is not None
    assert (info.truth, info.attack_from_s) == (7, 0.0)


def test_a_board_that_is_cut_off_is_told_with_the_distance_that_it_fits_at(sheets: Path) -> None:
    setting = SimulationSettings(str(sheets / "sign.pdf"))
    told = misfit(setting, Matrix((0.15, 2.0), (0.0,)))
    assert told is not None
    assert told.startswith("at 0.15 m the board of markers")
    (least,) = re.findall(r"it does from ([\d.]+) m on", told)
    assert misfit(setting, Matrix((float(least), 2.0), (0.0,))) is None
