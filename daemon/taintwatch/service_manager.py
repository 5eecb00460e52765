"""The service manager (systemd): what it is told through sd_notify(3), and the watchdog that it expects."""

from __future__ import annotations

import errno
import logging
import socket
import time
from collections.abc import Callable, MutableMapping, Sequence
from dataclasses import dataclass

from taintwatch.cameras.camera_status import CameraState, CameraStatus
from taintwatch.deadlines import Deadlines, Overdue
from taintwatch.process import RepeatingThread
from taintwatch.records import Alert
from taintwatch.status import RunStatus, Summary
from taintwatch_models.classifier import ModelCard
from taintwatch_models.errors import UsageError

__all__ = [
    "Notifier",
    "ServiceManagerReporter",
    "Supervision",
    "Watchdog",
    "look_every_s",
    "status_line",
    "supervision",
]

_log = logging.getLogger(__name__)

TELL_EVERY_S = 5.0  # the status line goes to the service manager, unless a camera's state changed

LONGEST_STATUS = 1000  # characters; `systemctl status` shows one line
_FULL = (errno.EAGAIN, errno.ENOBUFS)


@dataclass(frozen=True, slots=True)
class Supervision:
    """What the service manager asks for in the environment."""

    address: str | None
    """The notification socket: a path, or an abstract name that starts with `@`; None without a service manager."""
    watchdog_s: float | None
    """It must hear of us at least so often; None where it does not watch."""


def supervision(environment: MutableMapping[str, str], pid: int) -> Supervision:
    """Take NOTIFY_SOCKET, WATCHDOG_USEC and WATCHDOG_PID out of `environment`, so that no child process inherits them.

    Raises `UsageError` where one of them holds what a service manager never writes.
    """
    address = environment.pop("NOTIFY_SOCKET", "") or None
    microseconds = environment.pop("WATCHDOG_USEC", "")
    for_pid = environment.pop("WATCHDOG_PID", "")
    if address is not None and address[0] not in "/@":
        raise UsageError(f"NOTIFY_SOCKET is {address!r}; it must be a path, or @ and a name. Unset it.")
    if not microseconds or (for_pid and for_pid != str(pid)):
        return Supervision(address, None)
    if not microseconds.isdigit() or int(microseconds) == 0:
        raise UsageError(f"WATCHDOG_USEC is {microseconds!r}; it must be a number of microseconds. Unset it.")
    return Supervision(address, int(microseconds) / 1e6)


class Notifier:
    """Sends to the notification socket; does nothing where there is none. Any thread may use it. Never waits, and a
    message that cannot be sent is told in the log once, never raised: a service that works must not end over it.
    """

    def __init__(self, address: str | None, *, monotonic_ns: Callable[[], int] = time.monotonic_ns) -> None:
        """`address` as in `Supervision`."""
        self._monotonic_ns = monotonic_ns
        self._told = False
        self._socket: socket.socket | None = None
        self._address = ""
        if address is not None:
            self._address = "\0" + address[1:] if address.startswith("@") else address
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
            self._socket.setblocking(False)

    def ready(self, status: str) -> None:
        """It works: what was started, or the reload, is done."""
        self._send("READY=1", _status(status))

    def status(self, status: str) -> None:
        """How it goes, for `systemctl status`."""
        self._send(_status(status))

    def reloading(self) -> None:
        """A reload has begun; `ready` ends it."""
        self._send("RELOADING=1", f"MONOTONIC_USEC={self._monotonic_ns() // 1000}", _status("reloading"))

    def stopping(self) -> None:
        """It is about to end."""
        self._send("STOPPING=1", _status("stopping"))

    def alive(self) -> None:
        """Feed the watchdog."""
        self._send("WATCHDOG=1")

    def extend(self, seconds: float) -> None:
        """Ask for so much more time to start."""
        self._send(f"EXTEND_TIMEOUT_USEC={int(seconds * 1e6)}")

    def close(self) -> None:
        """Give the socket back; what is said later is lost."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _send(self, *lines: str) -> None:
        if self._socket is None:
            return
        try:
            self._socket.sendto("\n".join(lines).encode(), self._address)
        except OSError as error:
            # A full queue empties itself; anything else would come again with every message.
            if error.errno not in _FULL and not self._told:
                self._told = True
                _log.warning("the service manager cannot be told anything: %s", error.strerror)


def _status(text: str) -> str:
    """Return a STATUS line; whatever a camera's failure says must not become a line of its own."""
    line = " ".join(text.split())
    return f"STATUS={line[:LONGEST_STATUS]}"


SLOWEST_S = 2.0  # between two looks
EXTENSION_S = 15.0  # more time to start that is asked for at each look while the model loads


