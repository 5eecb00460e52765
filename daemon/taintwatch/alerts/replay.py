"""Asking for missed alerts: what goes over the wire between a DEALER and a ROUTER socket. Pure functions.

A request is one frame of JSON. An answer is a frame of JSON that repeats it, then one frame for each message: the JSON
as it was published, marked `replayed`. An answer holds at most `MOST_MESSAGES` and about `MOST_BYTES`; where `more` is
true, ask again from behind the last one.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace

from pydantic import TypeAdapter, ValidationError

from taintwatch.alerts.endpoints import parse_endpoint
from taintwatch.alerts.messages import Envelope, Message, MessageError, as_json, decode

__all__ = [
    "LARGEST_REQUEST",
    "MOST_BYTES",
    "MOST_MESSAGES",
    "Answer",
    "Request",
    "decode_answer",
    "decode_request",
    "encode_answer",
    "encode_failure",
    "encode_request",
    "replay_endpoint",
]

SCHEMA = 1
LARGEST_REQUEST = 4096
MOST_MESSAGES = 200
MOST_BYTES = 1 << 20
LAST = (1 << 63) - 1


@dataclass(frozen=True, slots=True)
class Request:
    """Which messages somebody wants."""

    schema: int
    id: int
    """Chosen by the client; the answer repeats it."""
    topic: str
    instance: str
    first: int
    last: int | None
    """Sequences, inclusive; None: all there are, and those of later starts up to (and without) that of `before`."""
    before: str | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """What the store has of it."""

    request: Request
    messages: tuple[Message, ...]
    more: bool = False
    """Whether there are more behind the last one."""
    error: str | None = None
    """Why there is nothing, in one sentence."""


@dataclass(frozen=True, slots=True)
class _Header:
    request: Request
    more: bool
    error: str | None


_REQUEST = TypeAdapter(Request)
_HEADER = TypeAdapter(_Header)


def encode_request(request: Request) -> bytes:
    """Return a request's frame."""
    return json.dumps(asdict(request)).encode()


def decode_request(frame: bytes) -> Request:
    """Return the request in a frame. Raises `MessageError` for anything else."""
    try:
        request: Request = _REQUEST.validate_json(frame, strict=True)
    except ValidationError as error:
        raise MessageError("What was asked is no replay request.") from error
    last = LAST if request.last is None else request.last
    if request.schema != SCHEMA or not 1 <= request.first <= last <= LAST:
        raise MessageError(f"A replay request has schema {request.schema} and asks from {request.first} to {last}.")
    return request


def encode_answer(request: Request, found: Sequence[str], *, more: bool = False) -> list[bytes]:
    """Return an answer's frames, of at most about `MOST_BYTES`: what does not fit is to be asked for again.

    `found`: JSON, in order. `more`: there are others behind. Raises `MessageError` for a damaged record.
    """
    frames: list[bytes] = []
    size = 0
    for text in found:
        size += len(text)
        if frames and size > MOST_BYTES:
            more = True
            break
        message = decode([request.topic.encode(), text.encode()])
        frames.append(as_json(replace(message, envelope=replace(message.envelope, replayed=True))).encode())
    header = {"request": asdict(request), "more": more, "error": None}
    return [json.dumps(header).encode(), *frames]


def encode_failure(request: Request, reason: str) -> list[bytes]:
    """Return an answer that says why there is none."""
    return [json.dumps({"request": asdict(request), "more": False, "error": reason}).encode()]


def decode_answer(frames: Sequence[bytes]) -> Answer:
    """Return the answer in `frames`. Raises `MessageError` for anything else, or what was not asked for."""
    if not frames:
        raise MessageError("A replay answer has no frames.")
    try:
        header: _Header = _HEADER.validate_json(frames[0], strict=True)
    except ValidationError as error:
        raise MessageError("What was answered is no replay answer.") from error
    request = header.request
    messages = tuple(decode([request.topic.encode(), frame]) for frame in frames[1:])
    if not all(_was_asked_for(request, message.envelope) for message in messages):
        raise MessageError(f"A replay answer for {request.topic} holds a message that was not asked for.")
    return Answer(request, messages, header.more, header.error)


def _was_asked_for(request: Request, envelope: Envelope) -> bool:
    if envelope.instance == request.instance:
        return request.first <= envelope.sequence <= (LAST if request.last is None else request.last)
    return request.last is None and envelope.instance != request.before


def replay_endpoint(connected: str, announced: str | None) -> str | None:
    """Return where to ask, from the endpoint that a subscriber is `connected` to and what the daemon announced.

    Of tcp endpoints the daemon knows only the port for certain: the host is the one that we reach it by. A remote
    daemon names no path on this machine. None where nothing is announced, or what is makes no sense.
    """
    if announced is None:
        return None
    try:
        ours, theirs = parse_endpoint(connected), parse_endpoint(announced)
    except ValueError:
        return None
    if theirs.transport != "tcp":
        return announced if ours.transport != "tcp" else None
    if ours.transport != "tcp":
        return announced if theirs.local else None
    host = f"[{ours.host}]" if ours.six else ours.host
    return f"tcp://{host}:{theirs.port}"
