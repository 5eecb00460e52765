"""What is seen while crafting: one line with loss and success, and a preview that is rewritten."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from taintwatch_calibration.craft.attack_folder import Folder
from taintwatch_calibration.craft.engine import Step

__all__ = ["watched"]

_PREVIEW_EVERY_S = 2.0


@contextmanager
def watched(
    name: str, total: int, folder: Folder, console: Console, *, clock: Callable[[], float] = time.monotonic
) -> Iterator[Callable[[Step], None]]:
    """Yield what is told of each step: it moves the bar, and rewrites preview.png every two seconds."""
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.completed}/{task.total}"))
    last = [float("-inf")]
    with Progress(*columns, TimeRemainingColumn(), console=console) as bar:
        task = bar.add_task(name, total=total)

        def told(step: Step) -> None:
            text = f"{name}: loss {step.loss:8.3f}, success {step.success:4.0%}"
            bar.update(task, completed=step.iteration, description=text)
            if step.pictures is not None and clock() - last[0] >= _PREVIEW_EVERY_S:
                folder.contact(step.pictures)
                last[0] = clock()

        yield told
