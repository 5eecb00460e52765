"""Footage as recorders write it, watched by the real program: whatever lies in it, the attack is alerted of."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from taintwatch.cli.main import cli
from tests.clips import attack_clip, remuxed

pytestmark = pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="needs ffmpeg")


def watched(*arguments: object) -> dict[str, Any]:
    """Run `taintwatch run` to its end and return the summary, with what was said beside it as `said`."""
    words = ["run", "--no-publish", "--threads", "1", "--quiet", "--json", *map(str, arguments)]
    done = CliRunner().invoke(cli, words, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    return {**lines[-1], "said": done.output}


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clips")
    attack_clip(folder / "attack.ts")
    attack_clip(folder / "benign.ts", attack="none")
    remuxed(folder / "attack.ts", folder / "attack.mp4", "-c:v", "libx264", "-preset", "veryfast", "-bf", "4",
            "-b_strategy", "0", "-x264-params", "b-pyramid=normal:keyint=30", "-crf", "18")  # fmt: skip
    return folder


@pytest.mark.parametrize("limit", [(), ("--fps", 5)])
def test_an_attack_in_a_recording_whose_time_starts_again_is_alerted_of(clips: Path, limit: tuple[object, ...]) -> None:
    joined = clips / "joined.ts"
    joined.write_bytes((clips / "benign.ts").read_bytes() + (clips / "attack.ts").read_bytes())
    summary = watched("--source", joined, *limit)
    assert summary["alerts"] == 1
    assert summary["frames"] + summary["skipped"] == 200
    assert (summary["skipped"] == 0) == (limit == ())


def test_a_recording_with_decode_times_for_display_times_is_alerted_of_like_any_other(clips: Path) -> None:
    avi = clips / "attack.avi"
    subprocess.run(
        ["ffmpeg", "-v", "error", "-y", "-fflags", "+genpts", "-i", clips / "attack.mp4", "-c", "copy", avi], check=True
    )
    strict = ("--vote-k", 4, "--vote-n", 6)
    summaries = [watched("--source", path, *strict) for path in (clips / "attack.mp4", avi)]
    assert [summary["alerts"] for summary in summaries] == [1, 1]
    assert [summary["frames"] for summary in summaries] == [100, 100]
    assert "cut short" not in summaries[1]["said"]


def test_a_folder_of_recordings_with_a_thumbnail_is_watched_as_recordings(clips: Path, tmp_path: Path) -> None:
    shutil.copy(clips / "attack.mp4", tmp_path / "10-00.mp4")
    subprocess.run(
        ["ffmpeg", "-v", "error", "-i", clips / "attack.mp4", "-frames:v", "1", tmp_path / "10-00.jpg"], check=True
    )
    summary = watched("--source", tmp_path)
    assert (summary["frames"], summary["alerts"]) == (100, 1)
    assert "1 image (.jpg; 10-00.jpg the first) left out" in summary["said"]


def test_a_name_with_colons_is_a_file_and_no_address(clips: Path, tmp_path: Path) -> None:
    for name in ("10:05:00.mp4", "http:x.mp4", "tcp:1.ts"):
        source = clips / ("attack.ts" if name.endswith("ts") else "attack.mp4")
        shutil.copy(source, tmp_path / name)
        assert watched("--source", tmp_path / name)["alerts"] == 1
