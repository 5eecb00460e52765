"""Messages on the wire: what is encoded comes back, and nothing malformed gets through or crashes."""

from __future__ import annotations

import json
from dataclasses import replace
from importlib.resources import files
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from taintwatch.alerts.bodies import Body, Heartbeat
from taintwatch.alerts.messages import Message, MessageError, decode, encode
from taintwatch.alerts.outbox import Identity, MessageWriter
from taintwatch.alerts.topics import DAEMON, Kind, check_name, companion_topics, topic_of
from taintwatch.records import AlertState
from taintwatch_models.errors import ConfigError
from tests.alert_fakes import a_status, an_alert, an_identity

JPEG = b"\xff\xd8\xff\xe0 a picture"
HEARTBEAT = Heartbeat(1.0, 12.5, {"taintwatch/v1/lab/door/alert/": 3}, 0, ("e1",))
BODIES: list[Body] = [
    an_alert(),
    replace(an_alert(state=AlertState.CLEARED), region=None, recovered_label=None, recovered_name=None, media_s=None),
    a_status(),
    HEARTBEAT,
]


@pytest.fixture(scope="module")
def schema() -> jsonschema.Draft202012Validator:
    document = json.loads((files("taintwatch.alerts") / "messages.schema.json").read_text())
    jsonschema.Draft202012Validator.check_schema(document)
    return jsonschema.Draft202012Validator(document)


def written(body: Body, jpeg: bytes | None = None) -> Message:
    return MessageWriter(an_identity()).write("door", body, jpeg).message


def wire(body: Body) -> dict[str, Any]:
    parsed: dict[str, Any] = json.loads(encode(written(body))[1])
    return parsed


def frames_of(wire: object, topic: str = "taintwatch/v1/lab/door/alert/") -> list[bytes]:
    return [topic.encode(), json.dumps(wire).encode()]


@pytest.mark.parametrize("body", BODIES)
def test_what_is_encoded_comes_back_equal(body: Body) -> None:
    for jpeg in (None, JPEG):
        message = written(body, jpeg)
        assert decode(encode(message)) == message


@pytest.mark.parametrize("body", BODIES)
def test_encoded_messages_fit_the_schema(body: Body, schema: jsonschema.Draft202012Validator) -> None:
    schema.validate(wire(body))


@pytest.mark.parametrize(
    ("key", "value"), [("sequence", 0), ("camera", "a/b"), ("kind", "alarm"), ("event_id", None), ("body", {})]
)
def test_the_schema_and_the_decoder_both_refuse(
    key: str, value: object, schema: jsonschema.Draft202012Validator
) -> None:
    broken = wire(an_alert()) | {key: value}
    assert not schema.is_valid(broken)
    with pytest.raises(MessageError):
        decode(frames_of(broken))


def test_every_key_of_the_wire_is_described_in_the_schema(schema: jsonschema.Draft202012Validator) -> None:
    described = schema.schema
    for body, name in ((an_alert(), "alert"), (a_status(), "status"), (HEARTBEAT, "heartbeat")):
        message = wire(body)
        assert set(message) == set(described["properties"]) == set(described["required"])
        assert set(message["body"]) == set(described["$defs"][name]["properties"])
        assert set(described["$defs"][name]["required"]) <= set(message["body"])


def test_sequences_count_for_each_topic_and_only_what_could_be_encoded() -> None:
    clock = iter(range(100, 200))
    writer = MessageWriter(an_identity(), wall_ns=lambda: next(clock), monotonic_ns=lambda: 5)
    assert writer.write("door", an_alert()).message.envelope.sequence == 1
    with pytest.raises(MessageError, match="cannot be written as JSON"):
        writer.write("door", replace(an_alert(), score=float("nan")))
    envelope = writer.write("door", an_alert()).message.envelope
    assert (envelope.sequence, envelope.wall_ns, envelope.monotonic_ns, envelope.event_id) == (2, 102, 5, "e1")
    assert writer.write("gate", an_alert("gate")).message.envelope.sequence == 1
    assert writer.write("door", a_status()).message.envelope.sequence == 1


def test_later_keys_are_ignored() -> None:
    later = wire(an_alert()) | {"weather": "fine"}
    later["body"] |= {"mood": 3}
    assert decode(frames_of(later)).body == an_alert()


