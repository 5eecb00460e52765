"""The page's addresses: what is served under which, and what may be asked of it."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import parse_qs

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import QueryParams
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route

from taintwatch.config.outputs import WebSection
from taintwatch.evidence.audit import AuditLog
from taintwatch.evidence.reader import Filter
from taintwatch.learner import Learner
from taintwatch.web.authentication import COOKIE, SESSION_S, Sessions, login_page
from taintwatch.web.body import Call, body_of, event_of, visitor_of
from taintwatch.web.camera_list import CameraList
from taintwatch.web.description import Description
from taintwatch.web.openapi import document
from taintwatch.web.repository import AlertRepository, Exports, Passing
from taintwatch.web.review import review_calls
from taintwatch.web.stream import Audience
from taintwatch.web.trials import POLICY, Trials
from taintwatch_models.errors import TaintwatchError, UsageError

__all__ = ["MONITORING", "Context", "Monitored", "application_of"]

STATIC = Path(__file__).with_name("static")
KINDS = {".css": "text/css", ".html": "text/html", ".js": "text/javascript", ".svg": "image/svg+xml"}
LIST_LIMIT = 500
EXPORT_LIMIT = 1000
LATEST_MS = 9_223_372_036_854  # what the database can count in nanoseconds: the year 2262
MONITORING = ("/healthz", "/metrics", "/readyz")


@dataclass(frozen=True, slots=True, eq=False)
class Context:
    """What answers are made from."""

    repository: AlertRepository
    description: Description
    trials: Trials
    audience: Audience
    sessions: Sessions
    web: WebSection
    audit: AuditLog
    cameras: CameraList
    learner: Callable[[], Learner | None]


class Monitored(Protocol):
    """What monitoring reads of a service."""

    def health(self) -> str | None:
        """Return what hangs; None where all is well."""
        ...

    def readiness(self) -> str | None:
        """Return why it is not ready, or degraded; None where all is well."""
        ...

    def render(self) -> bytes:
        """Return the metrics in Prometheus' text format."""
        ...


def application_of(context: Context, monitored: Monitored | None) -> Starlette:
    """Return the one application: the page, and what monitoring reads where there is something. It guards nothing."""
    static = {path.name: (path.read_bytes(), KINDS[path.suffix]) for path in STATIC.iterdir() if path.suffix in KINDS}
    repository = context.repository
    calls: list[tuple[str, str, Call]] = [
        ("/", "GET", partial(_static, static, "index.html")),
        ("/static/{name}", "GET", partial(_static, static, None)),
        ("/login", "POST", partial(_login, context)),
        ("/api/about", "GET", partial(_about, context)),
        ("/api/config", "GET", _answer(lambda request: context.description.config())),
        ("/api/calibration", "GET", _answer(lambda request: context.description.calibration())),
        ("/api/openapi.json", "GET", _answer(lambda request: document())),
        ("/api/trials", "GET", _answer(lambda request: [asdict(trial) for trial in context.trials.all()])),
        ("/api/cameras", "GET", _answer(lambda request: context.cameras.all())),
        ("/api/alerts", "GET", _answer(lambda request: repository.alerts(filter_of(request.query_params, LIST_LIMIT)))),
        ("/api/alerts/{event_id}", "GET", _answer(lambda request: repository.alert(event_of(request)))),
        *review_calls(repository, context.learner, context.audit),
        ("/alerts/{event_id}/thumbnail", "GET", partial(_thumbnail, context)),
        ("/alerts/{event_id}/{kind}", "GET", partial(_evidence, context)),
        ("/export.zip", "GET", partial(_export, Exports(repository))),
        ("/trials/{name}/{path:path}", "GET", partial(_trial, context)),
    ]
    routes = [Route(path, _guarded(call), methods=[method]) for path, method, call in calls]
    routes.append(Route("/stream", context.audience))
    if monitored is not None:
        routes.append(Route("/healthz", _probe(monitored.health)))
        routes.append(Route("/readyz", _probe(monitored.readiness)))
        routes.append(Route("/metrics", partial(_metrics, monitored)))
    return Starlette(routes=routes)


def _probe(problem_of: Callable[[], str | None]) -> Call:
    """Return a call that says `ok`, or 503 and the problem. In the event loop itself: no worker is waited for."""

    async def answer(request: Request) -> Response:
        problem = problem_of()
        return PlainTextResponse("ok\n") if problem is None else PlainTextResponse(f"{problem}\n", 503)

    return answer


