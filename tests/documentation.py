"""Run the code blocks of a page of the documentation, in order, as a reader would.

`python -m tests.documentation README.md docs/tutorial.md` runs them with the `taintwatch` and `python` that PATH finds
first: `make wheel-test` does so with what the tutorial's lines of installation, run word for word in a fresh clone,
have installed. A block is left out where the line before it says `<!-- not run: WHY -->`, and must end with another
status where it says `<!-- exits with 1 -->`. The tests leave out `<!-- long -->` blocks, whose commands have tests of
their own, and lines that install; `make wheel-test` runs them.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path

import click
import cv2

from taintwatch.cli.main import cli
from tests.tiny_model import footage, write_model, write_video

__all__ = ["NOT_RUN", "Block", "blocks", "complaint", "not_run", "prepare", "program_lines", "run"]

PAGES = (
    "README.md", "docs/tutorial.md", "docs/python.md", "docs/adapters.md", "docs/command-line.md", "docs/signs.md",
)  # fmt: skip
_DATA = "needs the measuring data of ../shared, and takes minutes to hours"
_SITE = "speaks of folders, keys and addresses of a site of its own"
_FORM = "shows the form of something, not lines to type"
NOT_RUN = {
    "architecture.md": _FORM,
    "bundled-model.md": _DATA,
    "calibration.md": "takes a site's footage; docs/python.md learns from pictures in its place",
    "cmag.md": "takes a site's footage, and trains for minutes",
    "containers.md": "needs Docker, and builds an image",
    "crafting.md": "crafts for minutes each; docs/notebooks/craft_print_score.ipynb is run in its place",
    "demo.md": "the tutorial runs the demo; its attacks take minutes to craft, and the third block a webcam",
    "detection-bench.md": _DATA,
    "detection-table.md": _DATA,
    "evidence.md": _SITE,
    "faces.md": "needs photographs of people and an embedding network",
    "fleet.md": "needs a Ray cluster and its cameras",
    "footage.md": "needs a folder of recordings, and a Ray cluster",
    "gate.md": _DATA,
    "messages.md": "waits for a running daemon",
    "notify.md": "a function for a receiver of one's own; tests/daemon/notify checks signatures",
    "objects.md": "needs an object detector's file",
    "operations.md": "installs a service, as root",
    "page.md": _SITE,
    "printing.md": "needs a photograph of the printed chart",
    "published.md": _DATA,
    "running.md": _FORM,
    "security.md": _SITE,
    "sources.md": _DATA + "; the last line never ends",
    "street.md": "tests/system/test_demo.py plays the street; the finder's training takes minutes, and ../shared",
    "survey.md": _DATA,
    "table2.md": _DATA,
    "training-signs.md": _DATA,
    "trials.md": "crafts and simulates for minutes; docs/notebooks/craft_print_score.ipynb is run in its place",
    "votes-in-time.md": _DATA,
    "voting.md": _FORM,
    "zoo.md": _DATA,
}
"""Pages of docs/ whose blocks are not run, and why. What their lines call must be there all the same: `complaint`."""
FENCE = re.compile(
    r"(?:<!-- (?P<note>[^>]+) -->\n)?^```(?P<language>\w*)\n(?P<code>.*?)^```$", re.MULTILINE | re.DOTALL
)
INSTALLS = re.compile(r"^(pip install|python3 -m venv|\. \S+/activate|make )")  # the environment is there already


@dataclass(frozen=True, slots=True)
class Block:
    """One fenced block."""

    language: str
    """`python`, or empty: lines of the shell."""
    code: str
    status: int
    """What it must exit with."""


def blocks(page: Path, *, long: bool = False) -> tuple[Block, ...]:
    """Return the blocks of a page that are to be run, the long ones if asked for.

    Its lines of Python are one session, run where they begin.
    """
    found: list[Block] = []
    for match in FENCE.finditer(page.read_text()):
        note = match["note"] or ""
        left_out = note.startswith("not run:") or (note == "long" and not long)
        if left_out or match["language"] not in ("", "sh", "python"):
            continue
        status = int(note.removeprefix("exits with ")) if note.startswith("exits with ") else 0
        code = "".join(line for line in match["code"].splitlines(keepends=True) if not INSTALLS.match(line))
        languages = [block.language for block in found]
        if match["language"] == "python" and "python" in languages:
            session = languages.index("python")
            found[session] = replace(found[session], code=found[session].code + code, status=status)
        elif code.strip():
            found.append(Block(match["language"], code, status))
    return tuple(found)


def not_run(page: Path) -> tuple[tuple[str, str], ...]:
    """Return what no run of a page executes: (line, why) of each block that says so, and of each line that installs."""
    found = []
    for match in FENCE.finditer(page.read_text()):
        note, lines = match["note"] or "", match["code"].splitlines()
        if match["language"] not in ("", "sh", "python"):
            found.append((lines[0], f"{match['language']}: {_FORM}"))
        elif note.startswith("not run:"):
            found.append((lines[0], note.removeprefix("not run:").strip()))
        else:
            found += [(line, "installs: `make wheel-test` runs it") for line in lines if INSTALLS.match(line)]
    return tuple(found)


def program_lines(page: Path) -> list[str]:
    """Return what a page's blocks, run or not, call `taintwatch` with, without comments; a \\ joins lines."""
    code = "\n".join(match["code"] for match in FENCE.finditer(page.read_text()) if match["language"] in ("", "sh"))
    joined = re.sub(r"\\\n\s*", " ", code)
    calls = (re.match(r"(?:\w+=\S+ )*(?:\S+/)?taintwatch (.*)", line) for line in joined.splitlines())
    return [re.split(r"\s#|[|>]", call[1])[0].strip() for call in calls if call is not None]


