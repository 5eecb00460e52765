"""The log: no credential in it whoever wrote the line, and no flood."""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Iterator

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from taintwatch.logs import BURST, KINDS, WINDOW_S, RepeatFilter, failed_threads_to_log, redact, set_up_logging

SECRET = "hunter2"  # noqa: S105 - what must never be seen


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (f"cannot open rtsp://admin:{SECRET}@10.0.0.1:554/live.", "cannot open rtsp://10.0.0.1:554/live."),
        (f"http://host/a?token={SECRET}", "http://host/a?..."),
        (f"(RTSPS://u:{SECRET}@host/x) and http://b", "(rtsps://host/x) and http://b"),
        (f"tcp://user:{SECRET}@host:1", "tcp://host:1"),
        ("alerts on tcp://127.0.0.1:5556", "alerts on tcp://127.0.0.1:5556"),
        ("ipc:///run/taintwatch/alerts", "ipc:///run/taintwatch/alerts"),
        ("nothing to hide: 3/4", "nothing to hide: 3/4"),
    ],
)
def test_addresses_lose_their_credentials_and_nothing_else_changes(text: str, shown: str) -> None:
    assert redact(text) == shown


@given(
    before=st.text(),
    user=st.text(alphabet="abc", min_size=1),
    password=st.text(alphabet=st.characters(codec="ascii", categories=("L", "N", "P", "Zs", "S")), min_size=1),
)
def test_no_password_survives_whatever_stands_around_it(before: str, user: str, password: str) -> None:
    secret = f"S3CRET{password}"
    assert "S3CRET" not in redact(f"{before} rtsp://{user}:{secret}@10.0.0.1/live")


@pytest.mark.parametrize(
    "text", ["a" * 1_000_000, "a://" * 200_000, "rtsp://a:b " * 50_000, "@" * 500_000, "://" * 300_000]
)
def test_a_long_line_is_redacted_in_no_time(text: str) -> None:
    began = time.monotonic()
    redact(text)
    assert time.monotonic() - began < 5.0


@pytest.mark.parametrize("evil", ["\x1b[2J", "\x9b31m", "\u202e", "\u2028", "\r\n12:00:00 INFO all is well"])
def test_nothing_in_a_log_for_people_moves_the_cursor_or_makes_a_line(
    evil: str, capsys: pytest.CaptureFixture[str]
) -> None:
    set_up_logging(as_json=False, level=logging.INFO)
    logging.getLogger("taintwatch").info("the camera said stop%sgo", evil)
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert said.rstrip("\n").isprintable()


@given(st.text())
def test_any_text_can_be_redacted_and_once_is_enough(text: str) -> None:
    assert redact(redact(text)) == redact(text)


@pytest.mark.parametrize("as_json", [True, False])
def test_neither_message_arguments_traceback_nor_another_library_tells_a_password(
    as_json: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    set_up_logging(as_json=as_json, level=logging.INFO)
    url = f"rtsp://admin:{SECRET}@host/live"
    logging.getLogger("taintwatch.x").info("opening %s", url)
    logging.getLogger("elsewhere").warning(f"opening {url}")
    try:
        raise ValueError(url)
    except ValueError:
        logging.getLogger("taintwatch.x").exception("failed")
    text = capsys.readouterr().err
    assert SECRET not in text
    assert text.count("rtsp://host/live") == 3


def test_json_lines_name_the_thread_and_the_camera(capsys: pytest.CaptureFixture[str]) -> None:
    set_up_logging(as_json=True, level=logging.INFO)

    def work() -> None:
        structlog.contextvars.bind_contextvars(camera="door")
        logging.getLogger("taintwatch.x").info("one")

    thread = threading.Thread(target=work, name="camera door")
    thread.start()
    thread.join()
    logging.getLogger("taintwatch.x").info("two")
    one, two = map(json.loads, capsys.readouterr().err.splitlines())
    assert (one["camera"], one["thread"]) == ("door", "camera door")
    assert "camera" not in two


def test_a_thread_that_dies_is_told_in_the_log(capsys: pytest.CaptureFixture[str]) -> None:
    set_up_logging(as_json=True, level=logging.INFO)

    def die() -> None:
        raise ValueError(f"http://u:{SECRET}@host/")

    with failed_threads_to_log():
        thread = threading.Thread(target=die, name="worker")
        thread.start()
        thread.join()
    (line,) = map(json.loads, capsys.readouterr().err.splitlines())
    assert (line["level"], line["message"]) == ("critical", "thread worker ended unexpectedly")
    assert SECRET not in line["traceback"]


class Log:
    """A filter on a clock of its own."""

    def __init__(self) -> None:
        self.now = 0.0
        self.filter = RepeatFilter(lambda: self.now)

    def tell(self, message: str, *arguments: object, level: int = logging.WARNING) -> str | None:
        record = logging.LogRecord("taintwatch", level, "", 0, message, arguments, None)
        return record.getMessage() if self.filter.filter(record) else None


def test_the_first_of_a_kind_are_told_and_the_others_counted() -> None:
    log = Log()
    told = [log.tell("camera %s: away; next in %.1f s", "door", wait) for wait in range(100)]
    assert sum(line is not None for line in told) == BURST
    log.now = WINDOW_S
    assert log.tell("camera %s: away; next in %.1f s", "door", 7.0) == (
        f"camera door: away; next in 7.0 s ({100 - BURST} more like this were left out)"
    )
    assert log.tell("camera %s: away; next in %.1f s", "door", 8.0) == "camera door: away; next in 8.0 s"


def test_another_camera_another_level_and_another_text_are_other_kinds() -> None:
    log = Log()
    for _ in range(BURST):
        log.tell("camera %s", "door")
    assert log.tell("camera %s", "door") is None
    assert log.tell("camera %s", "yard") is not None
    assert log.tell("camera %s", "door", level=logging.ERROR) is not None
    assert log.tell("camera  %s", "door") is not None


def test_what_is_no_warning_is_always_told() -> None:
    log = Log()
    assert all(log.tell("alert %s", "e1", level=logging.INFO) for _ in range(10 * BURST))


def test_kinds_without_end_are_not_remembered_without_end() -> None:
    log = Log()
    for number in range(3 * KINDS):
        assert log.tell("%s", str(number)) is not None
    assert len(log.filter._kinds) == KINDS
