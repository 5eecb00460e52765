"""A run from the command line: logging, signals, what is printed, and the service itself."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from pathlib import Path

from taintwatch.alerts.outbox import new_instance_id
from taintwatch.assembly import assemble, identity_of, make_detection, make_learner, prepare_change
from taintwatch.cli.output import HumanReporter, JsonReporter, RunLength, run_length_of, videos_length
from taintwatch.config.digest import config_hash
from taintwatch.config.sections import Config
from taintwatch.deadlines import Deadlines
from taintwatch.footage.footage_run import FootageRun, footage_of
from taintwatch.logs import failed_threads_to_log, set_up_logging
from taintwatch.monitoring import Monitoring
from taintwatch.native_output import native_lines_to_log
from taintwatch.notify.notifications import Notifications
from taintwatch.notify.outlets import make_notifications
from taintwatch.pipeline import Step
from taintwatch.preflight import refuse_mistakes
from taintwatch.process import (
    MemoryTrimmer,
    allow_descriptors,
    dump_threads_on_abort,
    reload_on_hangup,
    stop_on_signals,
)
from taintwatch.publication import make_publisher, security_of
from taintwatch.recovery import LOAD_LIMIT_S
from taintwatch.references import StoppedError
from taintwatch.reload import Reloader
from taintwatch.runtime import Runtime
from taintwatch.service import Service
from taintwatch.service_manager import Notifier, ServiceManagerReporter, Watchdog, look_every_s, supervision
from taintwatch.status import Ending, Meter, Reporter, Reporters, Summary
from taintwatch.web.page import Page
from taintwatch_models.errors import ConfigError, TaintwatchError

__all__ = ["run_config"]

_log = logging.getLogger(__name__)

STOP_GRACE_S = 10.0  # beyond `stop_s`, on a busy machine; systemd kills after 15 (TimeoutStopSec)


def run_config(
    config: Config,
    *,
    as_json: bool,
    quiet: bool,
    log_json: bool,
    debug: bool,
    read_again: Callable[[], Config] | None = None,
) -> Summary:
    """Run a service for `config` in this process until it ends or is told to stop. Raises `TaintwatchError`.

    `read_again` gives the configuration as it is then, for a reload on SIGHUP; None: there is nothing to read again.
    """
    # JSON lines are for a collector, which wants the course of things; people see that on the progress line.
    level = logging.DEBUG if debug else logging.INFO if log_json else logging.WARNING
    set_up_logging(as_json=log_json, level=level)
    with native_lines_to_log() if log_json else nullcontext():
        return _run(config, as_json=as_json, quiet=quiet, read_again=read_again)


def _run(config: Config, *, as_json: bool, quiet: bool, read_again: Callable[[], Config] | None) -> Summary:
    dump_threads_on_abort()
    allow_descriptors()
    refuse_mistakes(config)
    if files := footage_of(config):
        return _run_footage(config, files, as_json=as_json, quiet=quiet)
    wanted = supervision(os.environ, os.getpid())
    deadlines, notifier = Deadlines(), Notifier(wanted.address)
    with ExitStack() as stack:
        stack.callback(notifier.close)
        stack.enter_context(failed_threads_to_log())
        stopping = stack.enter_context(stop_on_signals(notifier.stopping, limit_s=config.limits.stop_s + STOP_GRACE_S))
        hangups = stack.enter_context(reload_on_hangup())
        watchdog = stack.enter_context(Watchdog(notifier, deadlines, every_s=look_every_s(wanted.watchdog_s)))
        stack.enter_context(MemoryTrimmer())
        reporter = stack.enter_context(_reporter(config, as_json, quiet))
        try:
            runtime = _load(config, deadlines, stopping.is_set)
        except StoppedError:
            reporter.finished(summary := _nothing_watched(config))
            return summary
        learner = runtime.learner = make_learner(runtime, deadlines)
        manager = ServiceManagerReporter(notifier, watchdog)
        notifications = _notifications(config, stack)
        monitoring = Monitoring.of(runtime, manager, watchdog)
        if monitoring is not None and notifications is not None:
            monitoring.notified = notifications.stats
        page = Page(runtime, monitoring)
        reloader = Reloader(
            lambda: runtime.config,
            read_again or (lambda: config),
            lambda old, new: prepare_change(old, new, runtime.identity, deadlines),
            notifier,
            audit=None if runtime.evidence is None else runtime.evidence.audit,
            requested=hangups,
            deadline=deadlines.add("reload"),
        )
        manager.refusal = lambda: reloader.refused
        page.start(stack)
        service = Service(
            runtime,
            Reporters(reporter, manager, *page.reporters(), *([] if notifications is None else [notifications])),
            stopping=stopping.is_set,
            changes=(reloader,) if learner is None else (reloader, learner),
            deadlines=deadlines,
            observe=_each(
                page.observe,
                None if learner is None else learner.see,
                None if notifications is None else notifications.observe,
            ),
        )
        try:
            return service.run()
        except ConfigError as error:
            # It was in order when the service became ready: starting again may help, so the status must not say no.
            raise TaintwatchError(str(error)) from error


def _run_footage(config: Config, files: tuple[Path, ...], *, as_json: bool, quiet: bool) -> Summary:
    """Watch a folder's videos side by side; every alert is published and told as by a service."""
    with ExitStack() as stack:
        stopping = stack.enter_context(stop_on_signals(limit_s=config.limits.stop_s + STOP_GRACE_S))
        reporter = stack.enter_context(_reporter(config, as_json, quiet, videos_length(files)))
        deadlines = Deadlines()
        security = security_of(config)
        model, detection = make_detection(config, deadlines, learning=False)
        stack.callback(detection.release)
        publisher = None
        if config.publish.enabled:
            identity = identity_of(config, model, new_instance_id())
            publisher, _ = make_publisher(config, identity, security, deadlines)
            stack.callback(publisher.close)
        notifications = _notifications(config, stack)
        if notifications is not None:
            reporter = Reporters(reporter, notifications)
        return FootageRun(config, files, reporter, model, publisher, stopping=stopping.is_set).run()