def complaint(arguments: str) -> str | None:
    """Return what is wrong with a command line that may hold `...`, without running it; None where nothing is.

    Commands and options must be there, and options that take a value have one.
    """
    given = shlex.split(arguments)
    # `--folder ...` has a value; any other `...` stands for words that are left out.
    words = [word for word, before in zip(given, ["", *given], strict=False) if word != "..." or before[:2] == "--"]
    command: click.Command = cli
    ctx = click.Context(cli, info_name="taintwatch")
    try:
        while isinstance(command, click.Group):
            _, words, _ = command.make_parser(ctx).parse_args(words)
            if not words:
                return None
            name, found, words = command.resolve_command(ctx, words)
            if found is None:
                return f"no command {name}"
            command, ctx = found, click.Context(found, info_name=name, parent=ctx)
        command.make_parser(ctx).parse_args(words)
    except click.ClickException as error:
        return error.format_message()
    return None


def prepare(folder: Path) -> None:
    """Put what the pages speak of into `folder`: a model, a photograph, folders of them, a video."""
    write_model(folder / "model.onnx")
    benign, attacked = footage(2, [1])
    for name in ("photos", "benign"):
        (folder / name).mkdir()
    cv2.imwrite(str(folder / "photo.png"), attacked)
    cv2.imwrite(str(folder / "photos" / "benign.png"), benign)
    cv2.imwrite(str(folder / "photos" / "attacked.png"), attacked)
    for index in range(110):
        picture = footage(1, size=(48 + index % 7, 64 + index % 5))[0] // (1 + index % 3) + index % 50
        cv2.imwrite(str(folder / "benign" / f"{index:03}.png"), picture)
    write_video(folder / "video.mp4", footage(60, range(20, 40)))


def run(block: Block, folder: Path) -> None:
    """Run a block in `folder`. Raises `AssertionError` with what it printed where it ends as it should not."""
    command = ["python", "-c", block.code] if block.language == "python" else ["bash", "-e", "-c", block.code]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=600, check=False)
    if done.returncode != block.status:
        printed = done.stdout[-2000:] + done.stderr[-2000:]
        raise AssertionError(f"exit status {done.returncode}, not {block.status}:\n{block.code}\n{printed}")


def main(pages: list[str]) -> None:
    """Run the pages, each in a folder of its own."""
    for page in pages or PAGES:
        with tempfile.TemporaryDirectory() as name:
            prepare(Path(name))
            for block in blocks(Path(page), long=True):
                begin = time.monotonic()
                run(block, Path(name))
                first = block.code.strip().splitlines()[0]
                print(f"{page}: {time.monotonic() - begin:5.1f} s  {first}", flush=True)  # noqa: T201


if __name__ == "__main__":
    os.environ.pop("PYTHONPATH", None)  # what is installed is to be tried, not the checkout
    main(sys.argv[1:])
