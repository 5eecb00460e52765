"""What a run prints: for people on a terminal or in a file, and for programs."""

from __future__ import annotations

import io
import json
from dataclasses import replace

from taintwatch.cameras.camera_status import CameraState, CameraStatus
from taintwatch.cli.output import (
    HumanReporter,
    JsonReporter,
    RunLength,
    alert_line,
    clock_time,
    progress_line,
    summary_line,
)
from taintwatch.records import Alert, AlertState
from taintwatch.status import Ending, RunStatus, Summary
from taintwatch_models.records import Region
from tests.fakes import CARD

CAMERA = CameraStatus("door", CameraState.RUNNING, "fake", 50, 0, 0, 25.0, 0.1)
STATUS = RunStatus(50, 2.0, 25.0, 1, 0, 0, 0, 0, 5.0, 12.0, 2.0, (CAMERA,))
SUMMARY = Summary(100, 4.0, 25.0, 1, 2, 1, 0, "CPUExecutionProvider", "tiny", "ab", Ending.ENDED)
ALERT = Alert(
    event_id="e",
    state=AlertState.RAISED,
    camera="door",
    detectors=("tight",),
    raised_wall_ns=0,
    wall_ns=0,
    captured_ns=0,
    frame_index=3,
    raised_frame_index=3,
    media_s=12.5,
    suspicious_frames=3,
    label=1,
    label_name="toaster",
    recovered_label=0,
    recovered_name="stop",
    confidence=0.97,
    score=2.0,
    threshold=0.5,
    region=Region((10, 20, 30, 40), (), 0.1),
)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_an_alert_line_says_when_where_what_and_why() -> None:
    assert alert_line(ALERT).plain == (
        "  12.50s  door  RAISED   toaster (97%), without the region stop  score 2 > 0.5"
        "  tight, 3 suspicious frames, 30x40 pixels at 10,20"
    )


def test_a_label_cannot_command_the_terminal() -> None:
    assert "\x1b" not in alert_line(replace(ALERT, label_name="\x1b[2Jtoaster")).plain


def test_the_progress_of_a_file_has_its_place_and_the_time_that_is_left() -> None:
    assert progress_line(STATUS, RunLength(seconds=8.0)).plain == (
        "50 frames  25.0 fps  2.0 s of 8.0 s  25%  6.0 s left  1 alert"
    )
    assert "of 200  25%  6.0 s left" in progress_line(STATUS, RunLength(frames=200)).plain


def test_the_status_of_a_live_source_has_its_delay_drops_and_troubles() -> None:
    lost = replace(CAMERA, state=CameraState.LOST, reason="no answer")
    line = progress_line(replace(STATUS, drops=4, bad_frames=1, alerts=2, cameras=(lost,)), None).plain
    assert line == "50 frames  25.0 fps  12 ms behind  4 dropped  1 bad  2 alerts  door is lost: no answer"


def test_times_are_short_for_short_runs() -> None:
    assert [clock_time(seconds) for seconds in (0, 9.94, 75, 3723)] == ["0.0 s", "9.9 s", "1:15", "1:02:03"]


def test_the_summary_has_the_rate_and_the_provider() -> None:
    assert summary_line(SUMMARY) == (
        "watched 100 frames to the end in 4.0 s: 25.0 frames/s on CPUExecutionProvider, 1 alert, 2 dropped, 1 bad"
    )


def test_in_a_file_the_progress_is_a_line_every_few_seconds() -> None:
    clock, out, err = Clock(), io.StringIO(), io.StringIO()
    reporter = HumanReporter(out, err, clock=clock)
    for second in range(12):
        clock.now = float(second)
        reporter.progress(STATUS)
    reporter.finished(SUMMARY)
    assert err.getvalue().count("50 frames") == 2
    assert out.getvalue() == summary_line(SUMMARY) + "\n"


def test_on_a_terminal_the_progress_is_one_line_that_is_taken_away_and_alerts_stay_above_it() -> None:
    err = Terminal()
    reporter = HumanReporter(Terminal(), err)
    reporter.started(CARD, [], None)
    reporter.progress(STATUS)
    reporter.alert(ALERT)
    reporter.progress(STATUS)
    reporter.close()
    assert "\x1b[2K" in err.getvalue()
    assert err.getvalue().count("toaster") == 1


def test_quiet_prints_the_alerts_alone() -> None:
    out, err = io.StringIO(), io.StringIO()
    reporter = HumanReporter(out, err, quiet=True)
    reporter.started(CARD, [], None)
    reporter.alert(ALERT)
    reporter.finished(SUMMARY)
    assert out.getvalue() == alert_line(ALERT).plain + "\n"
    assert err.getvalue() == ""


def test_json_lines_have_a_kind_each_and_statuses_come_at_their_interval() -> None:
    clock, out = Clock(), io.StringIO()
    reporter = JsonReporter(out, status_s=5, clock=clock)
    reporter.started(CARD, [], "tcp://127.0.0.1:1")
    reporter.alert(ALERT)
    for second in range(12):
        clock.now = float(second)
        reporter.progress(STATUS)
    reporter.finished(SUMMARY)
    lines = [json.loads(line) for line in out.getvalue().splitlines()]
    assert [line["kind"] for line in lines] == ["started", "alert", "status", "status", "summary"]
    assert lines[1]["region"]["box"] == [10, 20, 30, 40]
    assert {"frames", "fps", "alerts", "drops", "bad_frames", "provider"} <= set(lines[-1])
