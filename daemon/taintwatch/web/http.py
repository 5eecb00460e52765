"""The HTTP server of page, metrics and health: one event loop in a thread of its own."""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

from taintwatch.connections import Connection, Connections, accept_for_ever, listen
from taintwatch.web.address import check_bind
from taintwatch_models.errors import ConfigError

__all__ = ["REQUEST_S", "HttpServer", "Listener", "RequestTimeout"]

_log = logging.getLogger(__name__)

REQUEST_S = 10.0
HANDSHAKE_S = 5.0  # TLS
LARGEST_HEAD = 16_384  # bytes of a request's first line and headers
CLOSE_S = 3.0
GRACE_S = 1.0  # for answers that are under way at the end
SENT_AGAIN_S = 0.1  # until it is asked again whether an answer has gone out


@dataclass(frozen=True, slots=True)
class Listener:
    """Where an application is served. `section`: of the configuration, for messages ("web", "metrics")."""

    section: str
    bind: str
    app: ASGIApp
    token: bool
    """Whether it asks for a token; needed beyond loopback."""
    most: int
    """Connections at once."""
    certificate: str | None = None
    private_key: str | None = None


class HttpServer:
    """Serves every listener. A context manager: it listens from the first moment on."""

    def __init__(self, listeners: Sequence[Listener]) -> None:
        """Raises `ConfigError` for addresses, tokens and certificates that cannot be used."""
        self.stopping = False
        self._sites: list[_Site] = []
        try:
            for listener in listeners:
                self._sites.append(_Site(listener))
        except BaseException:
            self._close_sockets()
            raise
        self._loop = asyncio.new_event_loop()
        self._ended = asyncio.Event()
        self._thread = threading.Thread(target=self._run, name="web", daemon=True)
        self._thread.start()

    def address(self, section: str) -> tuple[str, int]:
        """Return host and port that a section is really bound to."""
        return next(site.address for site in self._sites if site.section == section)

    def connections(self, section: str) -> Connections:
        """Return a section's connections; to be looked at only."""
        return next(site.connections for site in self._sites if site.section == section)

    def close(self) -> None:
        """Let everybody go and stop, within about three seconds. May be called again."""
        if not self.stopping:
            self.stopping = True
            self._loop.call_soon_threadsafe(self._ended.set)
        self._thread.join(CLOSE_S)
        self._close_sockets()

    def __enter__(self) -> HttpServer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._serve())

    async def _serve(self) -> None:
        accepting = [asyncio.create_task(site.serve()) for site in self._sites]
        await self._ended.wait()
        deadline = self._loop.time() + GRACE_S
        while any(site.busy for site in self._sites) and self._loop.time() < deadline:
            await asyncio.sleep(0.05)
        for task in accepting:
            task.cancel()
        await asyncio.gather(*accepting, return_exceptions=True)

    def _close_sockets(self) -> None:
        for site in self._sites:
            site.socket.close()


class _Site:
    """One listener at work."""

    def __init__(self, listener: Listener) -> None:
        self.section = listener.section
        self.connections = Connections(listener.most)
        self.socket = _socket(listener)
        self.address: tuple[str, int] = self.socket.getsockname()[:2]
        self._state = ServerState()
        self._config = uvicorn.Config(
            listener.app,
            ws="none",
            lifespan="off",
            loop="asyncio",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            date_header=False,
            timeout_keep_alive=round(REQUEST_S),
            h11_max_incomplete_event_size=LARGEST_HEAD,
            ssl_certfile=listener.certificate,
            ssl_keyfile=listener.private_key,
        )
        try:
            self._config.load()
        except (OSError, ssl.SSLError) as error:
            self.socket.close()
            said = f"{listener.section}.certificate and {listener.section}.private_key cannot be used"
            raise ConfigError(f"{said}: {error.strerror or error}") from None

    @property
    def busy(self) -> bool:
        return bool(self._state.tasks)

    async def serve(self) -> None:
        await accept_for_ever(self.socket, self.connections, self._serve_one)

    async def _serve_one(self, client: socket.socket, connection: Connection) -> None:
        loop, secure = asyncio.get_running_loop(), self._config.ssl
        protocol = RequestTimeout(self._config, self._state, connection)
        transport, _ = await loop.connect_accepted_socket(
            lambda: protocol, client, ssl=secure, ssl_handshake_timeout=None if secure is None else HANDSHAKE_S
        )
        try:
            await protocol.closed.wait()
        finally:
            transport.abort()


class RequestTimeout(H11Protocol):
    """uvicorn's protocol, which by itself bounds only the time between two requests, and only while nothing comes.

    Somebody who connects and says nothing, or sends one header a minute, would hold one of the connections that are
    allowed. Here the first line and all headers of a request must have come `REQUEST_S` after the connection was made,
    or after the answer before. An application finds its `Connection` in the scope's state.
    """

    def __init__(self, config: uvicorn.Config, state: ServerState, connection: Connection) -> None:
        super().__init__(config, state, {"connection": connection}, asyncio.get_running_loop())
        self._connection = connection
        self._due: asyncio.TimerHandle | None = None
        self.closed = asyncio.Event()

    @property
    def answering(self) -> bool:
        """Whether a request is under way."""
        return self.cycle is not None and not self.cycle.response_complete

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for the first request."""
        super().connection_made(transport)
        self._expect_request()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait for nothing more."""
        super().connection_lost(exc)
        self._stop_waiting()
        self.closed.set()

    def data_received(self, data: bytes) -> None:
        """Take data; a request that is whole is one that came in time."""
        super().data_received(data)
        if self.answering:
            self._stop_waiting()

    def on_response_complete(self) -> None:
        """Begin to wait for the next request, where that is not there already."""
        super().on_response_complete()
        if not self.answering:
            self._expect_request()
        self._release()

    def _release(self) -> None:
        """Let the connection go once the answer has gone out: a long one still waits to be sent when it is complete."""
        if self.transport.get_write_buffer_size() and not self.closed.is_set():
            self.loop.call_later(SENT_AGAIN_S, self._release)
        elif not self.answering:
            self._connection.release()

    def _expect_request(self) -> None:
        self._stop_waiting()
        if not self.transport.is_closing():
            self._due = self.loop.call_later(REQUEST_S, self.transport.abort)

    def _stop_waiting(self) -> None:
        if self._due is not None:
            self._due.cancel()
            self._due = None


class _Dropped(logging.Filter):
    """Leaves out what the server says of a viewer that we let go: it is counted, and no mistake."""

    def filter(self, record: logging.LogRecord) -> bool:
        return "without completing response" not in record.getMessage()


def _socket(listener: Listener) -> socket.socket:
    address = check_bind(listener.section, listener.bind, listener.token)
    if not address.loopback and listener.certificate is None:
        _log.warning("%s.bind is %s without TLS: the token can be read on the way", listener.section, listener.bind)
    logger = logging.getLogger("uvicorn.error")
    if not any(isinstance(each, _Dropped) for each in logger.filters):
        logger.addFilter(_Dropped())
    try:
        return listen(address.family, address.host, address.port)
    except OSError as error:
        raise ConfigError(
            f"{listener.section}.bind is {listener.bind}, which cannot be used: {error.strerror or error}"
        ) from None
