"""Who may see the page: the host name asked for, token and sessions, forged requests, the log-in form."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import logging
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from taintwatch.evidence.audit import AuditLog
from taintwatch.web.address import host_of, is_known_host

__all__ = [
    "COOKIE",
    "CSRF_HEADER",
    "AuthenticationMiddleware",
    "BearerMiddleware",
    "Sessions",
    "login_page",
    "visitor_of",
]

_log = logging.getLogger(__name__)

COOKIE = "taintwatch_session"
CSRF_HEADER = "x-taintwatch-csrf"
SESSION_S = 12 * 3600.0
SESSIONS = 200  # the oldest goes
SHORTEST_DELAY_S, LONGEST_DELAY_S = 0.1, 5.0  # of an attempt after one that failed
FORGET_S = 600.0
ADDRESSES = 1000  # whose failures are remembered
LARGEST_HEADERS = 16_384  # bytes
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; media-src 'self'; "
    "connect-src 'self'; font-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
HEADERS = {
    "cache-control": "no-store",
    "content-security-policy": POLICY,
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
    "referrer-policy": "same-origin",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
}


class Sessions:
    """The token and what it opens: sessions, held in memory only. Used by the page's event loop alone."""

    def __init__(
        self, token: str | None, *, audit: AuditLog | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """`token` None: whoever reaches the page may see it (loopback). `audit` is told of each wrong token."""
        self._audit = audit or AuditLog(None)
        self._token = None if token is None else token.encode()
        self._clock = clock
        self._sessions: OrderedDict[str, float] = OrderedDict()
        self._failures: OrderedDict[str, tuple[int, float]] = OrderedDict()
        """Address -> attempts that failed, and until when they count."""
        self.csrf = secrets.token_urlsafe(24)
        """What writing calls must carry: other sites can neither read it nor send the header."""

    @property
    def needed(self) -> bool:
        """Whether a token is needed."""
        return self._token is not None

    def fits(self, given: str) -> bool:
        """Whether this is the token; takes the same time whatever is given."""
        return self._token is not None and hmac.compare_digest(_digest(given.encode()), _digest(self._token))

    def failed(self, visitor: str) -> float:
        """Note a wrong token; return for how many seconds the answer has to wait, by how many came from there of late.

        `visitor`: who gave it, as `visitor_of` says. Only wrong ones wait: whoever has the token is not slowed by
        somebody who guesses beside him.
        """
        failures, until = self._failures.pop(visitor, (0, 0.0))
        failures = 1 if self._clock() >= until else failures + 1
        self._failures[visitor] = failures, self._clock() + FORGET_S
        while len(self._failures) > ADDRESSES:
            self._failures.popitem(last=False)
        _log.warning("a wrong token was given from %s (%d attempts of late)", visitor.split()[-1], failures)
        self._audit.write("login_failed", visitor, attempts=failures)
        return min(LONGEST_DELAY_S, SHORTEST_DELAY_S * 2.0 ** min(failures, 20))

    def open_session(self) -> str:
        """Return the secret of a new session."""
        secret = secrets.token_urlsafe(32)
        self._sessions[_digest(secret.encode()).hex()] = self._clock() + SESSION_S
        while len(self._sessions) > SESSIONS:
            self._sessions.popitem(last=False)
        return secret

    def admits(self, headers: Headers) -> bool:
        """Whether a request comes from somebody who gave the token."""
        if self._token is None:
            return True
        given = bearer_of(headers)
        if given is not None and self.fits(given):
            return True
        until = self._sessions.get(_digest(_session_of(headers).encode()).hex())  # found by its digest: nothing to time
        return until is not None and self._clock() < until


class AuthenticationMiddleware:
    """ASGI middleware. Order: the name that was asked for, the token, the forgery check; then the page itself."""

    def __init__(self, app: ASGIApp, sessions: Sessions, names: frozenset[str]) -> None:
        """`names`: host names, beside localhost and addresses, by which browsers may call us."""
        self._app = app
        self._sessions = sessions
        self._names = names

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self._app(scope, receive, send)
            return
        refusal = self._refusal(scope)
        if refusal is not None and refusal.status_code == 401 and bearer_of(Headers(scope=scope)) is not None:
            await asyncio.sleep(self._sessions.failed(visitor_of(scope["client"][0] if scope["client"] else None)))

        async def send_protected(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        await (refusal or self._app)(scope, receive, send_protected)

    def _refusal(self, scope: Scope) -> Response | None:
        headers = Headers(scope=scope)
        if sum(len(name) + len(value) for name, value in scope["headers"]) > LARGEST_HEADERS:
            return PlainTextResponse("The request's headers are too large.\n", 431)
        if not is_known_host(headers.get("host", ""), self._names):
            return PlainTextResponse("This page is not known by that name; add it to web.hosts.\n", 400)
        is_login = (scope["method"], scope["path"]) == ("POST", "/login")
        if not is_login and not self._sessions.admits(headers):
            return login_page(401)
        if _is_foreign(headers) and not _is_link_to_page(scope, headers):
            return PlainTextResponse("This request comes from another site.\n", 403)
        if not is_login and not scope["state"]["connection"].hold():
            return PlainTextResponse("Too much is asked at once; try again later.\n", 503)
        if scope["method"] in ("GET", "HEAD"):
            return None
        if not is_login and not hmac.compare_digest(
            headers.get(CSRF_HEADER, "").encode(), self._sessions.csrf.encode()
        ):
            return PlainTextResponse("This request does not come from the page; reload it.\n", 403)
        return None


class BearerMiddleware:
    """ASGI middleware for what programs read: some paths, for whoever gives the token; None: for whoever asks."""

    def __init__(self, app: ASGIApp, token: str | None, paths: Sequence[str]) -> None:
        self._app = app
        self._token = token
        self._paths = tuple(paths)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        await (self._refusal(scope) or self._app)(scope, receive, send)

    def _refusal(self, scope: Scope) -> Response | None:
        given = Headers(scope=scope).get("authorization", "").encode("latin-1", "replace")
        if self._token is not None and not hmac.compare_digest(given, f"Bearer {self._token}".encode()):
            return PlainTextResponse("a bearer token is needed\n", 401, {"www-authenticate": "Bearer"})
        if scope["path"] not in self._paths:
            return PlainTextResponse(f"there are {', '.join(self._paths)}\n", 404)
        scope["state"]["connection"].hold()
        return None


def visitor_of(address: str | None) -> str:
    """Return how the log and the audit log call whoever asks from this address."""
    return f"page {address or 'unknown'}"


def bearer_of(headers: Headers) -> str | None:
    """Return the token that a program gives, where one does."""
    kind, _, given = headers.get("authorization", "").partition(" ")
    return given.strip() if kind.lower() == "bearer" else None


def _is_foreign(headers: Headers) -> bool:
    """Whether a browser says that another site's page makes the request."""
    if headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
        return True
    origin = headers.get("origin")
    return origin is not None and host_of(urlsplit(origin).netloc) != host_of(headers.get("host", ""))


def _is_link_to_page(scope: Scope, headers: Headers) -> bool:
    """Whether somebody followed a link to the page itself, which another site may have."""
    return (scope["method"], scope["path"], headers.get("sec-fetch-mode")) == ("GET", "/", "navigate")


def _session_of(headers: Headers) -> str:
    """Return the session's secret. Found by hand: the standard library's cookie parser takes quadratic time."""
    for cookie in headers.get("cookie", "").split(";"):
        name, _, value = cookie.strip().partition("=")
        if name == COOKIE:
            return value
    return ""


def _digest(text: bytes) -> bytes:
    return hashlib.sha256(text).digest()


STYLE = (
    ":root{color-scheme:light dark}body{font:1rem/1.5 system-ui,sans-serif;max-width:24rem;margin:15vh auto;"
    "padding:0 1rem}input,button{font:inherit;padding:.5rem;width:100%;box-sizing:border-box;margin-top:.5rem}"
)
PAGE = f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>Taintwatch: token needed</title><style>{STYLE}</style></head>
<body><main><h1>Taintwatch</h1><p>@@PROBLEM@@</p>
<form method="post" action="/login"><label for="token">Token</label>
<input id="token" name="token" type="password" autocomplete="current-password" required autofocus>
<button type="submit">Show the page</button></form></main></body></html>
"""
_HASH = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()
LOGIN_POLICY = (
    f"default-src 'none'; style-src 'sha256-{_HASH}'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)


def login_page(status: int, problem: str = "A token is needed to see this page.") -> HTMLResponse:
    """Return the form. `problem`: one fixed sentence, not escaped."""
    headers = {"content-security-policy": LOGIN_POLICY, "www-authenticate": 'Bearer realm="taintwatch"'}
    return HTMLResponse(PAGE.replace("@@PROBLEM@@", problem), status, headers)
