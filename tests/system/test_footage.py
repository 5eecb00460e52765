"""`taintwatch run` on a folder of videos: side by side as one by one, taken up again, a killed worker's too."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.system.program import PROGRAM
from tests.tiny_model import footage, write_model, write_video

ATTACKED = {"a.mp4": range(10, 22), "b.mp4": (), "c.mp4": range(5, 30), "d.mp4": range(12, 24)}
LENGTH = 30
TIMES = ("event_id", "raised_wall_ns", "wall_ns", "captured_ns")  # of the run, not of the footage


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the tiny model, and four videos of which three hold an attack."""
    folder = tmp_path_factory.mktemp("footage")
    write_model(folder / "m.onnx")
    (folder / "videos").mkdir()
    for name, attacked in ATTACKED.items():
        write_video(folder / "videos" / name, footage(LENGTH, attacked))
    return folder


def command(place: Path, *more: str, videos: Path | None = None) -> list[str]:
    watched = str(videos or place / "videos")
    return [str(PROGRAM), "run", "--source", watched, "--model", str(place / "m.onnx"), "--json", "--quiet",
            "--no-publish", "--vote-k", "2", "--vote-n", "4", "--vote-hold", "0", *more]  # fmt: skip


def run(place: Path, *more: str, videos: Path | None = None) -> list[dict[str, Any]]:
    done = subprocess.run(
        command(place, *more, videos=videos), capture_output=True, text=True, check=False, timeout=110
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def alerts(lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{k: v for k, v in line.items() if k not in TIMES} for line in lines if line["kind"] == "alert"]


def test_two_workers_find_what_one_finds_and_the_alerts_stand_where_they_are_in_the_whole(place: Path) -> None:
    one, two = run(place, "--workers", "1"), run(place, "--workers", "2")
    assert alerts(one) == alerts(two)
    raised = [alert for alert in alerts(one) if alert["state"] == "raised"]
    assert [alert["label_name"] for alert in raised] == ["toaster"] * 3
    files = [alert["frame_index"] // LENGTH for alert in raised]
    assert files == [0, 2, 3]
    for alert in raised:
        assert alert["media_s"] == pytest.approx(alert["frame_index"] / 25, abs=0.02)
    assert one[-1]["frames"] == two[-1]["frames"] == 4 * LENGTH
    assert one[-1]["alerts"] == 3
    assert one[-1]["ending"] == "ended"
    cleared = [alert for alert in alerts(one) if alert["state"] == "cleared"]
    assert len(cleared) == 3  # the one that is open at the end of its file too


@pytest.mark.timeout(400)
@pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="Ray is not installed")
def test_a_ray_cluster_finds_what_one_process_finds(place: Path) -> None:
    arguments = command(place, "--engine", "ray", "--workers", "2")
    done = subprocess.run(arguments, capture_output=True, text=True, check=False, timeout=350)
    if "no Ray cluster can be reached or started" in done.stderr:
        pytest.skip("Ray gives a cluster 30 seconds to start, which were not enough here")
    assert done.returncode == 0, done.stderr
    assert alerts([json.loads(line) for line in done.stdout.splitlines()]) == alerts(run(place, "--workers", "1"))


def test_the_file_of_a_killed_worker_is_watched_again(place: Path) -> None:
    expected = alerts(run(place, "--workers", "1"))
    with subprocess.Popen(command(place, "--workers", "2"), stdout=subprocess.PIPE, text=True) as process:
        killed = kill_a_worker(psutil.Process(process.pid))
        out, _ = process.communicate(timeout=110)
    assert killed
    assert process.returncode == 0
    assert alerts([json.loads(line) for line in out.splitlines()]) == expected


def kill_a_worker(parent: psutil.Process) -> bool:
    """Kill the first worker that is seen."""
    give_up = time.monotonic() + 90
    while time.monotonic() < give_up and parent.is_running():
        for child in parent.children():
            with suppress(psutil.NoSuchProcess):  # it ended just now
                if "spawn_main" in " ".join(child.cmdline()):
                    child.kill()
                    return True
        time.sleep(0.01)
    return False


def test_a_run_goes_on_where_an_earlier_one_was_and_not_with_other_settings(place: Path, tmp_path: Path) -> None:
    done = tmp_path / "done"
    first = run(place, "--done", str(done))
    kept = sorted(done.iterdir())
    assert len(kept) == 4
    document = json.loads(kept[1].read_text())
    document["result"]["frames"] = 1000  # what is kept is taken as it is
    kept[1].write_text(json.dumps(document))
    again = run(place, "--done", str(done))
    assert again[-1]["frames"] == 1000 + 3 * LENGTH
    assert alerts(again) == alerts(first)
    other = run(place, "--done", str(done), "--max-batch", "2")
    assert other[-1]["frames"] == 4 * LENGTH


def test_a_broken_video_is_counted_and_the_others_are_watched(place: Path, tmp_path: Path) -> None:
    videos = tmp_path / "videos"
    videos.mkdir()
    for name in ("a.mp4", "c.mp4"):
        (videos / name).write_bytes((place / "videos" / name).read_bytes())
    (videos / "b.mp4").write_bytes(b"not a video")
    lines = run(place, videos=videos)
    assert (lines[-1]["frames"], lines[-1]["bad_frames"], lines[-1]["alerts"]) == (2 * LENGTH, 1, 2)


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        (("--workers", "2", "--source", "a.mp4"), "one folder of at least two videos"),
        (("--workers", "2", "--loop"), "--loop needs all frames in one process"),
        (("--engine", "threads"), "--engine"),
        (("--workers", "-1"), "--workers"),
    ],
)
def test_wrong_use_is_told_in_one_sentence(place: Path, more: tuple[str, ...], sentence: str) -> None:
    done = subprocess.run(
        command(place, *more), capture_output=True, text=True, check=False, timeout=60, cwd=place / "videos"
    )
    assert done.returncode == 2
    assert sentence in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
