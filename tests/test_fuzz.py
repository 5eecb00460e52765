"""Whatever strangers, cameras and files may send: each parser gives a value or its one error, and in good time.

`make test` tries a few dozen of each; `make fuzz` (FUZZ_EXAMPLES=20000 pytest tests/test_fuzz.py) as many as you like.
"""

from __future__ import annotations

import io
import json
import os
import struct
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from starlette.datastructures import Headers

from taintwatch.alerts.messages import MessageError, as_json, decode, encode
from taintwatch.alerts.outbox import MessageWriter
from taintwatch.alerts.replay import Request, decode_answer, decode_request, encode_answer, encode_request
from taintwatch.config.load import parse_config
from taintwatch.evidence.audit import AuditLog, entry_line, read_audit
from taintwatch.logs import redact
from taintwatch.sources.url import describe_url, split_credentials, stream_mistakes, with_credentials
from taintwatch.web.authentication import COOKIE, Sessions
from taintwatch_models.bundled import bundled_calibration_path, bundled_path
from taintwatch_models.calibration_file import read_calibration
from taintwatch_models.detection.reference import read_reference
from taintwatch_models.errors import BadFrame, CalibrationError, ConfigError, ModelError, TaintwatchError
from taintwatch_models.image_check import JpegReader, image_fault
from taintwatch_models.image_file import decode_image
from taintwatch_models.manifest import unsigned_parts
from taintwatch_models.model_description import read_description
from tests.alert_fakes import an_alert, an_identity

EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "30"))
CHECKS = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large]
bounded = settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=CHECKS)
SLOW_S = 5.0  # for a hundred kilobytes, on a busy machine; what is quadratic takes minutes
PIECES = [
    b"NaN", b"-Infinity", b"1e999", b"9" * 5000, b"[" * 3000, b'{"a":' * 3000, b"\xff\xfe", b"\0", b"\xed\xa0\x80",
    b"\\ud800", b'"' * 50, b"=" * 50, b"\x1b[31m", b"\r\n", b";" * 500, b"../../etc/passwd", b"%00", b"@", b"://",
    b"\xff\xd8\xff", b"\xff\xd9", b"\xff\xda", b"\x80" * 40,
]  # fmt: skip
pieces = st.sampled_from(PIECES) | st.binary(max_size=40)


@st.composite
def mutated(draw: st.DrawFn, seed: bytes) -> bytes:
    """Return `seed` with up to four parts of it replaced, removed or repeated."""
    data = bytearray(seed)
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(data)))
        data[at : at + draw(st.integers(0, 60))] = draw(pieces) * draw(st.integers(1, 3))
    return bytes(data)


def refuses(parse: Callable[[bytes], object], *errors: type[Exception]) -> Callable[[bytes], None]:
    """Return a check that parsing gives a value or one of these errors, and soon."""

    def check(data: bytes) -> None:
        began = time.monotonic()
        with suppress(*errors):
            parse(data)
        assert time.monotonic() - began < SLOW_S

    return check


MESSAGE = encode(MessageWriter(an_identity()).write("door", an_alert()).message)
REQUEST = encode_request(Request(1, 7, "taintwatch/v1/lab/door/alert/", "first", 1, 9))
ANSWER = encode_answer(decode_request(REQUEST), [MESSAGE[1].decode()])


@bounded
@given(mutated(MESSAGE[1]), st.just(MESSAGE[0]) | mutated(MESSAGE[0]))
def test_messages(text: bytes, topic: bytes) -> None:
    def parse(data: bytes) -> None:
        again = as_json(decode([topic, data]))
        assert again.isprintable()
        json.loads(again, parse_constant=pytest.fail)

    refuses(parse, MessageError)(text)


@bounded
@given(mutated(REQUEST), mutated(ANSWER[0]))
def test_replay(request: bytes, header: bytes) -> None:
    refuses(decode_request, MessageError)(request)
    refuses(lambda data: decode_answer([data, *ANSWER[1:]]), MessageError)(header)


@bounded
@given(mutated(bundled_calibration_path().read_bytes()))
def test_calibrations(tmp_path: Path, text: bytes) -> None:
    path = tmp_path / "c.json"
    path.write_bytes(text)
    refuses(lambda data: read_calibration(path), CalibrationError)(text)


@bounded
@given(st.floats(0, 1), st.integers(0, 60), pieces)
def test_references(tmp_path: Path, share: float, removed: int, piece: bytes) -> None:
    data = bytearray(bundled_path("signs.reference.npz").read_bytes())
    at = round(share * len(data))
    data[at : at + removed] = piece
    path = tmp_path / "r.npz"
    path.write_bytes(data)
    refuses(lambda _: read_reference(path), CalibrationError)(b"")


SITE = b"""site = "lab"
[model]
path = "m.onnx"
[[camera]]
name = "door"
source = "rtsp://user:secret@camera/1"
fps = 5
[vote]
k = 3
n = 5
"""
DESCRIPTION = b"""labels = ["a", "b"]
background = "b"
[preprocessing]
size = [32, 32]
mean = [0.1, 0.2, 0.3]
std = [1, 1, 1]
"""


@bounded
@given(mutated(SITE))
def test_configurations(text: bytes) -> None:
    refuses(lambda data: parse_config(data.decode("utf-8", "replace"), "t.toml"), ConfigError)(text)


@bounded
@given(mutated(DESCRIPTION))
def test_descriptions_of_models(tmp_path: Path, text: bytes) -> None:
    path = tmp_path / "m.toml"
    path.write_bytes(text)
    refuses(lambda data: read_description(path), ModelError)(text)


