"""One progress bar for work over many files."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from taintwatch.footage.mapping import Finished

__all__ = ["counted"]


@contextmanager
def counted(console: Console, words: str) -> Iterator[Callable[[Finished], None]]:
    """Show a bar; what is yielded is told of each item that is done."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console) as bar:
        task = bar.add_task(words, total=None)
        yield lambda finished: bar.update(task, total=finished.total, completed=finished.done)