def _nothing_watched(config: Config) -> Summary:
    """The summary of a run that was told to stop before its cameras were started."""
    name = "" if config.model.path is None else Path(config.model.path).stem
    return Meter().summary((), Ending.STOPPED, provider="", model=name, config_hash=config_hash(config))


def _load(config: Config, deadlines: Deadlines, stopped: Callable[[], bool]) -> Runtime:
    """Assemble the runtime; a model that takes for ever to load is told to hang."""
    deadline = deadlines.add("start")
    deadline.arm(LOAD_LIMIT_S)
    runtime = assemble(config, deadlines, stopped)
    deadline.disarm()
    return runtime


def _notifications(config: Config, stack: ExitStack) -> Notifications | None:
    """Return what notifies, closed with the stack."""
    notifications = make_notifications(config, new_instance_id())
    if notifications is not None:
        stack.callback(notifications.close, config.limits.stop_s)
    return notifications


def _each(*observers: Callable[[Step], None] | None) -> Callable[[Step], None]:
    wanted = [each for each in observers if each is not None]

    def observe(step: Step) -> None:
        for each in wanted:
            each(step)

    return observe


@contextmanager
def _reporter(config: Config, as_json: bool, quiet: bool, length: RunLength | None = None) -> Iterator[Reporter]:
    """Give what prints to standard output and standard error, and leave the terminal as it was."""
    if as_json:
        yield JsonReporter(sys.stdout, status_s=config.publish.status_s, quiet=quiet)
        return
    reporter = HumanReporter(sys.stdout, sys.stderr, quiet=quiet, length=length or run_length_of(config))
    try:
        yield reporter
    finally:
        reporter.close()