@bounded
@given(mutated(b'{"format": "taintwatch-manifest/1", "files": {"m.onnx": "00"}, "created": "x", "signature": "AAAA"}'))
def test_manifests(tmp_path: Path, text: bytes) -> None:
    path = tmp_path / "m.manifest.json"
    path.write_bytes(text)
    refuses(lambda data: unsigned_parts(path, (), "A" * 43 + "="), ConfigError)(text)


@bounded
@given(st.data())
def test_audit_logs(tmp_path: Path, data: st.DataObject) -> None:
    path = tmp_path / "audit.jsonl"
    path.unlink(missing_ok=True)
    log = AuditLog(path)
    for who in ("page 127.0.0.1", "daemon"):
        log.write("note", who, text="seen")
    path.write_bytes(data.draw(mutated(path.read_bytes())))
    refuses(lambda _: [entry_line(entry) for entry in read_audit(path, None).entries], TaintwatchError)(b"")


SECRET = "hunter2%40x"  # noqa: S105 (opens nothing)


@bounded
@given(mutated(b"rtsp://admin:" + SECRET.encode() + b"@camera.local:554/stream/1?channel=2#x"))
def test_addresses(text: bytes) -> None:
    url = text.decode("utf-8", "replace")

    def parse(_: bytes) -> None:
        for shown in (describe_url(url), redact(f"camera door: {url} broke"), *stream_mistakes(url)):
            if "@" in url and url.startswith("rtsp://") and SECRET in url.rpartition("@")[0]:
                assert SECRET not in shown
        plain, _credentials = split_credentials(url)
        with_credentials(plain, "user", "a/b@c")

    refuses(parse)(text)


@bounded
@given(st.lists(pieces, max_size=30).map(b"; ".join))
def test_cookies_and_tokens(cookie: bytes) -> None:
    sessions = Sessions("correct-horse-battery")
    secret = sessions.open_session().encode()
    for value in (cookie, COOKIE.encode() + b"=" + cookie, cookie + b"; " + COOKIE.encode() + b"=" + secret[:-1]):
        headers = Headers(raw=[(b"cookie", value), (b"authorization", b"Bearer " + cookie)])
        refuses(lambda _, headers=headers: _must_be_false(sessions.admits(headers)))(value)  # type: ignore[misc]


def _must_be_false(admitted: bool) -> None:
    assert not admitted


def _jpeg() -> bytes:
    header = b"\xff\xd8\xff\xe0" + struct.pack(">H", 16) + b"JFIF\0" + bytes(9)
    frame = b"\xff\xc0" + struct.pack(">HBHHB", 17, 8, 48, 64, 3) + bytes(9)
    return header + frame + b"\xff\xda" + struct.pack(">H", 12) + bytes(10) + b"\x12\x34" * 20 + b"\xff\xd9"


PART = b"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: 120\r\n\r\n" + _jpeg() + b"\r\n"


@bounded
@given(mutated(PART * 3), st.integers(1, 40))
def test_multipart_streams(stream: bytes, step: int) -> None:
    reader = JpegReader()

    def parse(data: bytes) -> None:
        for start in range(0, len(data), step):
            reader.feed(data[start : start + step])
            while True:
                try:
                    picture = reader.next()
                except BadFrame:
                    continue
                if picture is None:
                    break
                assert picture.startswith(b"\xff\xd8")
        assert len(reader.pending) <= len(data)

    refuses(parse)(stream)


@bounded
@given(
    st.sampled_from([b"\x89PNG\r\n\x1a\n", b"BM", b"RIFF\0\0\0\0WEBP", b"\0\0\0 ftypavif", b"II*\0", b"MM\0*"]),
    st.data(),
)
def test_heads_of_pictures(head: bytes, data: st.DataObject) -> None:
    picture = data.draw(mutated(head + bytes(64)))
    refuses(image_fault)(picture)
    refuses(lambda content: decode_image(content, "a picture"), BadFrame)(picture)


@pytest.mark.parametrize("piece", [b"\\", b'a="', b";", b"=", b"://", b"@", b"a:b@", b"[", b'{"a":', b"\xff\xd8", b"%"])
def test_a_hundred_kilobytes_of_one_thing_take_no_longer_than_a_hundred_kilobytes(piece: bytes) -> None:
    data = piece * (100_000 // len(piece))
    text = data.decode("latin-1")
    sessions = Sessions("correct-horse-battery")
    reader = JpegReader()
    for parse in (
        lambda _: redact(text),
        lambda _: describe_url(f"rtsp://{text}"),
        lambda _: stream_mistakes(f"rtsp://{text}"),
        lambda _: sessions.admits(Headers(raw=[(b"cookie", data)])),
        lambda _: decode([MESSAGE[0], data]),
        decode_request,
        lambda _: parse_config(text, "t.toml"),
        lambda _: _drained(reader, data),
    ):
        refuses(parse, MessageError, ConfigError)(data)


def _drained(reader: JpegReader, data: bytes) -> None:
    reader.feed(data)
    while True:
        try:
            if reader.next() is None:
                return
        except BadFrame:
            continue


def test_an_archive_that_unpacks_to_much_more_than_it_is_is_refused_unread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("taintwatch_models.detection.archive._MOST_BYTES", 1 << 20)
    bomb = io.BytesIO()
    np.savez_compressed(bomb, head=np.zeros(1), bomb=np.zeros(2 << 20, np.uint8))
    path = tmp_path / "bomb.npz"
    path.write_bytes(bomb.getvalue())
    with pytest.raises(CalibrationError, match="unpacks to more"):
        read_reference(path)
