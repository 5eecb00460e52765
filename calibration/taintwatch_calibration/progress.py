"""Progress bars, on stderr, of commands that take their time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from taintwatch.footage.task_map import TaskResult
from taintwatch_calibration.benign import BenignFrames, read_benign
from taintwatch_models.preprocessing import Preprocessing

__all__ = ["bars", "counted", "read_with_progress"]


def bars(console: Console | None = None) -> Progress:
    """Return a context of bars, a task for each step of a command; None: on stderr."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=console or Console(stderr=True))


def read_with_progress(bar: Progress, spec: str, preprocessing: Preprocessing, most: int) -> BenignFrames:
    """Read benign frames with a bar of their own. Raises as `read_benign` does."""
    reading = bar.add_task("reading", total=None)
    frames = read_benign(spec, preprocessing, most=most, report=lambda done: bar.update(reading, completed=done))
    bar.update(reading, total=len(frames.pixels), completed=len(frames.pixels))
    return frames


@contextmanager
def counted(console: Console, words: str) -> Iterator[Callable[[TaskResult], None]]:
    """Show a bar; what is yielded is told of each item that is done."""
    with bars(console) as bar:
        task = bar.add_task(words, total=None)
        yield lambda finished: bar.update(task, total=finished.total, completed=finished.done)
