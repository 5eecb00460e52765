"""Progress bars, on stderr, of commands that take their time."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from taintwatch.footage.task_map import TaskResult
from taintwatch_calibration.benign import BenignFrames, read_benign
from taintwatch_models.preprocessing import Preprocessing

__all__ = ["bars", "counted", "read_with_progress"]


_QUIET_S = 2.0
"""At least so long between two lines: what is done sooner says nothing."""
_SOME_S = 10.0
"""At most so long, while something is done."""


class _Lines(Progress):
    """Bars on a terminal; elsewhere a line now and then, so that a log tells a slow command from one that hangs."""

    def __init__(self, *columns: TextColumn | BarColumn | MofNCompleteColumn | TimeRemainingColumn, console: Console):
        super().__init__(*columns, console=console, disable=not console.is_terminal)
        self._told: dict[TaskID, tuple[float, float]] = {}

    def update(self, task_id: TaskID, **changes: Any) -> None:
        super().update(task_id, **changes)
        if self.disable:
            self._tell(task_id)

    def _tell(self, task_id: TaskID) -> None:
        task = next((one for one in self.tasks if one.id == task_id), None)
        if task is None:
            return
        now = time.monotonic()
        told_at, told = self._told.setdefault(task_id, (now, 0.0))
        tenth = bool(task.total) and task.completed - told >= (task.total or 0) / 10
        if now - told_at > (_QUIET_S if tenth else _SOME_S):
            self._told[task_id] = (now, task.completed)
            of = f" of {task.total:.0f}" if task.total else ""
            self.console.print(f"{task.description}: {task.completed:.0f}{of}", highlight=False)


def bars(console: Console | None = None) -> Progress:
    """Return a context of bars, a task for each step of a command; None: on stderr. Lines where that is no terminal."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return _Lines(*columns, console=console or Console(stderr=True))


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
