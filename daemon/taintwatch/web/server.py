"""The page's server: an event loop in a thread of its own, below the pipeline's priority."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import ssl
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from taintwatch.config.sections import Config
from taintwatch.evidence.folder import EvidenceFolder
from taintwatch.runtime import DetectionStack
from taintwatch.tokens import read_token
from taintwatch.web.address import Address, parse_address
from taintwatch.web.app import Context, make_app
from taintwatch.web.authentication import Sessions
from taintwatch.web.description import Description
from taintwatch.web.live import LiveState
from taintwatch.web.previews import Previews
from taintwatch.web.repository import AlertRepository
from taintwatch.web.stream import Audience, AudienceStats
from taintwatch.web.trials import Trials
from taintwatch_models.errors import ConfigError

__all__ = ["REQUEST_S", "RequestTimeout", "WebServer"]

_log = logging.getLogger(__name__)

NICE = 5  # how much the page's threads stand back behind the pipeline's (Linux: each thread has its own)
SPARE = 64  # connections beside those of viewers
BACKLOG = 128
UNSENT_MS = 20_000  # a connection whose peer takes nothing for so long is closed by the kernel
CLOSE_S = 3.0


class WebServer:
    """Serves the page. A context manager: it listens from the first moment on."""

    def __init__(
        self,
        config: Callable[[], Config],
        detection: Callable[[], DetectionStack],
        live: LiveState,
        *,
        stuck_s: float | None = None,
    ) -> None:
        """`config`, `detection`: those in use when asked. Raises `ConfigError` for what cannot be used in [web]."""
        web = config().web
        address = parse_address(web.bind or "")
        token = None if web.token_file is None else read_token(Path(web.token_file), "web.token_file")
        _check(address, token is not None, web.certificate is not None)
        self._socket = _listen(address, str(web.bind))
        self._worker = ThreadPoolExecutor(1, "web-pictures")
        folder = config().evidence.folder if config().publish.enabled else None
        pictures = Previews(live.newest, detection, web.width)
        extra = {} if stuck_s is None else {"stuck_s": stuck_s}
        self._audience = Audience(
            live, pictures, self._worker, fps=web.fps, most=web.viewers, stopping=self._is_stopping, **extra
        )
        context = Context(
            AlertRepository(live, None if folder is None else EvidenceFolder(Path(folder))),
            Description(config, detection, live),
            Trials(None if web.trials is None else Path(web.trials)),
            self._audience,
            Sessions(token),
            web,
        )
        names = frozenset({address.host.lower(), *(name.lower() for name in web.hosts)})
        try:
            self._server = uvicorn.Server(
                _settings(make_app(context, names), web.certificate, web.private_key, web.viewers)
            )
            self._server.config.load()
        except (OSError, ssl.SSLError) as error:
            self._socket.close()
            raise ConfigError(
                f"web.certificate and web.private_key cannot be used: {error.strerror or error}"
            ) from None
        self._thread = threading.Thread(target=self._run, name="web", daemon=True)
        self._thread.start()
        scheme = "http" if web.certificate is None else "https"
        _log.info("the page is served on %s://%s", scheme, web.bind)

    @property
    def address(self) -> tuple[str, int]:
        """Host and port that it is really bound to."""
        host, port = self._socket.getsockname()[:2]
        return str(host), int(port)

    def stats(self) -> AudienceStats:
        """Return how many look, and what they cost. Any thread may ask."""
        return self._audience.stats()

    def close(self) -> None:
        """Let every viewer go and stop, within about three seconds. May be called again."""
        self._server.should_exit = True
        self._thread.join(CLOSE_S)
        self._worker.shutdown(wait=False, cancel_futures=True)
        self._socket.close()

    def __enter__(self) -> WebServer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _is_stopping(self) -> bool:
        return self._server.should_exit

    def _run(self) -> None:
        with contextlib.suppress(OSError):  # some containers do not allow it: then all are alike
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICE)
        self._server.run(sockets=[self._socket])


class _Dropped(logging.Filter):
    """Leaves out what the server says of a viewer that we let go: it is counted, and no mistake."""

    def filter(self, record: logging.LogRecord) -> bool:
        return "without completing response" not in record.getMessage()


def _check(address: Address, token: bool, certificate: bool) -> None:
    if address.loopback:
        return
    if not token:
        raise ConfigError(f"web.bind is {address.host}, which other machines may reach; set web.token_file")
    if not certificate:
        _log.warning("web.bind is %s without web.certificate: the token can be read on the way", address.host)


def _listen(address: Address, bind: str) -> socket.socket:
    listener = socket.socket(address.family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # Accepted connections inherit it. It also ends those whose peer keeps its window shut.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, UNSENT_MS)
        listener.bind((address.host, address.port))
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        raise ConfigError(f"web.bind is {bind}, which cannot be used: {error.strerror or error}") from None
    return listener


def _settings(app: object, certificate: str | None, key: str | None, viewers: int) -> uvicorn.Config:
    logger = logging.getLogger("uvicorn.error")
    if not any(isinstance(each, _Dropped) for each in logger.filters):
        logger.addFilter(_Dropped())
    return uvicorn.Config(
        app,  # type: ignore[arg-type]
        http=RequestTimeout,
        ws="none",
        lifespan="off",
        loop="asyncio",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        date_header=False,
        limit_concurrency=viewers + SPARE,
        timeout_keep_alive=10,
        timeout_graceful_shutdown=1,
        ssl_certfile=certificate,
        ssl_keyfile=key,
    )


REQUEST_S = 10.0


class RequestTimeout(H11Protocol):
    """uvicorn's protocol, which by itself bounds only the time between two requests, and only while nothing comes.

    Somebody who connects and says nothing, or sends one header a minute, would hold one of the connections that are
    allowed. Here the first line and all headers of a request must have come `REQUEST_S` after the connection was made,
    or after the answer before.
    """

    _due: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for the first request."""
        super().connection_made(transport)
        self._expect_request()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait for nothing more."""
        super().connection_lost(exc)
        self._stop_waiting()

    def data_received(self, data: bytes) -> None:
        """Take data; a request that is whole is one that came in time."""
        super().data_received(data)
        if self._answering():
            self._stop_waiting()

    def on_response_complete(self) -> None:
        """Begin to wait for the next request, where that is not there already."""
        super().on_response_complete()
        if not self._answering():
            self._expect_request()

    def _answering(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _expect_request(self) -> None:
        self._stop_waiting()
        if not self.transport.is_closing():
            self._due = self.loop.call_later(REQUEST_S, self.transport.abort)

    def _stop_waiting(self) -> None:
        if self._due is not None:
            self._due.cancel()
            self._due = None
