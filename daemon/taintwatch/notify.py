"""What systemd is told: ready, reloading, stopping, how it goes, and that we live (sd_notify(3))."""

from __future__ import annotations

import errno
import logging
import socket
import time
from collections.abc import Callable, MutableMapping
from dataclasses import dataclass

from taintwatch_models.errors import UsageError

__all__ = ["Notifier", "Supervision", "supervision"]

_log = logging.getLogger(__name__)

LONGEST_STATUS = 1000  # characters; `systemctl status` shows one line
_FULL = (errno.EAGAIN, errno.ENOBUFS)


@dataclass(frozen=True, slots=True)
class Supervision:
    """What the service manager wants of us, as it says in the environment."""

    address: str | None
    """The notification socket: a path, or an abstract name that starts with `@`; None without a service manager."""
    watchdog_s: float | None
    """It must hear of us at least so often; None where it does not watch."""


def supervision(environment: MutableMapping[str, str], pid: int) -> Supervision:
    """Take NOTIFY_SOCKET, WATCHDOG_USEC and WATCHDOG_PID out of `environment`, so that no child speaks for us.

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