async def _metrics(monitored: Monitored, request: Request) -> Response:
    return Response(monitored.render(), media_type="text/plain; version=0.0.4; charset=utf-8")


def filter_of(query: QueryParams, most: int) -> Filter:
    """Read camera, site, state, since, until (milliseconds since 1970) and limit. Raises `UsageError`."""
    camera, state, site = (query.get(key) or None for key in ("camera", "state", "site"))
    if state not in (None, "open", "cleared", "interrupted"):
        raise UsageError("state must be open, cleared or interrupted.")
    since, until = _number(query, "since"), _number(query, "until")
    limit = min(most, _number(query, "limit") or most)
    return Filter(camera, _ns(since), _ns(until), state, max(1, limit), site)


def _number(query: QueryParams, key: str) -> int | None:
    text = query.get(key)
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= 13 and int(text) <= LATEST_MS):
        raise UsageError(f"{key} must be a whole number from 0 to {LATEST_MS}.")
    return int(text)


def _ns(milliseconds: int | None) -> int | None:
    return None if milliseconds is None else milliseconds * 1_000_000


def _guarded(call: Call) -> Call:
    """Tell what the house's errors say in place of failing."""

    async def guarded(request: Request) -> Response:
        try:
            return await call(request)
        except UsageError as error:
            status = 404 if str(error).startswith("There is no") else 400
            return JSONResponse({"problem": str(error)}, status)
        except TaintwatchError as error:
            return JSONResponse({"problem": str(error)}, 503)

    return guarded


def _answer(make: Callable[[Request], Any]) -> Call:
    """Return a call that answers with JSON, made in a worker thread."""

    async def answer(request: Request) -> Response:
        return JSONResponse(await run_in_threadpool(make, request))

    return answer


async def _static(files: dict[str, tuple[bytes, str]], name: str | None, request: Request) -> Response:
    found = files.get(name or request.path_params["name"])
    if found is None:
        return _nothing()
    return Response(found[0], media_type=found[1], headers={"cache-control": "no-cache"})


async def _login(context: Context, request: Request) -> Response:
    """Open a session for whoever gives the token."""
    given = parse_qs((await body_of(request)).decode("utf-8", "replace")).get("token", [""])[0]
    if not context.sessions.needed:
        return RedirectResponse("/", 303)
    if not context.sessions.fits(given.strip()):
        await asyncio.sleep(context.sessions.failed(visitor_of(request)))
        return login_page(401, "That is not the token.")
    await run_in_threadpool(context.audit.write, "login", visitor_of(request))
    answer = RedirectResponse("/", 303)
    secure = request.url.scheme == "https"
    answer.set_cookie(
        COOKIE,
        context.sessions.open_session(),
        max_age=round(SESSION_S),
        httponly=True,
        samesite="strict",
        secure=secure,
    )
    return answer


async def _about(context: Context, request: Request) -> Response:
    told = context.description.about() | {
        "csrf": context.sessions.csrf,
        "kept": context.repository.keeps_alerts,
        "trials": context.web.trials is not None,
        "audience": asdict(context.audience.stats()),
    }
    return JSONResponse(told)


async def _evidence(context: Context, request: Request) -> Response:
    scratch = Path(tempfile.mkdtemp(prefix="taintwatch-media-"))

    def ended() -> None:
        shutil.rmtree(scratch, ignore_errors=True)

    kind = request.path_params["kind"]
    path = await run_in_threadpool(context.repository.file, event_of(request), kind, scratch)
    if path is None:
        ended()
        return _nothing()
    return Passing(path, ended, media_type="video/mp4" if path.suffix == ".mp4" else "image/jpeg")


async def _thumbnail(context: Context, request: Request) -> Response:
    picture = await run_in_threadpool(context.repository.thumbnail, event_of(request))
    return _nothing() if picture is None else Response(picture, media_type="image/jpeg")


async def _export(exports: Exports, request: Request) -> Response:
    return await exports.answer(filter_of(request.query_params, EXPORT_LIMIT))


async def _trial(context: Context, request: Request) -> Response:
    name, path = request.path_params["name"], request.path_params["path"]
    file = await run_in_threadpool(context.trials.file, name, path)
    return _nothing() if file is None else FileResponse(file, headers={"content-security-policy": POLICY})


def _nothing() -> Response:
    return PlainTextResponse("There is nothing here.\n", 404)
