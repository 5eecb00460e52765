"""Counting: rates, times and totals, on a clock that the test moves."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from typing import Any

import pytest

from taintwatch.cameras.camera_status import CameraState, CameraStatus
from taintwatch.pipeline import Step
from taintwatch.status import OF_LATE, Ending, Meter, Rate
from taintwatch_models.classifier import Rejected
from tests.fakes import a_frame, a_prediction


class Clock:
    def __init__(self) -> None:
        self.now = 1.0

    def __call__(self) -> float:
        return self.now


def a_camera(name: str = "door", **counts: Any) -> CameraStatus:
    status = CameraStatus(name, CameraState.RUNNING, "fake", frame_age_s=0.1)
    return replace(status, **counts)


def test_a_rate_is_that_of_the_last_frames_and_falls_when_none_come() -> None:
    rate = Rate()
    assert rate.at(5.0) == 0
    for index in range(3 * OF_LATE):
        rate.count(index * (0.5 if index < OF_LATE else 0.1))
    last = (3 * OF_LATE - 1) * 0.1
    assert rate.at(last) == pytest.approx(10)
    assert rate.at(last + 1000) < 0.2


def test_the_summary_spans_the_first_to_the_last_frame_not_the_loading() -> None:
    clock = Clock()
    meter = Meter(clock)
    clock.now = 100.0
    for index in range(11):
        meter.see(Step(a_frame(index), a_prediction(a_frame(index))))
        clock.now += 0.1
    summary = meter.summary([a_camera(dropped=2, bad=1)], Ending.ENDED, provider="CPU", model="tiny", config_hash="ab")
    assert (summary.frames, summary.seconds, summary.fps) == (11, 1.0, 11.0)
    assert (summary.drops, summary.bad_frames) == (2, 1)


def test_a_run_without_frames_has_a_summary_too() -> None:
    summary = Meter().summary([], Ending.STOPPED, provider="CPU", model="tiny", config_hash="")
    assert (summary.frames, summary.fps) == (0, 0.0)


def test_rejected_frames_are_counted_apart_and_per_camera() -> None:
    meter = Meter(Clock())
    meter.see(Step(a_frame(0, "door"), a_prediction(a_frame(0, "door"))))
    meter.see(Step(a_frame(0, "yard"), Rejected(a_frame(0, "yard"), "NaN")))
    status = meter.status([a_camera("door"), a_camera("yard", bad=2)], open_alerts=1)
    assert (status.frames, status.rejected, status.bad_frames, status.open_alerts) == (2, 1, 2, 1)
    assert [(camera.camera, camera.frames, camera.rejected) for camera in status.cameras] == [
        ("door", 1, 0),
        ("yard", 1, 3),
    ]


def test_the_delay_is_from_capture_to_verdict() -> None:
    clock = Clock()
    meter = Meter(clock)
    frame = a_frame(0)
    clock.now = frame.captured_ns / 1e9 + 0.25
    meter.see(Step(frame, a_prediction(frame)))
    status = meter.status([], 0)
    assert status.delay_ms == pytest.approx(250)
    assert status.inference_ms == pytest.approx(1.0)


def test_a_status_is_strict_json() -> None:
    assert json.loads(json.dumps(asdict(Meter().status([a_camera()], 0)), allow_nan=False))["frames"] == 0
