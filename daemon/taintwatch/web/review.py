"""The calls by which people say what an alert was: each changes something, and wants the page's own token."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, PlainTextResponse, Response

from taintwatch.evidence.audit import AuditLog
from taintwatch.learner import Learner
from taintwatch.review.judgements import Judgement
from taintwatch.web.body import Call, event_of, json_of, visitor_of
from taintwatch.web.repository import AlertRepository
from taintwatch_models.errors import UsageError

__all__ = ["MOST_AT_ONCE", "review_calls"]

MOST_AT_ONCE = 500
CAMERA = re.compile(r"[A-Za-z0-9._-]{1,64}")


def review_calls(
    repository: AlertRepository, learner: Callable[[], Learner | None], audit: AuditLog
) -> list[tuple[str, str, Call]]:
    """Return each call's address, method and what answers it. `learner`: the daemon's, where it learns."""
    return [
        ("/api/cameras/{camera}/refit", "POST", partial(_refit, learner, audit)),
        ("/api/acknowledge", "POST", partial(_acknowledge_many, repository)),
        ("/api/alerts/{event_id}/acknowledge", "POST", partial(_acknowledge, repository)),
        ("/api/alerts/{event_id}/judgement", "POST", partial(_judge, repository)),
        ("/api/alerts/{event_id}/note", "POST", partial(_note, repository)),
        ("/api/cameras/{camera}/snooze", "POST", partial(_snooze, repository)),
        ("/api/dismissals/{event_id}/undo", "POST", partial(_undo, repository)),
        ("/api/review", "GET", partial(_review, repository)),
        ("/dismissals/{event_id}", "GET", partial(_picture, repository)),
    ]


async def _said(call: Callable[..., Any], *arguments: Any) -> Response:
    return JSONResponse(asdict(await run_in_threadpool(call, *arguments)))


async def _acknowledge(repository: AlertRepository, request: Request) -> Response:
    return await _said(
        repository.judgements.acknowledge, event_of(request), _flag(await json_of(request)), visitor_of(request)
    )


async def _acknowledge_many(repository: AlertRepository, request: Request) -> Response:
    """Acknowledge several alerts, or take that back; one that is gone is left out, and said."""
    told = await json_of(request)
    ids, wanted = told.get("event_ids"), _flag(told)
    if not isinstance(ids, list) or len(ids) > MOST_AT_ONCE or not all(isinstance(each, str) for each in ids):
        raise UsageError(f"event_ids must be a list of at most {MOST_AT_ONCE} ids.")

    by = visitor_of(request)

    def acknowledge() -> list[str]:
        missing = []
        for event_id in ids:
            try:
                repository.judgements.acknowledge(event_id, wanted, by)
            except UsageError:
                missing.append(event_id)
        return missing

    missing = await run_in_threadpool(acknowledge)
    return JSONResponse({"acknowledged": len(ids) - len(missing), "missing": missing})


async def _judge(repository: AlertRepository, request: Request) -> Response:
    text = (await json_of(request)).get("judgement")
    if text is not None and text not in tuple(Judgement):
        raise UsageError("judgement must be 'attack', 'false alarm' or null.")
    return await _said(
        repository.judgements.judge, event_of(request), None if text is None else Judgement(text), visitor_of(request)
    )


async def _note(repository: AlertRepository, request: Request) -> Response:
    text = (await json_of(request)).get("note")
    if not isinstance(text, str):
        raise UsageError("note must be a text.")
    return await _said(repository.judgements.note, event_of(request), text, visitor_of(request))


async def _snooze(repository: AlertRepository, request: Request) -> Response:
    camera, minutes = str(request.path_params["camera"]), (await json_of(request)).get("minutes")
    if not CAMERA.fullmatch(camera):
        raise UsageError("There is no such camera.")
    if isinstance(minutes, bool) or not isinstance(minutes, int | float):
        raise UsageError("minutes must be a number; 0 wakes the camera.")
    until = await run_in_threadpool(repository.judgements.snooze, camera, float(minutes), visitor_of(request))
    return JSONResponse({"until_ms": None if until is None else until // 1_000_000})


async def _refit(learner: Callable[[], Learner | None], audit: AuditLog, request: Request) -> Response:
    """Ask for a camera to be learnt again, or take that back."""
    camera, wanted = str(request.path_params["camera"]), (await json_of(request)).get("wanted")
    if not isinstance(wanted, bool):
        raise UsageError("wanted must be true or false.")
    known = learner()
    if known is None or camera not in known.states() or camera in known.unarmed:
        raise UsageError("There is no camera of that name that was learnt here, and so none to learn again.")
    by = visitor_of(request)
    if wanted:
        await run_in_threadpool(known.refits.ask, camera, by)
    else:
        await run_in_threadpool(known.refits.drop, camera)
    await run_in_threadpool(partial(audit.write, "refit_asked" if wanted else "refit_withdrawn", by, camera=camera))
    return JSONResponse({"wanted": wanted})


async def _undo(repository: AlertRepository, request: Request) -> Response:
    return await _said(repository.judgements.undo, event_of(request), visitor_of(request))


async def _review(repository: AlertRepository, request: Request) -> Response:
    return JSONResponse(await run_in_threadpool(repository.review))


async def _picture(repository: AlertRepository, request: Request) -> Response:
    path = await run_in_threadpool(repository.judgements.dismissals.picture, event_of(request))
    return PlainTextResponse("There is nothing here.\n", 404) if path is None else FileResponse(path)


def _flag(told: dict[str, Any]) -> bool:
    wanted = told.get("acknowledged")
    if not isinstance(wanted, bool):
        raise UsageError("acknowledged must be true or false.")
    return wanted
