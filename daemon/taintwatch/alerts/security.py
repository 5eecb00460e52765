"""What protects a socket, and how it is then bound: loopback alone, or CURVE (curvezmq.org) with a list of clients."""

from __future__ import annotations

import errno
import logging
import socket as unix
import threading
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import zmq
from zmq.auth.thread import ThreadAuthenticator

from taintwatch.alerts.endpoints import Endpoint, parse_endpoint
from taintwatch.alerts.guard import BIND_REASONS, Guard, UpstreamLimits
from taintwatch.alerts.keys import AllowedClients, KeyPair, load_public, load_secret
from taintwatch.evidence.audit import AuditLog
from taintwatch_models.errors import PublishError

__all__ = ["CurveClient", "CurveServer", "LoopbackOnly", "Security", "Unprotected", "bind_again", "bind_socket"]


class Security(Protocol):
    """Anything that makes a socket safe for an endpoint."""

    def configure(self, socket: zmq.Socket[Any], endpoint: str) -> None:
        """Set the socket's options for `endpoint`, or raise `PublishError` where it must not be used."""
        ...

    def revision(self) -> int:
        """Return a number that grows when connections made so far must not go on: the socket must be made anew."""
        ...

    def report_to(self, audit: AuditLog) -> None:
        """Write to this log from now on who was allowed and revoked."""
        ...

    def release(self, context: zmq.Context[Any]) -> None:
        """Give back what `configure` set up in this context; before it is ended. May be called again."""
        ...


class LoopbackOnly:
    """For a publisher without encryption: lets it bind only where no other machine can listen."""

    def configure(self, socket: zmq.Socket[Any], endpoint: str) -> None:
        """Refuse with `PublishError` a tcp endpoint that other machines may reach. Sets nothing."""
        self.check(endpoint)

    def check(self, endpoint: str) -> None:
        """Raise `PublishError` where other machines may reach `endpoint`."""
        if not parse_endpoint(endpoint).local:
            raise PublishError(
                f"Alerts cannot be published on {endpoint}: other machines could read them, and no encryption (CURVE) "
                "is configured. Use tcp://127.0.0.1:PORT, or give [publish.curve] a key and its clients "
                "(`taintwatch keys new`)."
            )

    def revision(self) -> int:
        """Return 0: nothing changes."""
        return 0

    def report_to(self, audit: AuditLog) -> None:
        """Do nothing: there is no list."""

    def release(self, context: zmq.Context[Any]) -> None:
        """Do nothing."""


class Unprotected:
    """For a subscriber to a publisher without encryption: sets nothing, refuses nothing."""

    def configure(self, socket: zmq.Socket[Any], endpoint: str) -> None:
        """Do nothing: the publisher decides who may listen."""

    def revision(self) -> int:
        """Return 0: nothing changes."""
        return 0

    def report_to(self, audit: AuditLog) -> None:
        """Do nothing: there is no list."""

    def release(self, context: zmq.Context[Any]) -> None:
        """Do nothing."""


_log = logging.getLogger(__name__)

DOMAIN = "taintwatch"
HANDSHAKE_MS = 5000  # a peer that connects and then says nothing is dropped after this


class CurveServer:
    """Encrypts, and lets in only clients whose public key is on the list at the moment when they connect.

    libzmq asks the ZAP handler (RFC 27) of the socket's context, and with ZAP_ENFORCE_DOMAIN refuses everybody where
    there is none. Connections that are made already are not asked about again: `revision` grows when somebody was
    taken off, and whoever owns the socket then makes it anew. Any thread may use it.
    """

    def __init__(self, key: KeyPair, clients: AllowedClients) -> None:
        self._key = key
        self._clients = clients
        self._lock = threading.Lock()
        self._handlers: weakref.WeakKeyDictionary[zmq.Context[Any], ThreadAuthenticator] = weakref.WeakKeyDictionary()
        self._listed = dict(clients.keys())
        self._known = frozenset(self._listed)
        self._audit = AuditLog(None)
        self._revision = 0
        self.refused = 0
        """Connections refused because of their key."""

    @classmethod
    def from_files(cls, key: Path, clients: Path) -> CurveServer:
        """Read the server's key pair and the folder of allowed clients. Raises `ConfigError`."""
        allowed = AllowedClients(clients)
        allowed.check()
        pair = load_secret(key)
        if not allowed.keys():
            _log.warning("no client is allowed to connect yet: %s holds no key", clients)
        return cls(pair, allowed)

    def configure(self, socket: zmq.Socket[Any], endpoint: str) -> None:
        """Make `socket` a CURVE server. Every endpoint may be used, inproc ones without encryption."""
        self._guard(socket.context)
        socket.setsockopt(zmq.CURVE_SERVER, 1)
        socket.setsockopt(zmq.CURVE_SECRETKEY, self._key.secret.encode())
        socket.setsockopt_string(zmq.ZAP_DOMAIN, DOMAIN)
        socket.setsockopt(zmq.ZAP_ENFORCE_DOMAIN, 1)
        socket.setsockopt(zmq.HANDSHAKE_IVL, HANDSHAKE_MS)

    def revision(self) -> int:
        """Look at the list again; return a number that has grown if somebody was taken off since the last look."""
        listed = dict(self._clients.keys())
        now = frozenset(listed)
        with self._lock:
            self._report(listed)
            if self._known - now:
                self._revision += 1
                _log.info("%d clients were revoked; connections are made anew", len(self._known - now))
            self._known = now
            return self._revision

    def report_to(self, audit: AuditLog) -> None:
        """Write to this log from now on which keys come onto the list, and which are taken off."""
        self._audit = audit

    def _report(self, listed: dict[str, str]) -> None:
        before, self._listed = self._listed, listed
        for key in sorted(listed.keys() - before.keys()):
            self._audit.write("client_allowed", "daemon", client=listed[key], key=key)
        for key in sorted(before.keys() - listed.keys()):
            self._audit.write("client_revoked", "daemon", client=before[key], key=key)

    def release(self, context: zmq.Context[Any]) -> None:
        """Stop the ZAP handler of this context."""
        with self._lock:
            handler = self._handlers.pop(context, None)
        if handler is not None:
            handler.stop()

    def callback(self, domain: str, key: bytes) -> bool:
        """Answer the ZAP handler: whether the client with this public key may connect now."""
        text = key.decode()
        name = self._clients.keys().get(text)
        if name is None:
            self.refused += 1
            if self.refused == int(10 ** (len(str(self.refused)) - 1)):  # 1, 10, 100, ...: it may try for ever
                _log.warning("a client whose key is not allowed was refused (%d so far): %s", self.refused, text)
            return False
        with self._lock:
            self._known |= {text}  # so that it is missed when it is taken off before the next look
        return True

    def _guard(self, context: zmq.Context[Any]) -> None:
        with self._lock:
            if context in self._handlers:
                return
            handler = ThreadAuthenticator(context, log=_log.getChild("zap"))
            handler.start()
            handler.configure_curve_callback(domain=DOMAIN, credentials_provider=self)
            self._handlers[context] = handler


