"""A thread for calls that may hang, so that the caller can stop waiting."""

from __future__ import annotations

import threading
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import TypeVar

__all__ = ["Worker"]

T = TypeVar("T")


class Worker:
    """Runs one call after the other in a daemon thread of its own.

    After a time-out the thread may still be inside the call that hung: `finish` it and make a new worker.
    """

    def __init__(self, name: str) -> None:
        self._jobs: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    @property
    def alive(self) -> bool:
        """Whether its thread still runs: before it is finished, and while a call hangs."""
        return self._thread.is_alive()

    def call(self, job: Callable[[], T], timeout_s: float) -> T:
        """Return what `job` returns, or raise what it raises. Raises `TimeoutError` after `timeout_s`."""
        answers: SimpleQueue[tuple[T, None] | tuple[None, Exception]] = SimpleQueue()

        def answer() -> None:
            try:
                answers.put((job(), None))
            except Exception as error:
                answers.put((None, error))

        self._jobs.put(answer)
        try:
            result, failure = answers.get(timeout=timeout_s)
        except Empty:
            raise TimeoutError from None
        if failure is not None:
            raise failure
        return result  # type: ignore[return-value]  # the pair's other half is None

    def finish(self, last: Callable[[], None]) -> None:
        """Run `last` as soon as the call at hand returns, then end the thread. Does not wait."""
        self._jobs.put(last)
        self._jobs.put(None)

    def _run(self) -> None:
        while (job := self._jobs.get()) is not None:
            job()
