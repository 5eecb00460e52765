"""A process around whatever it runs: signals, tracebacks where it hangs, memory given back to the system."""

from __future__ import annotations

import ctypes
import faulthandler
import io
import logging
import os
import resource
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType, TracebackType
from typing import Self

__all__ = [
    "MemoryTrimmer",
    "RepeatingThread",
    "allow_descriptors",
    "dump_threads_on_abort",
    "reload_on_hangup",
    "stop_on_signals",
    "trim_memory",
]

_log = logging.getLogger(__name__)

EVERY_S = 10.0
DESCRIPTORS = 8192  # as the unit allows
TELL_S = 1.0  # for the last words of a process that hangs
HANGING_STATUS = 1


@contextmanager
def stop_on_signals(
    stopping_now: Callable[[], None] = lambda: None, *, limit_s: float | None = None
) -> Iterator[threading.Event]:
    """Give an event that the first SIGINT or SIGTERM sets; a second one ends the process as it would have anyhow.

    `stopping_now` is called then, in the signal's handler. `limit_s`: where the context is not left so many seconds
    later, the process is ended, with status 1 and every thread's traceback on standard error: whoever reads
    our output may have stopped reading, a driver or a library may hang.
    """
    stopping, over = threading.Event(), threading.Event()
    said: list[str] = []
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def stop(number: int, _: FrameType | None) -> None:
        said.append(signal.Signals(number).name)
        stopping.set()
        stopping_now()
        for each, handler in before.items():
            signal.signal(each, handler)

    # Not in the handler: it may interrupt a line that is being written, and files cannot be entered twice.
    watcher = threading.Thread(target=_see_it_end, args=(stopping, over, said, limit_s), name="stop", daemon=True)
    watcher.start()
    for number in before:
        signal.signal(number, stop)
    try:
        yield stopping
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        over.set()
        stopping.set()


def _see_it_end(stopping: threading.Event, over: threading.Event, said: list[str], limit_s: float | None) -> None:
    """Say that a signal came, and end the process where it does not end by itself in time."""
    stopping.wait()
    if said:
        _log.info("stopping: %s", said[0])
    if limit_s is None or over.wait(limit_s):
        return
    # Standard error itself may be what hangs: then it ends without a word.
    tell = threading.Thread(target=_tell_what_hangs, args=(limit_s,), daemon=True)
    tell.start()
    tell.join(TELL_S)
    os._exit(HANGING_STATUS)


def _tell_what_hangs(limit_s: float) -> None:
    names = sorted(thread.name for thread in threading.enumerate())
    _log.critical("did not end within %.0f s of the signal and is ended; threads: %s", limit_s, ", ".join(names))
    with suppress(io.UnsupportedOperation, ValueError, OSError):
        faulthandler.dump_traceback()


@contextmanager
def reload_on_hangup() -> Iterator[threading.Event]:
    """Give an event that SIGHUP sets: without it, closing a terminal or a reload would end the process."""
    asked = threading.Event()
    before = signal.signal(signal.SIGHUP, lambda number, frame: asked.set())
    try:
        yield asked
    finally:
        signal.signal(signal.SIGHUP, before)


def dump_threads_on_abort() -> None:
    """Leave every thread's traceback on standard error when the watchdog ends us (SIGABRT), or we crash."""
    with suppress(io.UnsupportedOperation, ValueError):  # standard error is no file: somebody catches it in memory
        faulthandler.enable()


def allow_descriptors() -> None:
    """Raise the soft limit of descriptors as far as the hard one allows, up to `DESCRIPTORS`: each viewer is some."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, DESCRIPTORS)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def trim_memory() -> bool:
    """Return to the system what lies free between the pieces in use; False where the C library knows no such thing.

    Clips, broken streams and crowds of subscribers take megabytes for a moment, in several threads, and leave the heap
    full of holes. They are used again, but the process looks as if it grew for hours. Takes a few milliseconds
    (malloc_trim(3), glibc).
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is None:
        return False
    trim(0)
    return True


class RepeatingThread:
    """A thread that calls `work` every `every_s` seconds, until that returns False. A context manager."""

    def __init__(self, name: str, work: Callable[[], bool], *, every_s: float) -> None:
        self._work = work
        self._every_s = every_s
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()

    def _run(self) -> None:
        while self._work() and not self._ended.wait(self._every_s):
            pass


class MemoryTrimmer(RepeatingThread):
    """A thread that calls `trim_memory` every `every_s` seconds, where the C library knows it."""

    def __init__(self, *, every_s: float = EVERY_S, trim: Callable[[], bool] = trim_memory) -> None:
        super().__init__("memory", trim, every_s=every_s)
