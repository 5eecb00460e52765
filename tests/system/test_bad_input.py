"""Bad input to the whole process: exit statuses, what is printed where, and that a run goes on past bad frames."""

from __future__ import annotations

from pathlib import Path

import cv2
import pytest

from tests.system.program import records, taintwatch
from tests.tiny_model import footage, write_model, write_video


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("model") / "tiny.onnx")


@pytest.mark.parametrize(
    ("arguments", "status"),
    [(("run",), 2), (("run", "--source", "none.mp4"), 2), (("run", "--modle", "x"), 2), (("config", "check", "t"), 78)],
)
def test_an_error_is_one_line_on_standard_error(arguments: tuple[str, ...], status: int, tmp_path: Path) -> None:
    (tmp_path / "t").write_text("devise = 1\n[[camera]]\nname = 'a'\nsource = '0'\n")
    done = taintwatch(*arguments, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (status, "")
    assert done.stderr.startswith("taintwatch: ")
    assert done.stderr.count("\n") == 1


def test_debug_gives_the_traceback_and_the_same_status(tmp_path: Path) -> None:
    done = taintwatch("run", "--config", tmp_path / "none.toml", "--debug")
    assert "Traceback" in done.stderr
    assert done.returncode == 2


def test_an_unreadable_picture_is_counted_and_skipped(model: Path, tmp_path: Path) -> None:
    for index, picture in enumerate(footage(3)):
        cv2.imwrite(str(tmp_path / f"{index}.png"), picture)
    (tmp_path / "1.png").write_bytes(b"\x89PNG no more")
    done = taintwatch("run", "--source", tmp_path, "--model", model, "--json", "--no-publish")
    summary = records(done.stdout)[-1]
    assert (done.returncode, summary["frames"], summary["bad_frames"]) == (0, 2, 1)


def test_a_truncated_video_is_watched_as_far_as_it_goes_and_that_is_said(model: Path, tmp_path: Path) -> None:
    whole = write_video(tmp_path / "whole.avi", footage(50, range(50), (240, 320)))
    cut = tmp_path / "cut.avi"
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    done = taintwatch("run", "--source", cut, "--model", model, "--json", "--no-publish")
    assert 0 < records(done.stdout)[-1]["frames"] < 50
    assert "cut.avi" in done.stderr
    assert "Traceback" not in done.stderr
