"""The code blocks of README, tutorial and the Python pages do what they say."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.documentation import NOT_RUN, PAGES, Block, blocks, complaint, not_run, prepare, program_lines, run

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("page", PAGES)
def test_every_block_of_a_page_runs(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    if page == "docs/adapters.md":
        pytest.importorskip("foolbox")
        pytest.importorskip("supervision")
    prepare(tmp_path)
    found = blocks(ROOT / page)
    assert found
    for block in found:
        run(block, tmp_path)


def test_a_block_that_ends_wrongly_is_told_apart(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="exit status 3, not 0"):
        run(Block("", "exit 3\n", 0), tmp_path)
    run(Block("", "exit 3\n", 3), tmp_path)


def test_marked_blocks_are_left_out_and_installing_is_too(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "<!-- not run: needs a camera -->\n```\nrun camera\n```\n\n```\npip install x\necho hello\n```\n\n"
        "```toml\n[a]\n```\n\n<!-- exits with 1 -->\n```python\nraise SystemExit(1)\n```\n\n"
        "<!-- long -->\n```\nnap\n```\n"
    )
    short = (Block("", "echo hello\n", 0), Block("python", "raise SystemExit(1)\n", 1))
    assert blocks(page) == short
    assert blocks(page, long=True) == (*short, Block("", "nap\n", 0))


def test_every_line_of_the_tutorial_is_run_word_for_word_or_says_why_not(tmp_path: Path) -> None:
    tutorial = ROOT / "docs" / "tutorial.md"
    fenced = re.findall(r"^```\w*\n(.*?)^```$", tutorial.read_text(), re.MULTILINE | re.DOTALL)
    lines = [line for block in fenced for line in block.splitlines() if line.strip()]
    run_here = "".join(block.code for block in blocks(tutorial, long=True)).splitlines()
    left = dict(not_run(tutorial))
    assert [line for line in lines if line not in run_here and line not in left] == []
    assert all(left.values())
    assert [line.split("  ")[0] for line, why in left.items() if not why.startswith("installs")] == [
        "taintwatch run --source door=rtsp://camera/stream --model model.onnx --evidence evidence --web 127.0.0.1:8080"
    ]
    # What installs is run by `make wheel-test`, which takes the block out of the page.
    script = (ROOT / ".ci" / "wheel-test").read_text()
    (extract,) = re.findall(r"^sed -n '([^']+)' docs/tutorial.md", script, re.MULTILINE)
    taken = subprocess.run(["sed", "-n", extract, str(tutorial)], capture_output=True, text=True, check=True).stdout
    assert taken == fenced[0]
    assert [line for line, why in left.items() if why.startswith("installs")] == taken.splitlines()[:3]


def test_every_page_with_blocks_is_run_or_says_why_not() -> None:
    left = {page.name for page in (ROOT / "docs").glob("*.md") if blocks(page) and f"docs/{page.name}" not in PAGES}
    assert left == set(NOT_RUN), "say in tests/documentation.py why the blocks of a new page are not run, or run it"


def test_every_line_of_every_page_calls_commands_and_options_that_are_there() -> None:
    pages = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
    calls = [(page.name, line) for page in pages for line in program_lines(page)]
    assert len(calls) > 60
    assert [(page, line, wrong) for page, line in calls if (wrong := complaint(line)) is not None] == []


def test_a_line_that_calls_what_is_not_there_is_found() -> None:
    assert complaint("trial score clips --out t --engine ray ...") is None
    assert complaint("run --sources x") is not None
    assert complaint("alerts lists") is not None
    assert complaint("print signs --out") is not None


def test_the_front_page_is_short_and_says_where_it_fails() -> None:
    text = (ROOT / "README.md").read_text()
    assert len(text.splitlines()) <= 90
    assert "misses" in text
    assert "docs/results.md#where-it-fails" in text
