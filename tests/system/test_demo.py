"""`taintwatch demo` as a process: it succeeds where the attack is seen in time, and only there."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import pytest

from taintwatch_models.bundled import bundled_path
from taintwatch_models.detection.reference import read_reference, write_reference
from tests.system.program import ENVIRONMENT, PROGRAM

PATIENCE_S = 300.0  # only so that a hanging program fails a test instead of the whole run

pytestmark = pytest.mark.timeout(2 * PATIENCE_S)


def demo(*arguments: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(PROGRAM), "demo", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
        cwd=cwd,
        env=ENVIRONMENT,
    )


def summary_of(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    (line,) = done.stdout.splitlines()
    summary: dict[str, Any] = json.loads(line)
    return summary


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, subprocess.CompletedProcess[str]]:
    """One run of the demo as a newcomer starts it, in an empty folder."""
    folder = tmp_path_factory.mktemp("newcomer")
    return folder, demo("--json", "--seconds", "10", cwd=folder)


def test_every_attack_is_alerted_within_ten_frames_and_cleared_after_it_left(
    shown: tuple[Path, subprocess.CompletedProcess[str]],
) -> None:
    done = shown[1]
    assert done.returncode == 0, done.stdout + done.stderr
    summary = summary_of(done)
    assert (summary["kind"], summary["ok"], summary["problems"], summary["stray_alerts"]) == ("demo", True, [], [])
    assert [act["attack"] for act in summary["acts"]] == ["on-sign", "beside"]
    for act in summary["acts"]:
        assert 0 <= act["delay"] < 10
        assert act["raised"] == act["entered"] + act["delay"]
        assert act["cleared"] >= act["left"]
        assert act["fooled"] >= 0.8
    assert (summary["run"]["frames"], summary["run"]["drops"], summary["run"]["rejected"]) == (150, 0, 0)
    assert summary["received"].count("raised") == summary["received"].count("cleared") == 2


def test_it_leaves_a_contact_sheet_annotated_frames_the_summary_and_the_daemons_evidence(
    shown: tuple[Path, subprocess.CompletedProcess[str]],
) -> None:
    folder, done = shown
    summary = summary_of(done)
    out = folder / "demo-evidence"
    sheet = cv2.imread(str(out / "contact-sheet.png"))
    assert sheet is not None
    assert sheet.shape[1] > 1200
    frames = sorted(path.name for path in (out / "frames").iterdir())
    assert len(frames) == 8
    for act in summary["acts"]:
        assert f"{act['attack']}-3-frame-{act['raised']:04}.jpg" in frames
    assert {folder / path for path in summary["pictures"]} == {
        out / "contact-sheet.png",
        *((out / "frames" / name) for name in frames),
    }
    assert json.loads((out / "summary.json").read_text())["acts"] == summary["acts"]
    listed = subprocess.run(
        [str(PROGRAM), "alerts", "list", "--folder", str(out / "evidence"), "--json"],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
        env=ENVIRONMENT,
    )
    assert listed.returncode == 0, listed.stderr
    assert len(listed.stdout.splitlines()) == 2


def test_in_the_street_the_patched_sign_alone_is_alerted_on(tmp_path: Path) -> None:
    done = demo("--scene", "street", "--json", "--seconds", "5", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    summary = summary_of(done)
    (act,) = summary["acts"]
    assert act["fooled"] >= 0.8
    assert 0 <= act["delay"] < 10
    assert act["cleared"] >= act["left"]
    assert [(each["sign"], each["patched"], each["alerts"]) for each in summary["signs"]] == [
        ("speed limit 30 km/h", False, 0),
        ("stop", True, 1),
        ("no entry", False, 0),
    ]
    assert all(each["found"] >= 0.9 for each in summary["signs"])
    assert all(each["right"] == 1 for each in summary["signs"] if not each["patched"])
    sheet = cv2.imread(str(tmp_path / "demo-evidence" / "contact-sheet.png"))
    assert sheet is not None
    assert len(summary["pictures"]) == 5


def test_it_fails_when_the_attack_is_left_out(tmp_path: Path) -> None:
    done = demo("--json", "--seconds", "10", "--attack", "none", "--no-pictures", cwd=tmp_path)
    assert done.returncode == 1
    summary = summary_of(done)
    assert summary["ok"] is False
    assert summary["problems"] == ["on-sign: the patch never came", "beside: the patch never came"]
    assert summary["received"] == []
    assert not (tmp_path / "demo-evidence" / "frames").exists()


def test_a_reference_whose_threshold_can_never_be_reached_is_refused(tmp_path: Path) -> None:
    reference = read_reference(bundled_path("signs.reference.npz"))
    points = tuple(replace(point, threshold=130.0) for point in reference.points)
    write_reference(replace(reference, points=points), tmp_path / "deaf.npz")
    done = demo("--json", "--seconds", "10", "--reference", "deaf.npz", "--no-pictures", cwd=tmp_path)
    assert done.returncode == 78
    assert "'combined' is blind" in done.stderr
    assert not done.stdout


def test_for_people_it_names_what_happens_and_where_the_pictures_are_and_needs_no_torch(tmp_path: Path) -> None:
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "from taintwatch.cli.main import main\n"
        "assert main(['demo', '--seconds', '5', '--attack', 'on-sign']) == 0\n"
        "assert 'onnxruntime' in sys.modules"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
        cwd=tmp_path,
        env=ENVIRONMENT,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 of 1: a patch stuck on the sign" in done.stdout
    assert "RAISED" in done.stdout
    assert "CLEARED" in done.stdout
    assert "pictures: demo-evidence/contact-sheet.png" in done.stdout


def test_before_a_camera_it_asks_for_the_card_and_the_patch_and_succeeds(tmp_path: Path) -> None:
    # The scene plays the part of a webcam and of whoever holds the card.
    scene = "sim:?attack=on-sign&duration=14&pace=0"
    done = demo("--camera", scene, "--no-pictures", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    said = " ".join(done.stdout.split())
    asked = ["hold the card 'stop'", "keep it there", "now add a patch stuck on the sign", "take the patch away"]
    places = [said.index(words) for words in asked]
    assert places == sorted(places)


def test_without_a_camera_it_says_so_and_what_to_do_instead(tmp_path: Path) -> None:
    done = demo("--camera", "/dev/video-none", cwd=tmp_path)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert "there is no camera /dev/video-none" in line
    assert "`taintwatch demo` without --camera" in line


@pytest.mark.skipif(Path("/dev/video0").exists(), reason="there is a webcam here")
def test_a_run_without_arguments_and_without_a_camera_offers_the_simulator(tmp_path: Path) -> None:
    done = subprocess.run(
        [str(PROGRAM), "run"], capture_output=True, text=True, timeout=PATIENCE_S, check=False, env=ENVIRONMENT
    )
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert "there is no camera /dev/video0" in line
    assert "`taintwatch run --source sim:`" in line


def test_sim_alone_plays_the_same_scene_to_a_run() -> None:
    source = "sim:?attack=on-sign&duration=5&pace=0"
    done = subprocess.run(
        [str(PROGRAM), "run", "--source", source, "--json", "--no-publish"],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
        env=ENVIRONMENT,
    )
    assert done.returncode == 0, done.stderr
    records = [json.loads(line) for line in done.stdout.splitlines()]
    states = [record["state"] for record in records if record["kind"] == "alert"]
    assert (states[0], states[-1]) == ("raised", "cleared")
    assert records[-1]["frames"] == 75


def test_an_out_that_is_a_file_is_refused_in_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = demo("--out", "file/below", cwd=tmp_path)
    assert done.returncode == 2
    assert "file/below cannot be made" in done.stderr
