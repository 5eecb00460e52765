"""`taintwatch watch`: follow the alerts of a running daemon."""

from __future__ import annotations

import json
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import click
from rich.console import Console
from rich.text import Text

from taintwatch.alerts.bodies import Heartbeat
from taintwatch.alerts.lines import json_line, pretty_line
from taintwatch.alerts.messages import DEFAULT_ENDPOINT, Message
from taintwatch.alerts.security import Security
from taintwatch.alerts.subscriber import Event, Subscriber
from taintwatch.alerts.topics import ROOT
from taintwatch.cameras.camera_status import CameraStatus
from taintwatch_models.errors import TaintwatchError, UsageError

__all__ = ["watch"]

SILENCE_S = 5.0
STEP_S = 0.25


@click.command()
@click.option(
    "--connect",
    default=DEFAULT_ENDPOINT,
    show_default=True,
    metavar="ENDPOINT",
    help="Connect to where the daemon publishes.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON lines in place of text.")
@click.option(
    "--topic", default=ROOT, show_default=True, metavar="PREFIX", help="Show only topics that start with PREFIX."
)
@click.option("--count", type=click.IntRange(min=1), help="End after so many printed messages.")
@click.option("--key", type=click.Path(path_type=Path), help="Use this .key_secret file, where the daemon wants keys.")
@click.option("--server-key", type=click.Path(path_type=Path), help="Trust this public .key file of the daemon.")
@click.option(
    "--signing-key",
    type=click.Path(path_type=Path),
    help="Report heartbeats that the daemon with this public key (signing.pub) did not sign.",
)
@click.option(
    "--replay", metavar="ENDPOINT", help='Ask there for missed alerts; "": never.  [default: as the daemon says]'
)
@click.option("--timeout", "timeout_s", type=click.FloatRange(min=0), metavar="SECONDS", help="End after so long.")
def watch(
    connect: str,
    as_json: bool,
    topic: str,
    count: int | None,
    key: Path | None,
    server_key: Path | None,
    signing_key: Path | None,
    replay: str | None,
    timeout_s: float | None,
) -> int:
    """Follow the alerts of a running daemon, one line for each, until Ctrl-C.

    Text shows alerts, and a camera's status when it changes; JSON shows every alert and status. Heartbeats are shown
    only where --topic names them. Missed alerts are fetched where the daemon keeps them, and come later; those that
    stay missed are reported, and so is a daemon that falls silent. With --count and --timeout, exit with status 1 when
    the time is up first.
    """
    screen = _Screen(as_json, heartbeats="/heartbeat" in topic)
    security = _security(key, server_key)
    with (
        _interrupts() as interrupted,
        Subscriber(
            connect, (topic,), security=security, replay=replay, authentic=_authentic(signing_key)
        ) as subscriber,
    ):
        _follow(subscriber, screen, count, timeout_s, time.monotonic, interrupted)
    return 0


@contextmanager
def _interrupts() -> Iterator[threading.Event]:
    """Give an event that Ctrl-C sets, the usual way to end this.

    An exception instead may fall where it is swallowed (a callback of a library, a `__del__`), and is then lost.
    """
    interrupted = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield interrupted  # where no signal arrives
        return
    before = signal.signal(signal.SIGINT, lambda number, frame: interrupted.set())
    try:
        yield interrupted
    finally:
        signal.signal(signal.SIGINT, before)


def _security(key: Path | None, server_key: Path | None) -> Security | None:
    if key is None and server_key is None:
        return None
    if key is None or server_key is None:
        raise UsageError("Give both --key (your .key_secret file) and --server-key (the daemon's .key file).")
    from taintwatch.alerts.security import CurveClient

    return CurveClient(key, server_key)


def _authentic(signing_key: Path | None) -> Callable[[str, str], bool] | None:
    if signing_key is None:
        return None
    from taintwatch_models.signatures import check_signature, read_public

    return partial(check_signature, read_public(signing_key))


def _follow(
    subscriber: Subscriber,
    screen: _Screen,
    count: int | None,
    timeout_s: float | None,
    monotonic: Callable[[], float],
    interrupted: threading.Event,
) -> None:
    """Print events until `count` messages were printed, or the time is up: with a count that is a `TaintwatchError`.

    Or until interrupted, which is no error.
    """
    deadline = None if timeout_s is None else monotonic() + timeout_s
    while not interrupted.is_set() and (count is None or screen.messages < count):
        left_s = STEP_S if deadline is None else min(STEP_S, deadline - monotonic())
        event = subscriber.receive(max(0.0, left_s))
        if event is not None:
            screen.show(event)
        screen.note_silence(subscriber.endpoint, subscriber.silent_s)
        if event is None and deadline is not None and monotonic() >= deadline and not interrupted.is_set():
            if count is None:
                return
            raise TaintwatchError(f"Only {screen.messages} of {count} messages came within {timeout_s:g} s.")


class _Screen:
    """What was shown: the count of messages, the cameras' states, and whether silence was said."""

    def __init__(self, as_json: bool, heartbeats: bool) -> None:
        self.messages = 0
        self._as_json = as_json
        self._heartbeats = heartbeats
        self._states: dict[str, str] = {}
        self._silent = False
        self._console = Console(highlight=False, soft_wrap=True)

    def show(self, event: Event) -> None:
        """Print an event that is worth a line."""
        if isinstance(event, Message):
            if not self._is_worth_a_line(event):
                return
            self.messages += 1
        self._print(json_line(event) if self._as_json else pretty_line(event))

    def note_silence(self, endpoint: str, silent_s: float) -> None:
        """Say once that nothing is heard, and once that something is again."""
        if (silent_s >= SILENCE_S) == self._silent:
            return
        self._silent = not self._silent
        sentence = f"heard again from {endpoint}"
        if self._silent:
            sentence = f"no heartbeat for {SILENCE_S:g} s from {endpoint}; is the daemon running?"
        if self._as_json:
            kind = "silent" if self._silent else "heard"
            self._print(json.dumps({"kind": kind, "endpoint": endpoint, "message": sentence}))
        else:
            self._print(Text(f"         {sentence}", style="magenta"))

    def _is_worth_a_line(self, message: Message) -> bool:
        if isinstance(message.body, Heartbeat):
            return self._heartbeats
        if self._as_json or not isinstance(message.body, CameraStatus):
            return True
        before = self._states.get(message.topic)
        self._states[message.topic] = message.body.state
        return before != message.body.state

    def _print(self, line: str | Text) -> None:
        if isinstance(line, str):
            click.echo(line)  # flushes, so that a reader at the end of a pipe sees each line at once
        else:
            self._console.print(line)
            self._console.file.flush()
