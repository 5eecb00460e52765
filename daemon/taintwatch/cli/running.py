"""A run from the command line: logging, signals, what is printed, and the service itself."""

from __future__ import annotations

import logging
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from taintwatch.assembly import assemble, plan_of
from taintwatch.cli.extent import extent_of
from taintwatch.cli.report_human import HumanReporter
from taintwatch.cli.report_json import JsonReporter
from taintwatch.config.sections import Config
from taintwatch.logs import set_up_logging
from taintwatch.service import Reporter, Service
from taintwatch.status import Summary

__all__ = ["run_config", "stop_on_signals"]

_log = logging.getLogger(__name__)


def run_config(config: Config, *, as_json: bool, quiet: bool, log_json: bool, debug: bool) -> Summary:
    """Run a service for `config` in this process until it ends or is told to stop. Raises `TaintwatchError`."""
    # JSON lines are for a collector, which wants the course of things; people see that on the progress line.
    level = logging.DEBUG if debug else logging.INFO if log_json else logging.WARNING
    set_up_logging(as_json=log_json, level=level)
    with stop_on_signals() as stopping, _reporter(config, as_json, quiet) as reporter:
        service = Service(assemble(config), reporter, plan_of(config), stopping=stopping.is_set)
        return service.run()


@contextmanager
def _reporter(config: Config, as_json: bool, quiet: bool) -> Iterator[Reporter]:
    """Give what prints to standard output and standard error, and leave the terminal as it was."""
    if as_json:
        yield JsonReporter(sys.stdout, status_s=config.publish.status_s, quiet=quiet)
        return
    reporter = HumanReporter(sys.stdout, sys.stderr, quiet=quiet, extent=extent_of(config))
    try:
        yield reporter
    finally:
        reporter.close()


@contextmanager
def stop_on_signals() -> Iterator[threading.Event]:
    """Give an event that the first SIGINT or SIGTERM sets; a second one ends the process as it would have anyhow."""
    stopping = threading.Event()
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def stop(number: int, _: FrameType | None) -> None:
        stopping.set()
        for each, handler in before.items():
            signal.signal(each, handler)
        _log.info("stopping: %s", signal.Signals(number).name)

    for number in before:
        signal.signal(number, stop)
    try:
        yield stopping
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