def look_every_s(watchdog_s: float | None) -> float:
    """Return the seconds between two looks: often enough that one that comes late does no harm."""
    return SLOWEST_S if watchdog_s is None else min(SLOWEST_S, watchdog_s / 4)


class Watchdog(RepeatingThread):
    """A thread that looks at the deadlines. A context manager.

    Until `started` is called it asks for more time to start, afterwards it feeds the watchdog; either only while nobody
    is overdue. It can do no more for one that hangs: the service manager ends the process with SIGABRT, which leaves
    every thread's traceback in the journal (`faulthandler`), and starts it again.
    """

    def __init__(self, notifier: Notifier, deadlines: Deadlines, *, every_s: float = SLOWEST_S) -> None:
        """`every_s`: see `look_every_s`."""
        super().__init__("watchdog", self.look, every_s=every_s)
        self._notifier = notifier
        self._deadlines = deadlines
        self._started = False
        self._overdue: tuple[Overdue, ...] = ()
        self._told: frozenset[str] = frozenset()

    @property
    def overdue(self) -> tuple[Overdue, ...]:
        """Who was overdue when it last looked."""
        return self._overdue

    def started(self) -> None:
        """Say that the start is over."""
        self._started = True

    def look(self) -> bool:
        """Look once, and tell. Returns True: it is to be called again."""
        self._overdue = self._deadlines.overdue()
        names = frozenset(late.worker for late in self._overdue)
        for late in self._overdue:
            if late.worker not in self._told:
                _log.error("%s hangs: it should have been heard of %.1f s ago", late.worker, late.overdue_s)
        for name in sorted(self._told - names):
            _log.warning("%s is alive again", name)
        self._told = names
        if self._overdue:
            self._notifier.status(f"hanging: {', '.join(sorted(names))}")
        elif self._started:
            self._notifier.alive()
        else:
            self._notifier.extend(EXTENSION_S)
        return True


class ServiceManagerReporter:
    """Tells systemd that the service is ready, how each camera is, and that it stops."""

    def __init__(self, notifier: Notifier, watchdog: Watchdog, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._notifier = notifier
        self._watchdog = watchdog
        self._clock = clock
        self._told: tuple[object, ...] = ()
        self._next = 0.0
        self.ready = False
        """Whether the model is loaded and the socket bound. The cameras may still be away: they are retried."""
        self.degraded: str | None = None
        self.refusal: Callable[[], str | None] = lambda: None
        """Why the last reload changed nothing: told for as long as that holds."""

    def started(self, card: ModelCard, cameras: Sequence[CameraStatus], endpoint: str | None) -> None:
        """The model is loaded and warm and the socket is bound: all that can fail for good has not."""
        self.ready = True
        self._watchdog.started()
        self._notifier.ready(f"connecting {len(cameras)} cameras")

    def alert(self, alert: Alert) -> None:
        """Tell nothing: the service manager has no use for an alert."""

    def progress(self, status: RunStatus) -> None:
        """Tell the status line when something changed in it, or now and then."""
        self.degraded = status.degraded
        refusal = self.refusal()
        cameras = ((camera.camera, camera.state) for camera in status.cameras)
        states = (refusal, status.degraded, status.notice, status.open_alerts, *cameras)
        if states != self._told or self._clock() >= self._next:
            self._told = states
            self._next = self._clock() + TELL_EVERY_S
            self._notifier.status(status_line(status, refusal))

    def finished(self, summary: Summary) -> None:
        """The run is over."""
        self.ready = False


def status_line(status: RunStatus, refusal: str | None = None) -> str:
    """Return how the run stands on one line, what is wrong first. `refusal`: why a reload changed nothing."""
    running = sum(camera.state is CameraState.RUNNING for camera in status.cameras)
    words = [] if status.degraded is None else [f"degraded: {status.degraded}"]
    words += [] if refusal is None else [f"reload refused: {refusal}"]
    words += [] if status.notice is None else [status.notice]
    words.append(f"{running} of {len(status.cameras)} cameras running")
    words += [
        f"{camera.camera} {camera.state.value}" + (f" ({camera.reason})" if camera.reason is not None else "")
        for camera in status.cameras
        if camera.state is not CameraState.RUNNING
    ]
    words += [
        f"{camera.camera} {camera.arming}" + (f" ({share:.0%})" if (share := camera.learnt_share or 0.0) < 1 else "")
        for camera in status.cameras
        if camera.arming not in (None, "armed")
    ]
    words.append(f"{status.fps:.1f} frames/s")
    words.append(f"{status.open_alerts} open alerts")
    return "; ".join(words)