@pytest.mark.parametrize(
    ("frames", "says"),
    [
        ([], "has 2 or 3 frames (topic, JSON, JPEG), this one has 0"),
        ([b"t", b"{}", JPEG, b""], "this one has 4"),
        ([b"t", b"\xff\xfe"], "not strict JSON"),
        ([b"t", b"[]"], "not an object"),
        ([b"t", b"{}"], "malformed at schema"),
        ([b"t", b"[" * 100_000], "not strict JSON"),
        ([b"t", b" " * (1 << 21)], "at most 1048576 are accepted"),
        (frames_of(wire(an_alert()) | {"schema": 2}), "has schema 2; this program reads schema 1"),
        (frames_of(wire(an_alert()), "taintwatch/v1/lab/gate/alert/"), "came under another topic"),
        (frames_of(wire(an_alert()) | {"sequence": "1"}), "malformed at sequence"),
        (frames_of(wire(an_alert()) | {"body": {"state": "raised"}}), "taintwatch/v1/lab/door/alert/ is malformed"),
        (frames_of(wire(an_alert()) | {"event_id": "e2"}), "holds the alert of another event or camera"),
        ([*frames_of(wire(an_alert())), b"not a picture"], "not a JPEG"),
    ],
)
def test_anything_malformed_is_one_clear_error(frames: list[bytes], says: str) -> None:
    with pytest.raises(MessageError) as caught:
        decode(frames)
    assert says in str(caught.value)


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_numbers_that_are_none_are_refused(number: str) -> None:
    topic, text = encode(written(an_alert()))
    with pytest.raises(MessageError, match="not strict JSON"):
        decode([topic, text.replace(b'"score":2.0', b'"score":' + number.encode())])


@given(st.lists(st.binary(max_size=200), max_size=4))
def test_random_bytes_never_crash_the_decoder(frames: list[bytes]) -> None:
    with pytest.raises(MessageError):
        decode(frames)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


@given(st.data())
def test_a_message_with_any_value_replaced_is_decoded_or_refused(data: st.DataObject) -> None:
    message = wire(data.draw(st.sampled_from(BODIES)))
    target = message if data.draw(st.booleans()) else message["body"]
    key = data.draw(st.sampled_from(sorted(target)))
    target[key] = data.draw(JSON)
    topic = (
        topic_of("lab", "door", Kind(message["kind"]))
        if isinstance(message["kind"], str) and message["kind"] in set(Kind)
        else "taintwatch/v1/lab/door/alert/"
    )
    try:
        again = decode(frames_of(message, topic))
    except MessageError:
        return
    assert decode(encode(again)) == again


@given(st.data())
def test_a_message_with_flipped_bytes_is_decoded_or_refused(data: st.DataObject) -> None:
    topic, text = encode(written(data.draw(st.sampled_from(BODIES))))
    broken = bytearray(text)
    for _ in range(data.draw(st.integers(1, 4))):
        broken[data.draw(st.integers(0, len(broken) - 1))] = data.draw(st.integers(0, 255))
    try:
        decode([topic, bytes(broken)])
    except MessageError:
        return


def test_text_that_is_not_unicode_is_refused_before_it_is_sent() -> None:
    with pytest.raises(MessageError, match="not Unicode"):
        written(replace(an_alert(), label_name="\ud800"))


@pytest.mark.parametrize("name", ["", "a/b", "a b", "ä", ".", "..", "x" * 65, "front\n"])
def test_names_that_cannot_stand_in_a_topic_are_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="The camera name"):
        check_name("camera", name)
    with pytest.raises(ConfigError, match="The site name"):
        Identity(name, "", "", "", False, "i")


def test_the_daemons_own_name_is_not_for_a_camera() -> None:
    with pytest.raises(ConfigError, match="kept for the daemon itself"):
        check_name("camera", DAEMON)
    assert check_name("camera", "front-door_2.left") == "front-door_2.left"


def test_heartbeats_come_along_with_any_prefix() -> None:
    assert companion_topics("taintwatch/v1/") == ()
    assert companion_topics("taintwatch/v1/lab/door/") == ()
    assert companion_topics("taintwatch/v1/lab/door/alert/") == ("taintwatch/v1/lab/door/heartbeat/",)
    assert companion_topics("taintwatch/v1/lab/door/heart") == ()
