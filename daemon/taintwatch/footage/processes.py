"""A function over tasks on the cores of this machine: one process a worker; one that dies has its task done again."""

from __future__ import annotations

import hashlib
import logging
import multiprocessing
import signal
from collections import deque
from collections.abc import Callable, Generator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from taintwatch_models.errors import TaintwatchError

__all__ = ["MOST_TRIES", "Results", "Task", "fingerprint_of", "run_in_processes"]

Results = Generator[tuple[int, Any], None, None]
"""What an engine yields: (place in the tasks, result) as they end. Closing it ends the workers."""


@dataclass(frozen=True, slots=True)
class Task:
    """What a worker is given."""

    key: str
    """Names the item in messages and in the folder of results; each has its own."""
    argument: Any
    """What the function is called with; can be pickled."""
    fingerprint: str = ""
    """Whatever else the result depends on (settings, the file's size and time): another's kept result is not used."""


def fingerprint_of(path: Path, *settings: str) -> str:
    """Return a digest of a file's size and time of change (not of its content) and of the settings, in hex."""
    status = path.stat()
    parts = (str(status.st_size), str(status.st_mtime_ns), *settings)
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:32]


MOST_TRIES = 3
"""A task that ends its worker so often is given up: it would do so for ever."""

LOOK_S = 0.2  # how soon it is noticed that it is told to stop
_STOP_S = 2.0  # a worker that was told to end and has not by then is killed

# A fresh interpreter for each worker: a fork would copy the threads' locks of ONNX Runtime, ZeroMQ and OpenCV.
_CONTEXT = multiprocessing.get_context("spawn")


def run_in_processes(
    function: Callable[[Any], Any],
    tasks: Sequence[Task],
    workers: int,
    stopping: Callable[[], bool] = lambda: False,
) -> Results:
    """Yield (place in `tasks`, result) as they end. `stopping()` and closing the generator end the workers.

    Raises the `TaintwatchError` that `function` raised, or one where a task ended its worker `MOST_TRIES` times (any
    other exception of `function` ends its worker, with the traceback on standard error).
    """
    waiting, tries = deque(range(len(tasks))), [0] * len(tasks)
    crew: list[_Worker] = []
    try:
        while not stopping() and (waiting or any(worker.place is not None for worker in crew)):
            while waiting and (worker := _idle(crew, function, workers)) is not None:
                worker.give(waiting.popleft(), tasks)
            for worker in _heard_of(crew):
                place, answer = worker.take()
                if answer is None:
                    crew.remove(worker)  # it died: another takes its place, and its task
                    worker.end()
                if place is None:
                    continue
                if answer is None:
                    tries[place] += 1
                    if tries[place] == MOST_TRIES:
                        raise TaintwatchError(
                            f"{tasks[place].key}: ended its worker process {MOST_TRIES} times ({worker.ending()}); "
                            "leave it out, or watch it by itself to see why"
                        )
                    waiting.appendleft(place)
                elif isinstance(answer[0], TaintwatchError):
                    raise answer[0]
                else:
                    yield place, answer[0]
    finally:
        for worker in crew:
            worker.dismiss()
        for worker in crew:
            worker.end()


@dataclass(slots=True, eq=False)
class _Worker:
    """One process and our end of the pipe to it."""

    process: BaseProcess
    pipe: Connection
    place: int | None = None
    """The task that it works on."""

    def give(self, place: int, tasks: Sequence[Task]) -> None:
        self.place = place
        with suppress(BrokenPipeError, ConnectionResetError):  # it died: that is noticed where answers are awaited
            self.pipe.send(tasks[place].argument)

    def take(self) -> tuple[int | None, tuple[Any] | None]:
        """Return its task and the answer; None in place of an answer where it died."""
        place, self.place = self.place, None
        try:
            return place, (self.pipe.recv(),)
        except (EOFError, OSError):
            return place, None

    def ending(self) -> str:
        code = self.process.exitcode
        return f"signal {signal.Signals(-code).name}" if code is not None and code < 0 else f"exit status {code}"

    def dismiss(self) -> None:
        self.pipe.close()
        self.process.terminate()

    def end(self) -> None:
        self.pipe.close()
        self.process.join(_STOP_S)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()


def _idle(crew: list[_Worker], function: Callable[[Any], Any], workers: int) -> _Worker | None:
    """Return a worker that has nothing to do, a new one where there is room."""
    for worker in crew:
        if worker.place is None:
            return worker
    if len(crew) >= workers:
        return None
    ours, theirs = _CONTEXT.Pipe()
    process = _CONTEXT.Process(target=_work, args=(theirs, function), daemon=True)
    process.start()
    theirs.close()  # the worker's copy is then the only one, so that its death is heard as the pipe's end
    crew.append(_Worker(process, ours))
    return crew[-1]


def _heard_of(crew: Sequence[_Worker]) -> list[_Worker]:
    """Wait, for a moment at most, until at least one worker has answered or died."""
    ready = set(wait([worker.pipe for worker in crew], LOOK_S))
    return [worker for worker in crew if worker.pipe in ready]


def _work(pipe: Connection, function: Callable[[Any], Any]) -> None:
    """A worker's life: until its parent closes the pipe, or is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group: the parent decides
    logging.getLogger().addHandler(logging.NullHandler())  # the parent has said it, or is told of it
    while True:
        try:
            argument = pipe.recv()
        except EOFError:
            return
        answer: Any
        try:
            answer = function(argument)
        except TaintwatchError as error:
            answer = error
        try:
            pipe.send(answer)
        except BrokenPipeError:
            return
