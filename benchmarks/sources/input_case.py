"""One input of the table: what is made, what is expected of it, and what came of it."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from click.testing import CliRunner
from numpy.typing import NDArray

from taintwatch.cli.main import cli
from taintwatch.sources.factory import open_source
from taintwatch.sources.source import read_through

__all__ = ["InputCase", "Maker", "Outcome", "file_case", "judge"]

Maker = Callable[[Path], AbstractContextManager[str]]
"""(an empty folder) -> the source, for as long as the context is open: a server runs, a file lies there."""


@dataclass(frozen=True, slots=True)
class InputCase:
    """One row. Counts of a live input are the least that is expected, as newer frames replace older ones."""

    name: str
    kind: str
    make: Maker
    frames: int | None
    """Pictures that the input holds; None: not counted (a live input, which is ended by `--max-frames`)."""
    alerts: int
    bad: int | None = 0
    """Of `frames`, those that are damaged; None: some, nobody knows how many."""
    says: str | None = None
    """A regular expression that what is printed beside the result must match."""
    options: tuple[str, ...] = ()
    exit: int = 0
    colour: bool = False
    """Whether the first picture's colours are compared with ffmpeg's."""
    reference: tuple[str, ...] = ()
    """Filters with which ffmpeg's picture is comparable."""
    slow: bool = False
    """Whether it is left out of the tests."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a case."""

    name: str
    kind: str
    frames_expected: int | None
    judged: int
    bad: int
    skipped: int
    alerts_expected: int
    alerts: int
    exit: int
    colour: float | None
    """Mean absolute difference to ffmpeg's picture, in levels of 255."""
    said: str
    problems: tuple[str, ...]


def file_case(
    name: str, kind: str, make: Callable[[Path], Path], frames: int | None, alerts: int, **more: Any
) -> InputCase:
    """Return a case of a file or folder, which lies there for good."""

    @contextmanager
    def write(folder: Path) -> Iterator[str]:
        yield str(make(folder))

    return InputCase(name, kind, write, frames, alerts, **more)


def judge(case: InputCase, folder: Path) -> Outcome:
    """Make a case's input in `folder`, watch it with the real command, and compare."""
    with case.make(folder) as source:
        words = ["run", "--no-publish", "--threads", "1", "--quiet", "--json", "--source", source, *case.options]
        done = CliRunner().invoke(cli, words, catch_exceptions=True)
        colour = _colour(Path(source), case.reference) if case.colour else None
    summary = _summary(done.stdout)
    printed = [line.split(" WARNING ")[-1] for line in done.output.splitlines() if not line.startswith("{")]
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        printed.insert(0, str(done.exception))  # what `main` prints, before what was logged on the way
    said = "; ".join(printed).replace(f"{folder}/", "").replace(str(folder), "FOLDER")
    said = said.replace("camera camera: ", "")
    outcome = Outcome(
        case.name, case.kind, case.frames, summary["frames"], summary["bad_frames"], summary["skipped"],
        case.alerts, summary["alerts"], _status(done), colour, said, (),
    )  # fmt: skip
    return Outcome(**{**_as_dict(outcome), "problems": tuple(_problems(case, outcome))})


def _as_dict(outcome: Outcome) -> dict[str, Any]:
    return {name: getattr(outcome, name) for name in Outcome.__dataclass_fields__}


def _status(done: Any) -> int:
    status = getattr(done.exception, "exit_status", done.exit_code)
    return int(status)


def _summary(printed: str) -> dict[str, Any]:
    lines = [json.loads(line) for line in printed.splitlines() if line.startswith("{")]
    empty = {"frames": 0, "bad_frames": 0, "skipped": 0, "alerts": 0}
    return next((line for line in reversed(lines) if line["kind"] == "summary"), empty)


def _problems(case: InputCase, outcome: Outcome) -> Iterator[str]:
    if outcome.exit != case.exit:
        yield f"exit {outcome.exit}, not {case.exit}"
    counted = outcome.judged + outcome.bad + outcome.skipped
    if case.frames is not None and case.exit == 0:
        if counted < case.frames:
            yield f"{case.frames - counted} frames neither judged nor counted"
        if case.bad is not None and outcome.judged + outcome.skipped != case.frames - case.bad:
            yield f"{outcome.judged} judged and {outcome.skipped} skipped, not {case.frames - case.bad}"
    if case.exit == 0 and outcome.bad < (1 if case.bad is None else case.bad):
        yield f"{outcome.bad} bad frames, not {case.bad or 'some'}"
    if (outcome.alerts != case.alerts) if case.frames is not None else (outcome.alerts < case.alerts):
        yield f"{outcome.alerts} alerts, not {case.alerts}"
    if case.says is not None and not re.search(case.says, outcome.said):
        yield f"does not say {case.says!r}"
    if outcome.colour is not None and outcome.colour > 2.0:
        yield f"colours differ by {outcome.colour:.1f} levels"


def _colour(path: Path, filters: tuple[str, ...]) -> float:
    """Return how far our first picture is from ffmpeg's."""
    grabs = read_through(open_source(str(path)))
    ours = next(grabs).image
    grabs.close()
    reference = _ffmpeg_picture(path, filters, ours.shape)
    return round(float(np.abs(ours.astype(np.int16) - reference).mean()), 2)


def _ffmpeg_picture(path: Path, filters: tuple[str, ...], shape: tuple[int, ...]) -> NDArray[np.uint8]:
    words = ["ffmpeg", "-v", "error", "-i", f"file:{path.absolute()}", "-frames:v", "1"]
    words += ["-vf", ",".join((*filters, "scale=flags=bilinear"))] if filters else []
    data = subprocess.run([*words, "-f", "rawvideo", "-pix_fmt", "bgr24", "-"], check=True, capture_output=True).stdout
    return np.frombuffer(data, np.uint8).reshape(shape)
