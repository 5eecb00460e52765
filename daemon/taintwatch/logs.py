"""The log, set up once: lines for people, or JSON lines for the journal. The one place that every record goes through.

Records come from the standard logging module, ours and those of libraries; structlog's processors make lines of them.
"""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, TextIO

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from taintwatch.logs_redact import redact
from taintwatch.logs_repeats import RepeatFilter

__all__ = ["CurrentStderrHandler", "failed_threads_to_log", "set_up_logging"]

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
    line = f"{at:%H:%M:%S} {record.levelname} {event['event']}"
    return f"{line}\n{event['exception']}" if "exception" in event else line
