"""Binding a socket, with every way in which that fails told in one sentence."""

from __future__ import annotations

import errno
import socket as unix
import threading
from collections.abc import Callable
from typing import Any

import zmq

from taintwatch.alerts.endpoints import Endpoint, parse_endpoint
from taintwatch.alerts.security import Security
from taintwatch_models.errors import PublishError

__all__ = ["bind_again", "bind_socket"]

AGAIN_S = 0.1

REASONS = {
    errno.EADDRINUSE: "another program is using it. Stop that one or take another port",
    errno.EADDRNOTAVAIL: "this machine has no such address. Take one of its own, such as 127.0.0.1",
    errno.ENODEV: "this machine has no such address. Take one of its own, such as 127.0.0.1",
    errno.EACCES: "permission is denied. Take a port above 1023 or another path",
    errno.ENOENT: "its folder does not exist. Create it or take another path",
}


def bind_socket(socket: zmq.Socket[Any], endpoint: str, security: Security, what: str = "Alerts") -> str:
    """Secure and bind a socket whose other options are set; return the endpoint with its real port.

    `what` is for the message of the `PublishError`: "Alerts", "Missed alerts".
    """
    try:
        parsed = parse_endpoint(endpoint)
    except ValueError as error:
        raise PublishError(f"{what} cannot be published on '{endpoint}': {error}.") from error
    socket.linger = 0
    socket.setsockopt(zmq.IPV6, int(parsed.six))
    security.configure(socket, endpoint)
    _refuse_a_path_in_use(parsed, what)
    try:
        socket.bind(endpoint)
    except zmq.ZMQError as error:
        reason = REASONS.get(error.errno or 0, f"{error.strerror}")
        raise PublishError(f"{what} cannot be published on {endpoint}: {reason}.") from error
    return str(socket.getsockopt_string(zmq.LAST_ENDPOINT)).rstrip("\0")


def bind_again(
    make: Callable[[], zmq.Socket[bytes]], stopping: threading.Event, alive: Callable[[], None]
) -> zmq.Socket[bytes] | None:
    """Make a socket in place of one that was just closed: it lets go of its endpoint a moment later.

    Tries until `stopping` (then None), and calls `alive` meanwhile.
    """
    while not stopping.is_set():
        try:
            return make()
        except PublishError:
            alive()
            stopping.wait(AGAIN_S)
    return None


def _refuse_a_path_in_use(endpoint: Endpoint, what: str) -> None:
    # ZeroMQ takes the path of a living publisher away without a word.
    if endpoint.transport != "ipc" or endpoint.host.startswith("@"):
        return
    with unix.socket(unix.AF_UNIX, unix.SOCK_STREAM) as probe:
        try:
            probe.connect(endpoint.host)
        except OSError:
            return
    reason = REASONS[errno.EADDRINUSE].replace("port", "path")
    raise PublishError(f"{what} cannot be published on {endpoint.text}: {reason}.")
