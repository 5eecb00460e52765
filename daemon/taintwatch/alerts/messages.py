"""Messages on the wire: `[topic, json]`, with a JPEG picture as a third frame where there is one. Pure functions.

The JSON is described in `messages.schema.json` beside this file and in docs/messages.md.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from pydantic import TypeAdapter, ValidationError

from taintwatch.alerts.bodies import Body, Heartbeat
from taintwatch.alerts.topics import NAME, Kind, topic_of
from taintwatch.cameras.camera_status import CameraStatus
from taintwatch.records import Alert
from taintwatch_models.errors import TaintwatchError
from taintwatch_models.storage import parse_json

__all__ = [
    "DEFAULT_ENDPOINT",
    "SCHEMA_VERSION",
    "Envelope",
    "Message",
    "MessageError",
    "as_json",
    "decode",
    "encode",
]

DEFAULT_ENDPOINT = "tcp://127.0.0.1:5556"
SCHEMA_VERSION = 1

LARGEST_JSON = 1 << 20  # bytes; a real message has about two thousand
LARGEST_JPEG = 16 << 20


class MessageError(TaintwatchError):
    """A message cannot be encoded, or what came over the wire is not a message."""


@dataclass(frozen=True, slots=True)
class Envelope:
    """What every message says about itself. It stands in the JSON beside the `body`."""

    schema: int
    kind: Kind
    site: str
    camera: str
    instance: str
    """Names one start of one daemon."""
    sequence: int
    """From 1, for each topic of an instance by itself."""
    event_id: str | None
    """The alert's; None in other messages."""
    wall_ns: int
    """`time.time_ns()` when it was published."""
    monotonic_ns: int
    """`time.monotonic_ns()` of the publishing machine at the same moment."""
    model_hash: str
    config_hash: str
    provider: str
    """What really runs the model, as in `ModelCard`."""
    calibrated: bool
    """Whether the thresholds come from a calibration of this model."""
    replayed: bool
    """True where a message is sent again because somebody subscribed, or asked: same sequence, same content."""
    degraded: bool = False
    """Whether the model runs otherwise than it should: it failed, and something worse took its place."""
    armed: bool = True
    """Whether the camera is judged by its own calibration: false while it is being learnt, and without any."""


@dataclass(frozen=True, slots=True)
class Message:
    """One message, encoded or decoded."""

    envelope: Envelope
    body: Body
    jpeg: bytes | None = None

    @property
    def topic(self) -> str:
        return topic_of(self.envelope.site, self.envelope.camera, self.envelope.kind)


_ENVELOPE = TypeAdapter(Envelope)
_BODIES: Mapping[Kind, TypeAdapter[Any]] = {
    Kind.ALERT: TypeAdapter(Alert),
    Kind.STATUS: TypeAdapter(CameraStatus),
    Kind.HEARTBEAT: TypeAdapter(Heartbeat),
}


def as_json(message: Message) -> str:
    """Return the message as one line of strict JSON. Raises `MessageError` for NaN or infinity."""
    wire = asdict(message.envelope) | {"body": asdict(message.body)}
    try:
        return json.dumps(wire, allow_nan=False, ensure_ascii=False, separators=(",", ":"))
    except (TypeError, ValueError) as error:
        raise MessageError(f"A message for {message.topic} cannot be written as JSON: {error}.") from error


def encode(message: Message) -> list[bytes]:
    """Return the frames of a message. Raises `MessageError`."""
    try:
        frames = [message.topic.encode(), as_json(message).encode()]
    except UnicodeEncodeError as error:
        raise MessageError(f"A message for {message.topic} holds text that is not Unicode: {error.reason}.") from error
    return frames if message.jpeg is None else [*frames, message.jpeg]


def decode(frames: Sequence[bytes]) -> Message:
    """Return the message that `frames` hold. Raises `MessageError`, and nothing else, for anything malformed.

    Unknown keys are ignored: a later daemon may say more within the same schema version.
    """
    if len(frames) not in (2, 3):
        raise MessageError(f"A message has 2 or 3 frames (topic, JSON, JPEG), this one has {len(frames)}.")
    if len(frames[1]) > LARGEST_JSON:
        raise MessageError(f"A message's JSON has {len(frames[1])} bytes; at most {LARGEST_JSON} are accepted.")
    wire = _wire(frames[1])
    envelope = _envelope(frames[1])
    topic = topic_of(envelope.site, envelope.camera, envelope.kind)
    if frames[0] != topic.encode():
        raise MessageError(f"A message for {topic} came under another topic: {frames[0][:200]!r}.")
    body = _validate(_BODIES[envelope.kind], json.dumps(wire.get("body")), f"The body of {topic}")
    if isinstance(body, Alert) and (body.event_id, body.camera) != (envelope.event_id, envelope.camera):
        raise MessageError(f"A message for {topic} holds the alert of another event or camera.")
    return Message(envelope, body, _jpeg(frames))


def _wire(frame: bytes) -> dict[str, Any]:
    try:
        wire = parse_json(frame)
    except ValueError as error:
        reason = str(error) or type(error).__name__
        raise MessageError(f"A message is not strict JSON: {reason[:200]}.") from error
    if not isinstance(wire, dict):
        raise MessageError("A message's JSON is not an object.")
    return wire


def _envelope(text: bytes) -> Envelope:
    envelope: Envelope = _validate(_ENVELOPE, text, "A message's envelope")
    if envelope.schema != SCHEMA_VERSION:
        raise MessageError(f"A message has schema {envelope.schema}; this program reads schema {SCHEMA_VERSION}.")
    if not NAME.fullmatch(envelope.site) or not NAME.fullmatch(envelope.camera):
        raise MessageError(f"A message names site {envelope.site[:80]!r} and camera {envelope.camera[:80]!r}.")
    if envelope.sequence < 1:
        raise MessageError(f"A message has sequence {envelope.sequence}; sequences start at 1.")
    return envelope


def _validate(adapter: TypeAdapter[Any], text: str | bytes, what: str) -> Any:
    try:
        return adapter.validate_json(text, strict=True)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "top level"
        raise MessageError(f"{what} is malformed at {where[:200]}: {first['msg']}.") from error


def _jpeg(frames: Sequence[bytes]) -> bytes | None:
    if len(frames) == 2:
        return None
    if len(frames[2]) > LARGEST_JPEG or not frames[2].startswith(b"\xff\xd8"):
        raise MessageError(f"The third frame of a message ({len(frames[2])} bytes) is not a JPEG picture of this size.")
    return bytes(frames[2])
