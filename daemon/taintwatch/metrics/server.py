"""/metrics, /healthz and /readyz over HTTP: on loopback, or for whoever has the token."""

from __future__ import annotations

import hmac
import http.server
import ipaddress
import logging
import re
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from types import TracebackType
from typing import Any

from taintwatch_models.errors import ConfigError

__all__ = ["MetricsServer", "Page"]

_log = logging.getLogger(__name__)

PATIENCE_S = 5.0  # for a request to come in, and for an answer to be taken
AT_ONCE = 8  # requests; more are turned away, so that nobody can make us start threads without end
_ADDRESS = re.compile(r"(?:\[(?P<six>[0-9A-Fa-f:.]+)\]|(?P<host>[^:\[\]]+)):(?P<port>\d{1,5})")


@dataclass(frozen=True, slots=True)
class Page:
    """An answer."""

    body: bytes
    status: HTTPStatus = HTTPStatus.OK
    content_type: str = "text/plain; charset=utf-8"


class MetricsServer:
    """Serves pages by path in threads of its own. A context manager: it listens from the first moment on."""

    def __init__(self, bind: str, pages: dict[str, Callable[[], Page]], token: str | None = None) -> None:
        """Raises `ConfigError` for an address that is malformed, in use, or beyond loopback without a token."""
        family, host, port = _parse(bind)
        if token is None and not _is_loopback(host):
            raise ConfigError(f"metrics.bind is {bind}, which other machines may reach; set metrics.token_file")
        try:
            self._server = _server(family, (host, port), _handler(pages, token))
        except OSError as error:
            raise ConfigError(f"metrics.bind is {bind}, which cannot be used: {error.strerror or error}") from None
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.2}, name="metrics", daemon=True
        )
        self._thread.start()

    @property
    def address(self) -> tuple[str, int]:
        """Host and port that it is really bound to."""
        host, port = self._server.server_address[:2]
        return str(host), int(port)

    def close(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def __enter__(self) -> MetricsServer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _parse(bind: str) -> tuple[socket.AddressFamily, str, int]:
    match = _ADDRESS.fullmatch(bind)
    if match is None or int(match["port"]) > 65_535:
        raise ConfigError(f"metrics.bind is {bind!r}; it must be like 127.0.0.1:9108 or [::1]:9108")
    family = socket.AF_INET6 if match["six"] else socket.AF_INET
    return family, match["six"] or match["host"], int(match["port"])


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _server(
    family: socket.AddressFamily, address: tuple[str, int], handler: type[http.server.BaseHTTPRequestHandler]
) -> http.server.ThreadingHTTPServer:
    class Server(http.server.ThreadingHTTPServer):
        address_family = family
        daemon_threads = True
        block_on_close = False
        _slots = threading.BoundedSemaphore(AT_ONCE)

        def process_request(self, request: Any, client_address: Any) -> None:
            if not self._slots.acquire(blocking=False):
                self.shutdown_request(request)
                return
            super().process_request(request, client_address)

        def process_request_thread(self, request: Any, client_address: Any) -> None:
            try:
                super().process_request_thread(request, client_address)
            finally:
                self._slots.release()

        def handle_error(self, request: Any, client_address: Any) -> None:
            _log.debug("a request for metrics broke off", exc_info=True)

    return Server(address, handler)


def _handler(pages: dict[str, Callable[[], Page]], token: str | None) -> type[http.server.BaseHTTPRequestHandler]:
    class Handler(http.server.BaseHTTPRequestHandler):
        timeout = PATIENCE_S
        server_version = "taintwatch"
        sys_version = ""

        def do_GET(self) -> None:
            self._answer(self._page())

        def do_HEAD(self) -> None:
            self._answer(self._page())

        def _page(self) -> Page:
            if token is not None and not self._knows(token):
                return Page(b"a bearer token is needed\n", HTTPStatus.UNAUTHORIZED)
            page = pages.get(self.path.partition("?")[0])
            if page is None:
                return Page(f"there are {', '.join(sorted(pages))}\n".encode(), HTTPStatus.NOT_FOUND)
            return page()

        def _knows(self, token: str) -> bool:
            given = self.headers.get("Authorization", "")
            return hmac.compare_digest(given.encode("latin-1", "replace"), f"Bearer {token}".encode())

        def _answer(self, page: Page) -> None:
            self.send_response(page.status)
            self.send_header("Content-Type", page.content_type)
            self.send_header("Content-Length", str(len(page.body)))
            self.send_header("Cache-Control", "no-store")
            if page.status == HTTPStatus.UNAUTHORIZED:
                self.send_header("WWW-Authenticate", "Bearer")
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(page.body)

        def log_message(self, *args: Any) -> None:
            _log.debug("metrics: %s", self.path)

    return Handler
