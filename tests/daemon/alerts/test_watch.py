"""`taintwatch watch`: what it prints, how it ends, and how it is interrupted."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace

import pytest
from click.testing import CliRunner

from taintwatch.alerts.gaps import Missed, Restarted
from taintwatch.alerts.lines import json_line, pretty_line
from taintwatch.alerts.messages import Message, as_json
from taintwatch.alerts.outbox import MessageWriter
from taintwatch.alerts.publisher import Publisher
from taintwatch.alerts.subscriber import Malformed
from taintwatch.cameras.camera_status import CameraState
from taintwatch.cli.watch import _Screen, watch
from taintwatch.records import AlertState
from taintwatch_models.errors import TaintwatchError, UsageError
from tests.alert_fakes import a_status, an_alert, an_identity

ANY_PORT = "tcp://127.0.0.1:*"


@pytest.fixture
def publisher() -> Iterator[Publisher]:
    with Publisher(an_identity(), ANY_PORT, cameras=["door"], heartbeat_s=0.05) as it:
        yield it


def run(*arguments: str) -> list[str]:
    result = CliRunner().invoke(watch, arguments, standalone_mode=False, catch_exceptions=False)
    if result.exception is not None:
        raise result.exception
    return result.output.splitlines()


def test_an_open_alert_is_printed_in_one_line(publisher: Publisher) -> None:
    publisher.publish_alert(an_alert())
    (line,) = run("--connect", publisher.endpoint, "--count", "1", "--timeout", "60")
    assert line[8:] == " door  raised   toaster -> stop  score 2 / 0.5  tight, 1 frames"
    assert line[:8].replace(":", "").isdigit()


def test_json_lines_are_the_messages_themselves(publisher: Publisher) -> None:
    sent = publisher.publish_alert(an_alert())
    status = publisher.publish_status(a_status())
    lines = run("--connect", publisher.endpoint, "--count", "2", "--timeout", "60", "--json")
    got = {wire["kind"]: wire for wire in map(json.loads, lines)}
    assert len(lines) == 2
    assert got["alert"] | {"replayed": False} == json.loads(as_json(sent))
    assert got["status"] | {"replayed": False} == json.loads(as_json(status))


def test_heartbeats_are_printed_only_where_the_topic_names_them(publisher: Publisher) -> None:
    topic = "taintwatch/v1/lab/door/heartbeat/"
    lines = run("--connect", publisher.endpoint, "--count", "2", "--timeout", "60", "--json", "--topic", topic)
    assert [json.loads(line)["kind"] for line in lines] == ["heartbeat", "heartbeat"]
    assert run("--connect", publisher.endpoint, "--timeout", "0.3", "--json") == []


def test_running_out_of_time_before_the_count_is_an_error(publisher: Publisher) -> None:
    with pytest.raises(TaintwatchError, match=r"Only 0 of 3 messages came within 0\.2 s"):
        run("--connect", publisher.endpoint, "--count", "3", "--timeout", "0.2")


@pytest.mark.parametrize("arguments", [("--connect", "nowhere"), ("--topic", "door")])
def test_a_wrong_call_is_refused(arguments: tuple[str, ...]) -> None:
    with pytest.raises(UsageError):
        run(*arguments)


def test_silence_is_said_once_and_so_is_its_end(capsys: pytest.CaptureFixture[str]) -> None:
    screen = _Screen(as_json=False, heartbeats=False)
    for silent_s in (0.0, 4.9, 5.0, 6.0, 90.0, 0.1, 0.2):
        screen.note_silence("tcp://127.0.0.1:5556", silent_s)
    said = [line.strip() for line in capsys.readouterr().out.splitlines()]
    assert said == [
        "no heartbeat for 5 s from tcp://127.0.0.1:5556; is the daemon running?",
        "heard again from tcp://127.0.0.1:5556",
    ]


def test_silence_is_a_json_line_too(capsys: pytest.CaptureFixture[str]) -> None:
    _Screen(as_json=True, heartbeats=False).note_silence("tcp://127.0.0.1:5556", 5.0)
    assert json.loads(capsys.readouterr().out)["kind"] == "silent"


def test_a_status_is_printed_when_the_state_changes(capsys: pytest.CaptureFixture[str]) -> None:
    screen = _Screen(as_json=False, heartbeats=False)
    lost = replace(a_status(), state=CameraState.LOST, reason="no route to host")
    for body in (a_status(frames=1), a_status(frames=2), lost, lost, a_status(frames=3)):
        screen.show(MessageWriter(an_identity()).write("door", body).message)
    lines = [line[9:] for line in capsys.readouterr().out.splitlines()]
    assert lines == [
        "door  running: 1 frames, 0 dropped, 0 rejected, 25.0 frames/s",
        "door  lost: 0 frames, 0 dropped, 0 rejected, 25.0 frames/s (no route to host)",
        "door  running: 3 frames, 0 dropped, 0 rejected, 25.0 frames/s",
    ]
    assert screen.messages == 3


def test_what_was_missed_is_said_in_words_and_in_json() -> None:
    topic = "taintwatch/v1/lab/door/alert/"
    missed = Missed(topic, 3, "a", ((2, 3), (5, 5)))
    assert pretty_line(missed).plain.strip() == "3 messages were missed on taintwatch/v1/lab/door/alert/"
    assert json.loads(json_line(missed)) == {
        "kind": "missed",
        "topic": topic,
        "count": 3,
        "instance": "a",
        "ranges": [[2, 3], [5, 5]],
    }
    assert "site lab was restarted" in pretty_line(Restarted("lab", "b", "a")).plain
    assert json.loads(json_line(Malformed("A message is broken.")))["kind"] == "malformed"


def test_a_label_cannot_take_over_the_terminal() -> None:
    alert = replace(an_alert(state=AlertState.CLEARED), label_name="\x1b[2J[bold]toaster", wall_ns=10**30)
    message: Message = MessageWriter(an_identity()).write("door", alert).message
    line = pretty_line(message).plain
    assert "\x1b" not in line
    assert "?[2J[bold]toaster" in line
    assert line.startswith("--:--:--")


def test_ctrl_c_ends_it_cleanly(publisher: Publisher) -> None:
    publisher.publish_alert(an_alert())
    program = "import sys; from taintwatch.cli.main import main; sys.exit(main(sys.argv[1:]))"
    with subprocess.Popen(
        [sys.executable, "-c", program, "watch", "--json", "--connect", publisher.endpoint],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert json.loads(process.stdout.readline())["kind"] == "alert"
        process.send_signal(signal.SIGINT)
        output, errors = process.communicate(timeout=60)
    assert (process.returncode, output, errors) == (0, "", "")