class CurveClient:
    """A client's side. The files are read for each connection, so that a changed key is taken up by itself."""

    def __init__(self, key: Path, server_key: Path) -> None:
        """Read both files once, so that a mistake is told at once. Raises `ConfigError`."""
        self._key = key
        self._server_key = server_key
        self._load()

    def configure(self, socket: zmq.Socket[Any], endpoint: str) -> None:
        """Make `socket` a CURVE client. Raises `ConfigError` where a file can no longer be read."""
        pair, server = self._load()
        socket.setsockopt(zmq.CURVE_SERVERKEY, server.encode())
        socket.setsockopt(zmq.CURVE_PUBLICKEY, pair.public.encode())
        socket.setsockopt(zmq.CURVE_SECRETKEY, pair.secret.encode())

    def revision(self) -> int:
        """Return 0: a client does not end its own connections."""
        return 0

    def report_to(self, audit: AuditLog) -> None:
        """Do nothing: there is no list."""

    def release(self, context: zmq.Context[Any]) -> None:
        """Do nothing."""

    def _load(self) -> tuple[KeyPair, str]:
        return load_secret(self._key), load_public(self._server_key)


AGAIN_S = 0.1


def bind_socket(
    socket: zmq.Socket[Any],
    endpoint: str,
    security: Security,
    limits: UpstreamLimits,
    what: str = "Alerts",
    guard: Guard | None = None,
) -> tuple[str, Guard | None]:
    """Secure and bind a socket whose other options are set; return the endpoint with its real port.

    A tcp endpoint is bound by a `Guard`, which is returned too: whoever asks closes it, or gives it for the next socket
    in its place. `what` is for the message of the `PublishError`: "Alerts", "Missed alerts".
    """
    try:
        parsed = parse_endpoint(endpoint)
    except ValueError as error:
        raise PublishError(f"{what} cannot be published on '{endpoint}': {error}.") from error
    socket.linger = 0
    socket.setsockopt(zmq.HANDSHAKE_IVL, HANDSHAKE_MS)
    security.configure(socket, endpoint)
    _refuse_a_path_in_use(parsed, what)
    made = Guard(parsed, limits, what) if guard is None and parsed.transport == "tcp" else None
    guard = guard or made
    try:
        socket.bind(endpoint if guard is None else guard.inner)
    except zmq.ZMQError as error:
        if made is not None:
            made.close()
        reason = BIND_REASONS.get(error.errno or 0, f"{error.strerror}")
        raise PublishError(f"{what} cannot be published on {endpoint}: {reason}.") from error
    if guard is not None:
        return guard.endpoint, guard
    return str(socket.getsockopt_string(zmq.LAST_ENDPOINT)).rstrip("\0"), None


def bind_again(
    make: Callable[[], zmq.Socket[bytes]], stopping: threading.Event, alive: Callable[[], None]
) -> zmq.Socket[bytes] | None:
    """Make a socket in place of one that was just closed: it lets go of its endpoint a moment later.

    Tries until `stopping` (then None), and calls `alive` meanwhile.
    """
    while not stopping.is_set():
        try:
            return make()
        except (PublishError, zmq.ZMQError):  # in use for a moment longer, or no descriptor is left: that passes
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
    reason = BIND_REASONS[errno.EADDRINUSE].replace("port", "path")
    raise PublishError(f"{what} cannot be published on {endpoint.text}: {reason}.")
