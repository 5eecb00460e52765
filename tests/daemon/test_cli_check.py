"""`taintwatch check`: one line a picture, and what it exits with."""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import cv2
import pytest

from taintwatch.cli.main import main
from tests.tiny_model import footage, write_model

KEYS = ["file", "label", "label_name", "confidence", "detector", "suspicious", "score", "threshold", "box"]


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """A folder with a benign picture and an attacked one, and a model beside it."""
    folder = tmp_path / "pictures"
    (folder / "more").mkdir(parents=True)
    for name, picture in zip(("a.png", "more/b.png"), footage(2, [1]), strict=True):
        cv2.imwrite(str(folder / name), picture)
    write_model(tmp_path / "tiny.onnx")
    return folder


def check(folder: Path, *arguments: str) -> int:
    return main(["check", "--model", str(folder.parent / "tiny.onnx"), *arguments])


def test_each_picture_has_a_line_and_the_status_says_that_one_is_suspicious(
    pictures: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert check(pictures, str(pictures)) == 1
    first, second = capsys.readouterr().out.splitlines()
    assert first.startswith(f"ok          {pictures / 'a.png'}  scene (")
    assert second.startswith(f"SUSPICIOUS  {pictures / 'more' / 'b.png'}  toaster (")
    assert "without the region scene" in second


def test_benign_pictures_alone_exit_with_0(pictures: Path) -> None:
    assert check(pictures, str(pictures / "a.png")) == 0


def test_json_lines_have_the_keys_and_nothing_else_goes_to_standard_output(
    pictures: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    check(pictures, str(pictures), "--json")
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [list(row)[: len(KEYS)] for row in rows] == [KEYS, KEYS]
    assert [row["suspicious"] for row in rows] == [False, True]
    assert rows[0]["box"] is None
    assert len(rows[1]["box"]) == 4
    assert rows[1]["recovered_name"] == "scene"


def test_csv_says_the_same_as_json(pictures: Path, capsys: pytest.CaptureFixture[str]) -> None:
    check(pictures, str(pictures), "--json")
    wanted = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    check(pictures, str(pictures), "--csv")
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [float(row["score"]) for row in rows] == [row["score"] for row in wanted]
    assert [int(rows[1][side]) for side in ("x", "y", "width", "height")] == wanted[1]["box"]
    assert rows[0]["x"] == ""


def test_a_file_that_is_no_picture_is_named_the_others_are_checked_and_the_status_is_2(
    pictures: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (pictures / "c.png").write_text("text")
    assert check(pictures, str(pictures)) == 2
    told = capsys.readouterr()
    assert len(told.out.splitlines()) == 2
    assert "c.png is not an image" in told.err


def test_overlays_are_written_of_suspicious_pictures_only(pictures: Path, tmp_path: Path) -> None:
    check(pictures, str(pictures), "--overlays", str(tmp_path / "overlays"))
    (written,) = (tmp_path / "overlays").iterdir()
    assert written.name.endswith("pictures-more-b.png")
    drawn = cv2.imread(str(written))
    original = cv2.imread(str(pictures / "more" / "b.png"))
    assert drawn is not None
    assert original is not None
    assert drawn.shape == original.shape
    assert (drawn != original).any()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [(("nowhere",), "does not exist"), ((), "Missing argument"), (("{}", "--json", "--csv"), "exclude each other")],
)
def test_wrong_use_is_said_in_one_sentence(
    pictures: Path, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], says: str
) -> None:
    assert check(pictures, *(argument.format(pictures) for argument in arguments)) == 2
    assert says in capsys.readouterr().err


def test_a_folder_without_pictures_is_named(pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "empty").mkdir()
    assert check(pictures, str(tmp_path / "empty")) == 2
    assert "holds no picture" in capsys.readouterr().err


def test_no_colour_where_it_is_not_wanted(
    pictures: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("click.utils.should_strip_ansi", lambda stream, color: color is False)  # as on a terminal
    monkeypatch.delenv("NO_COLOR", raising=False)
    check(pictures, str(pictures))
    assert "\x1b[" in capsys.readouterr().out
    monkeypatch.setenv("NO_COLOR", "1")
    check(pictures, str(pictures))
    assert "\x1b[" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "expected"), [("taintwatch che", "plain,check"), ("taintwatch trial si", "plain,simulate")]
)
def test_the_shell_completes_commands(words: str, expected: str) -> None:
    environment = {**os.environ, "_TAINTWATCH_COMPLETE": "bash_complete", "COMP_WORDS": words}
    environment["COMP_CWORD"] = str(len(words.split()) - 1)
    program = [sys.executable, "-c", "import sys; from taintwatch.cli.main import main; sys.exit(main())"]
    done = subprocess.run(program, env=environment, capture_output=True, text=True, check=False, timeout=60)
    assert expected in done.stdout.splitlines()
