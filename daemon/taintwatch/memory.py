"""Gives memory that was freed back to the system, now and then: the allocator of Linux's C library keeps most of it."""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable
from types import TracebackType

__all__ = ["MemoryKeeper", "give_back"]

EVERY_S = 10.0


def give_back() -> bool:
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


class MemoryKeeper:
    """A thread that does so every `every_s` seconds. A context manager."""

    def __init__(self, *, every_s: float = EVERY_S, give_back: Callable[[], bool] = give_back) -> None:
        self._every_s = every_s
        self._give_back = give_back
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="memory", daemon=True)

    def __enter__(self) -> MemoryKeeper:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._ended.wait(self._every_s):
            if not self._give_back():
                return
