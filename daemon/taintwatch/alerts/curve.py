"""CURVE (curvezmq.org) on both sides: who may connect is decided by the server's list of clients, and fails closed."""

from __future__ import annotations

import logging
import os
import threading
import weakref
from pathlib import Path
from typing import Any

import zmq
from zmq.auth.thread import ThreadAuthenticator

from taintwatch.alerts.allowed import AllowedClients
from taintwatch.alerts.keys import KeyPair, load_public, load_secret

__all__ = ["CurveClient", "CurveServer"]

_log = logging.getLogger(__name__)

DOMAIN = "taintwatch"
HANDSHAKE_MS = 5000  # a peer that connects and then says nothing is dropped after this
CREDENTIALS = "CREDENTIALS_DIRECTORY"


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
        self._known = frozenset(clients.keys())
        self._revision = 0
        self.refused = 0
        """Connections refused because of their key."""

    @classmethod
    def from_files(cls, key: Path, clients: Path) -> CurveServer:
        """Read the server's key pair and the folder of allowed clients. Raises `ConfigError`."""
        allowed = AllowedClients(clients)
        allowed.check()
        pair = load_secret(key, os.environ.get(CREDENTIALS))
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
        now = frozenset(self._clients.keys())
        with self._lock:
            if self._known - now:
                self._revision += 1
                _log.info("%d clients were revoked; connections are made anew", len(self._known - now))
            self._known = now
            return self._revision

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

    def release(self, context: zmq.Context[Any]) -> None:
        """Do nothing."""

    def _load(self) -> tuple[KeyPair, str]:
        return load_secret(self._key, os.environ.get(CREDENTIALS)), load_public(self._server_key)
