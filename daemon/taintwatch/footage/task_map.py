"""One function over many files: on all cores or several machines, resumable, the same results as one by one.

A result is kept in a file of its own as soon as it is there, so that whatever ends the run (a signal, a power cut, a
machine that is lost) costs only the items that were being worked on.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from taintwatch.footage.processes import Results, Task, run_in_processes
from taintwatch_models.errors import TaintwatchError, UsageError
from taintwatch_models.storage import write_atomically

__all__ = ["ENGINES", "Engine", "Task", "TaskResult", "map_resumably", "processor_cores"]

FORMAT = "taintwatch-done/1"


@dataclass(frozen=True, slots=True)
class TaskResult:
    """One item is done. Told in the order in which they end, those of an earlier run first."""

    index: int
    """0-based place of the item."""
    task: Task
    result: Any
    resumed: bool
    """It was done by an earlier run."""
    done: int
    """Items done so far, this one included."""
    total: int


class Engine(Protocol):
    """Runs a function over tasks, `workers` at a time; yields (place in `tasks`, result) as they end."""

    def __call__(
        self, function: Callable[[Any], Any], tasks: Sequence[Task], workers: int, stopping: Callable[[], bool]
    ) -> Results: ...


def processor_cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def map_resumably(
    function: Callable[[Any], Any],
    tasks: Sequence[Task],
    done_folder: Path | None = None,
    *,
    workers: int = 0,
    progress: Callable[[TaskResult], None] = lambda finished: None,
    engine: str = "processes",
    stopping: Callable[[], bool] = lambda: False,
) -> list[Any]:
    """Return `function(task.argument)` for every task, in their order.

    `function` can be imported by name (a function of a module, or a `functools.partial` of one), so that it can be
    sent to another process; its results are JSON values. `workers` is how many work at once (0: one for each core, or
    all that a Ray cluster has). What is in `done_folder` under the same key and fingerprint is not done again; None
    keeps nothing. A worker that is killed has its item done again by another. `engine` is one of `ENGINES`. Once
    `stopping()` holds, the workers are ended, and None stands for what was not done.

    Raises what `function` raises as a `TaintwatchError` (what was done until then is kept), `TaintwatchError` where
    one item ends its worker again and again, `UsageError` for a wrong engine, two tasks of one key, or a folder that
    cannot be written.
    """
    _check(tasks, workers, engine)
    kept = _ResultFolder(done_folder)
    results: list[Any] = [None] * len(tasks)
    missing, done = [], 0
    for index, task in enumerate(tasks):
        there, result = kept.read(task)
        if not there:
            missing.append(index)
            continue
        done += 1
        results[index] = result
        progress(TaskResult(index, task, result, True, done, len(tasks)))
    if not missing:
        return results
    with closing(ENGINES[engine]()(function, [tasks[index] for index in missing], workers, stopping)) as ended:
        for place, result in ended:
            index, done = missing[place], done + 1
            kept.write(tasks[index], result)
            results[index] = result
            progress(TaskResult(index, tasks[index], result, False, done, len(tasks)))
    return results


def _check(tasks: Sequence[Task], workers: int, engine: str) -> None:
    if engine not in ENGINES:
        raise UsageError(f"there is no engine '{engine}'; there are {', '.join(ENGINES)}")
    if workers < 0:
        raise UsageError(f"{workers} workers cannot work; give a number above 0, or 0 for one on each core")
    keys = [task.key for task in tasks]
    twice = next((key for key in keys if keys.count(key) > 1), None) if len(set(keys)) < len(keys) else None
    if twice is not None:
        raise UsageError(f"two items are called '{twice}'; each needs a name of its own")


def _processes() -> Engine:
    def run(
        function: Callable[[Any], Any], tasks: Sequence[Task], workers: int, stopping: Callable[[], bool]
    ) -> Results:
        return run_in_processes(function, tasks, workers or processor_cores(), stopping)

    return run


def _ray() -> Engine:
    from taintwatch.footage.cluster import run_on_cluster  # an optional dependency, and a heavy one

    return run_on_cluster


ENGINES: dict[str, Callable[[], Engine]] = {"processes": _processes, "ray": _ray}
"""How the work is spread, by name: `processes` on this machine, `ray` on a Ray cluster."""


class _ResultFolder:
    """The folder of results: one JSON file for each item, whole or not there."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        if folder is not None:
            try:
                folder.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise UsageError(f"{folder}: results cannot be kept there ({error.strerror or error})") from None

    def read(self, task: Task) -> tuple[bool, Any]:
        """Return whether the item was done, and its result. A damaged file counts as not done."""
        if self._folder is None:
            return False, None
        try:
            document = json.loads((self._folder / _file_name(task)).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return False, None
        if not isinstance(document, dict) or any(document.get(k) != v for k, v in _stamp(task).items()):
            return False, None
        return "result" in document, document.get("result")

    def write(self, task: Task, result: Any) -> None:
        if self._folder is None:
            return
        text = json.dumps({**_stamp(task), "result": result}, allow_nan=False)
        try:
            write_atomically(self._folder / _file_name(task), text.encode())
        except OSError as error:
            raise TaintwatchError(
                f"{self._folder}: the result of '{task.key}' cannot be kept there ({error.strerror or error})"
            ) from None


def _stamp(task: Task) -> dict[str, str]:
    return {"format": FORMAT, "key": task.key, "fingerprint": task.fingerprint}


def _file_name(task: Task) -> str:
    """A name that people recognise and that no two keys share."""
    digest = hashlib.sha256(task.key.encode()).hexdigest()[:12]
    return f"{re.sub(r'[^A-Za-z0-9._-]+', '_', task.key)[-80:]}-{digest}.json"
