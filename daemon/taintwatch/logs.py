"""The log, set up once: lines for people, or JSON lines for the journal. The one place that every record goes through.

Records come from the standard logging module, ours and those of libraries; structlog's processors make lines of them.
"""

from __future__ import annotations

import logging
import re
import sys
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TextIO

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from taintwatch.printable import printable
from taintwatch.sources.url import describe_url

__all__ = ["CurrentStderrHandler", "RepeatFilter", "failed_threads_to_log", "redact", "set_up_logging"]

OURS = ("taintwatch", "taintwatch_models", "taintwatch_calibration")


class CurrentStderrHandler(logging.StreamHandler[TextIO]):
    """Writes to whatever standard error is at that moment: a progress line on a terminal puts itself below."""

    def __init__(self) -> None:
        logging.Handler.__init__(self)

    @property
    def stream(self) -> TextIO:
        return sys.stderr

    @stream.setter
    def stream(self, _: TextIO) -> None:
        raise AttributeError("this handler always writes to sys.stderr")


def set_up_logging(*, as_json: bool, level: int) -> None:
    """Send the log of the three packages to standard error from `level` on; other libraries' from WARNING on.

    A JSON line has time (ISO 8601, UTC), level, logger, thread, message; where they are known `camera`, and the
    `traceback`. Whatever looks like an address loses its credentials; a warning that comes again and again is left out
    and counted.
    """
    handler = CurrentStderrHandler()
    handler.setFormatter(_formatter(as_json))
    handler.addFilter(RepeatFilter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    for name in OURS:
        logging.getLogger(name).setLevel(level)


@contextmanager
def failed_threads_to_log() -> Iterator[None]:
    """Log what ends a thread unexpectedly, so that it goes through here like everything else."""

    def log(failure: threading.ExceptHookArgs) -> None:
        name = "?" if failure.thread is None else failure.thread.name
        if failure.exc_value is not None:
            logging.getLogger("taintwatch").critical("thread %s ended unexpectedly", name, exc_info=failure.exc_value)

    before = threading.excepthook
    threading.excepthook = log
    try:
        yield
    finally:
        threading.excepthook = before


def _formatter(as_json: bool) -> logging.Formatter:
    render: list[Processor] = [_as_machines_read, structlog.processors.JSONRenderer()] if as_json else [_as_people_read]
    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[structlog.contextvars.merge_contextvars],
        processors=[structlog.processors.format_exc_info, _redacted, *render],
    )


def _redacted(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    return {key: redact(value) if isinstance(value, str) else value for key, value in event.items()}


def _as_machines_read(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    record: logging.LogRecord = event["_record"]
    line: dict[str, Any] = {
        "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
        "level": record.levelname.lower(),
        "logger": record.name,
        "thread": record.threadName,
        "message": event["event"],
    }
    if "camera" in event:
        line["camera"] = event["camera"]
    if "exception" in event:
        line["traceback"] = event["exception"]
    return line


def _as_people_read(_: WrappedLogger, __: str, event: EventDict) -> str:
    record: logging.LogRecord = event["_record"]
    at = datetime.fromtimestamp(record.created).astimezone()
    line = f"{at:%H:%M:%S} {record.levelname} {printable(' '.join(str(event['event']).splitlines()))}"
    if "exception" not in event:
        return line
    return "\n".join((line, *map(printable, str(event["exception"]).split("\n"))))


_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]{0,31}$")
_PLAIN = re.compile(r"[^\s'\"<>]*")
_STREAMS = ("rtsp", "rtsps", "http", "https", "rtmp", "rtmps")
_TRAILING = ".,;:!)]}"
_LONGEST_SECRET = 1000  # characters from `://` to the `@` behind it


def redact(text: str) -> str:
    """Return `text` with every address in it shown as `describe_url` shows it: without user, password and query.

    Addresses that are not streams (tcp://, ipc://) are left as they are unless they hold an `@`. A password may hold
    blanks and quotes: whatever lies between `://` and a later `@` of the line goes, and rather too much than too
    little. Takes time in proportion to the text. Never raises.
    """
    shown: list[str] = []
    end = 0  # up to here everything is shown
    while (at := text.find("://", end)) >= 0:
        scheme = _SCHEME.search(text[max(end, at - 32) : at])
        if scheme is None:
            shown.append(text[end : at + 3])
            end = at + 3
            continue
        start = at - len(scheme[0])
        shown.append(text[end:start])
        address, end = _address(text, start, at + 3)
        shown.append(address)
    return "".join((*shown, text[end:]))


def _address(text: str, start: int, rest: int) -> tuple[str, int]:
    """Return the address that starts there as it may be shown, and where it ends."""
    plain = _PLAIN.match(text, rest)
    end = rest if plain is None else plain.end()
    line = text[end : rest + _LONGEST_SECRET].partition("\n")[0].partition("://")[0]
    secret = line.rpartition("@")[0]
    if "@" in line and ":" in text[rest:end] + secret:
        tail = _PLAIN.match(text, end + len(secret) + 1)
        end = end + len(secret) + 1 if tail is None else tail.end()
        return f"{text[start:rest]}...", end
    address = text[start:end].rstrip(_TRAILING)
    if text[start : rest - 3].lower() not in _STREAMS and "@" not in address:
        return text[start:end], end
    return describe_url(address) + text[start + len(address) : end], end


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
