"""A request's address and body, read within bounds."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Awaitable, Callable
from typing import Any

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from taintwatch.evidence.media_store import EVENT_ID
from taintwatch.web.authentication import visitor_of as visitor_at
from taintwatch_models.errors import UsageError

__all__ = ["Call", "body_of", "event_of", "json_of", "visitor_of"]

LARGEST_BODY = 64_000
BODY_S = 10.0
Call = Callable[[Request], Awaitable[Response]]


def event_of(request: Request) -> str:
    """Return the alert that an address names. Raises `UsageError`."""
    event_id = str(request.path_params["event_id"])
    if not EVENT_ID.fullmatch(event_id):
        raise UsageError("There is no such alert.")
    return event_id


async def json_of(request: Request) -> dict[str, Any]:
    """Return the JSON object that was sent. Raises `UsageError`."""
    told = None
    with contextlib.suppress(ValueError, RecursionError):
        told = json.loads(await body_of(request))
    if not isinstance(told, dict):
        raise UsageError("The request must hold a JSON object.")
    return told


async def body_of(request: Request) -> bytes:
    """Return what was sent. Raises `UsageError` where it is too large, breaks off, or takes too long."""
    body = b""
    try:
        async with asyncio.timeout(BODY_S):
            async for part in request.stream():
                body += part
                if len(body) > LARGEST_BODY:
                    raise UsageError(f"The request is larger than {LARGEST_BODY} bytes.")
    except TimeoutError:
        raise UsageError(f"The request was not whole after {BODY_S:g} s.") from None
    except ClientDisconnect:
        raise UsageError("The request broke off.") from None
    return body


def visitor_of(request: Request) -> str:
    """Return how the log and the audit log call whoever asks."""
    return visitor_at(None if request.client is None else request.client.host)
