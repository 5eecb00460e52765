"""Warnings that come again and again: the first few are told, the others are counted."""

from __future__ import annotations

import logging
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

__all__ = ["RepeatFilter"]

BURST = 5  # of one kind are told ...
WINDOW_S = 60.0  # ... in so many seconds
KINDS = 1000  # that are remembered, the latest


@dataclass(slots=True)
class _Kind:
    since_s: float
    told: int = 0
    left_out: int = 0


class RepeatFilter(logging.Filter):
    """Lets at most `BURST` records of one kind through in `WINDOW_S`; the next that passes says how many did not.

    Of one kind are records of one logger and level, with the same text before its arguments are put in and the same
    first argument (by which ours name the camera). Below WARNING everything passes. Called while the handler is locked.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock = clock
        self._kinds: OrderedDict[tuple[object, ...], _Kind] = OrderedDict()

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether the record is to be told."""
        if record.levelno < logging.WARNING:
            return True
        now = self._clock()
        kind = self._kind(record, now)
        if now - kind.since_s >= WINDOW_S:
            if kind.left_out:
                record.msg = f"{record.getMessage()} ({kind.left_out} more like this were left out)"
                record.args = None
            kind.since_s, kind.told, kind.left_out = now, 0, 0
        if kind.told >= BURST:
            kind.left_out += 1
            return False
        kind.told += 1
        return True

    def _kind(self, record: logging.LogRecord, now: float) -> _Kind:
        first = record.args[0] if isinstance(record.args, tuple) and record.args else None
        key = (record.name, record.levelno, str(record.msg), str(first))
        kind = self._kinds.pop(key, None) or _Kind(now)
        self._kinds[key] = kind
        if len(self._kinds) > KINDS:
            self._kinds.popitem(last=False)
        return kind
