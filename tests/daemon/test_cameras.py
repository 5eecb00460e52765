"""Cameras and sets of them, around sources that do as they are told."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterable, Iterator

import numpy as np
import pytest
from numpy.typing import NDArray

from taintwatch.cameras.camera import Camera
from taintwatch.cameras.camera_set import CameraSet
from taintwatch.cameras.camera_status import CameraState
from taintwatch.cameras.pacing import Backoff, RateLimit
from taintwatch.sources.images import as_bgr
from taintwatch.sources.source import Grab
from taintwatch_models.errors import BadFrame, SourceError, UsageError
from taintwatch_models.records import Frame

PATIENCE_S = 30.0
"""How long a test waits before it gives up on a thread: never reached where the code works."""

Answer = Grab | Exception | None


def picture(value: int = 0) -> NDArray[np.uint8]:
    return np.full((4, 6, 3), value % 256, np.uint8)


class ScriptedSource:
    """Answers from a script; a live one then waits (as if it gave nothing more) until it is released."""

    def __init__(self, answers: Iterable[Answer], *, live: bool, opens: Iterable[Exception | None] = ()) -> None:
        self._answers = iter(answers)
        self._opens = iter(opens)
        self.live = live
        self.description = "scripted"
        self.exhausted = threading.Event()
        self.released = threading.Event()
        self.closed = 0

    def open(self) -> None:
        failure = next(self._opens, None)
        if failure is not None:
            raise failure

    def read(self) -> Grab | None:
        try:
            answer = next(self._answers)
        except StopIteration:
            self.exhausted.set()
            if self.live:
                self.released.wait(PATIENCE_S)
            return None
        if isinstance(answer, Exception):
            raise answer
        return answer

    def close(self) -> None:
        self.closed += 1


def grabs(count: int, fps: float | None = None) -> Iterator[Grab]:
    return (Grab(picture(index), None if fps is None else index / fps) for index in range(count))


@pytest.fixture
def running() -> Iterator[Callable[..., CameraSet]]:
    """Start sets of cameras that are stopped after the test."""
    started: list[CameraSet] = []

    def start(*cameras: Camera) -> CameraSet:
        cameras_set = CameraSet(cameras)
        cameras_set.start()
        started.append(cameras_set)
        return cameras_set

    yield start
    for cameras_set in started:
        cameras_set.stop(0.0)


def drain(cameras: CameraSet, max_batch: int = 4) -> list[Frame]:
    frames: list[Frame] = []
    give_up = time.monotonic() + PATIENCE_S
    while not cameras.finished and time.monotonic() < give_up:
        frames += cameras.next_batch(max_batch, 1.0)
    return frames


def wait_until(condition: Callable[[], bool]) -> None:
    give_up = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < give_up, "it never happened"
        time.sleep(0.002)


Start = Callable[..., CameraSet]


def test_a_file_gives_every_frame_in_order_though_its_queue_is_short(running: Start) -> None:
    cameras = running(Camera("clip", ScriptedSource(grabs(200, fps=10), live=False), queue=3))
    frames = drain(cameras)
    assert [frame.index for frame in frames] == list(range(200))
    assert [int(frame.image[0, 0, 0]) for frame in frames] == list(range(200))
    assert frames[15].media_s == 1.5
    assert {frame.camera for frame in frames} == {"clip"}
    status = cameras.statuses()[0]
    assert (status.state, status.captured, status.delivered, status.dropped) == (CameraState.ENDED, 200, 200, 0)


def test_a_file_is_not_read_further_than_its_queue(running: Start) -> None:
    taken: list[int] = []

    def counted() -> Iterator[Grab]:
        for index, grab in enumerate(grabs(100)):
            taken.append(index)
            yield grab

    running(Camera("clip", ScriptedSource(counted(), live=False), queue=3))
    wait_until(lambda: len(taken) >= 4)
    time.sleep(0.05)
    assert len(taken) == 4  # three that wait and the one in hand


def test_a_live_camera_keeps_the_newest_frame_and_counts_the_replaced_ones(running: Start) -> None:
    source = ScriptedSource(grabs(10), live=True)
    cameras = running(Camera("gate", source))
    assert source.exhausted.wait(PATIENCE_S)
    batch = cameras.next_batch(16, 0.0)
    assert [frame.index for frame in batch] == [9]
    assert cameras.next_batch(16, 0.0) == []
    status = cameras.statuses()[0]
    assert (status.captured, status.delivered, status.dropped) == (10, 1, 9)
    source.released.set()


def test_frames_are_read_only_and_carry_both_clocks(running: Start) -> None:
    times = iter(range(1000, 2000))
    source = ScriptedSource(grabs(3), live=False)
    camera = Camera("clip", source, clock_ns=lambda: next(times), wall_clock_ns=lambda: 77)
    frames = drain(running(camera))
    assert [frame.captured_ns for frame in frames] == sorted({frame.captured_ns for frame in frames})
    assert {frame.wall_ns for frame in frames} == {77}
    with pytest.raises(ValueError, match="read-only"):
        frames[0].image[0, 0, 0] = 1


def test_bad_frames_are_counted_and_passed_over(running: Start) -> None:
    answers: list[Answer] = [
        Grab(picture(0)),
        BadFrame("the file x.jpg is broken"),
        Grab(np.zeros((0, 0, 3), np.uint8)),
        Grab(np.zeros((4, 6, 2), np.uint8)),
        Grab(np.zeros((4, 6, 3), np.float32)),
        Grab(picture(1)),
    ]
    cameras = running(Camera("clip", ScriptedSource(answers, live=False)))
    assert [frame.index for frame in drain(cameras)] == [0, 1]
    status = cameras.statuses()[0]
    assert status.bad == 4
    assert status.reason == "the picture holds float32 values where uint8 is needed"


def test_grey_and_bgra_pictures_become_bgr() -> None:
    assert as_bgr(np.full((2, 3), 9, np.uint8)).tolist() == np.full((2, 3, 3), 9).tolist()
    assert as_bgr(np.full((2, 3, 1), 9, np.uint8)).shape == (2, 3, 3)
    bgra = np.dstack([np.full((2, 3), value, np.uint8) for value in (1, 2, 3, 200)])
    assert as_bgr(bgra)[0, 0].tolist() == [1, 2, 3]
    with pytest.raises(BadFrame, match="5 channels"):
        as_bgr(np.zeros((2, 3, 5), np.uint8))


def test_a_live_camera_is_tried_again_for_ever_and_counts_its_reconnections(running: Start) -> None:
    answers: list[Answer] = [Grab(picture()), SourceError("the cable is out"), Grab(picture())]
    opens = [SourceError("nobody is there"), SourceError("nobody is there"), None, SourceError("still booting"), None]
    source = ScriptedSource(answers, live=True, opens=opens)
    cameras = running(Camera("gate", source, backoff=Backoff(first_s=0.001, cap_s=0.002)))
    assert source.exhausted.wait(PATIENCE_S)
    status = cameras.statuses()[0]
    assert (status.state, status.captured, status.reconnects) == (CameraState.RUNNING, 2, 1)
    assert status.reason == "still booting"
    assert cameras.next_batch(4, 0.0)[0].index == 1  # the count goes on over reconnections
    source.released.set()


def test_an_unexpected_failure_of_one_source_is_retried_without_showing_its_text(running: Start) -> None:
    answers: list[Answer] = [ValueError("rtsp://admin:hunter2@gate"), Grab(picture())]
    source = ScriptedSource(answers, live=True)
    cameras = running(Camera("gate", source, backoff=Backoff(first_s=0.001)))
    assert source.exhausted.wait(PATIENCE_S)
    status = cameras.statuses()[0]
    assert status.captured == 1
    assert "ValueError" in str(status.reason)
    assert "hunter2" not in str(status)
    source.released.set()


def test_a_dead_camera_holds_up_nobody(running: Start) -> None:
    dead = ScriptedSource([], live=True, opens=[SourceError("dead")] * 1000)
    hung = ScriptedSource([], live=True)
    cameras = running(
        Camera("dead", dead, backoff=Backoff(first_s=60.0)),
        Camera("hung", hung),
        Camera("clip", ScriptedSource(grabs(50), live=False)),
    )
    frames: list[Frame] = []
    while len(frames) < 50:
        batch = cameras.next_batch(8, PATIENCE_S)
        assert batch
        frames += batch
    wait_until(lambda: cameras.statuses()[0].state is CameraState.LOST)
    assert [frame.index for frame in frames] == list(range(50))
    assert not cameras.finished
    hung.released.set()


def test_a_batch_has_one_frame_of_each_live_camera_and_turns_are_fair(running: Start) -> None:
    sources = [ScriptedSource(grabs(3), live=True) for _ in range(4)]
    cameras = running(*(Camera(f"c{number}", source) for number, source in enumerate(sources)))
    for source in sources:
        assert source.exhausted.wait(PATIENCE_S)
    assert sorted(frame.camera for frame in cameras.next_batch(16, 0.0)) == ["c0", "c1", "c2", "c3"]
    clips = running(*(Camera(f"f{number}", ScriptedSource(grabs(9), live=False), queue=9) for number in range(3)))
    wait_until(lambda: all(status.state is CameraState.ENDED for status in clips.statuses()))
    seen = [frame.camera for frame in drain(clips, max_batch=1)]
    assert len(seen) == 27
    assert all(set(seen[turn : turn + 3]) == {"f0", "f1", "f2"} for turn in range(0, 27, 3))
    for source in sources:
        source.released.set()


def test_waiting_for_a_batch_ends_when_time_is_up(running: Start) -> None:
    source = ScriptedSource([], live=True)
    assert running(Camera("gate", source)).next_batch(4, 0.01) == []
    source.released.set()


def test_a_file_that_cannot_be_opened_raises_its_error_once(running: Start) -> None:
    source = ScriptedSource([], live=False, opens=[SourceError("clip.mp4 is empty (0 bytes)")])
    cameras = running(Camera("clip", source))
    wait_until(lambda: cameras.statuses()[0].state is CameraState.ENDED)
    assert not cameras.finished  # or a loop that asks first would never hear of it
    with pytest.raises(SourceError, match="empty"):
        cameras.next_batch(4, PATIENCE_S)
    assert cameras.next_batch(4, 0.0) == []
    assert cameras.finished


def test_a_file_that_breaks_off_ends_with_its_error_in_the_status(running: Start) -> None:
    cameras = running(Camera("clip", ScriptedSource([*grabs(3), SourceError("cut short")], live=False)))
    assert len(drain(cameras)) == 3
    assert cameras.next_batch(4, 0.0) == []
    status = cameras.statuses()[0]
    assert (status.state, status.reason) == (CameraState.ENDED, "cut short")


def test_stop_returns_though_a_read_blocks_and_the_source_is_closed_when_it_returns(running: Start) -> None:
    source = ScriptedSource([], live=True)
    cameras = running(Camera("gate", source))
    assert source.exhausted.wait(PATIENCE_S)
    assert not cameras.stop(0.05)
    assert cameras.statuses()[0].state is CameraState.STOPPED
    assert cameras.finished
    assert source.closed == 0  # closing under a running read would crash libav
    source.released.set()
    assert cameras.stop(PATIENCE_S)
    assert source.closed >= 1


def test_stop_interrupts_a_long_back_off_and_a_full_queue(running: Start) -> None:
    away = ScriptedSource([], live=True, opens=[SourceError("away")] * 9)
    clip = Camera("clip", ScriptedSource(grabs(100), live=False), queue=1)
    gate = Camera("gate", away, backoff=Backoff(first_s=3600.0, cap_s=3600.0))
    cameras = running(gate, clip)
    wait_until(lambda: cameras.statuses()[0].state is CameraState.LOST and cameras.statuses()[1].captured > 1)
    assert cameras.stop(PATIENCE_S)
    assert [status.state for status in cameras.statuses()] == [CameraState.STOPPED] * 2


def test_a_live_camera_that_falls_silent_is_stale_and_its_age_is_told(running: Start) -> None:
    now_ns = [0]
    source = ScriptedSource(grabs(1), live=True)
    cameras = running(Camera("gate", source, stale_after_s=5.0, clock_ns=lambda: now_ns[0]))
    assert source.exhausted.wait(PATIENCE_S)
    now_ns[0] = 5_000_000_000
    assert cameras.statuses()[0].state is CameraState.RUNNING
    now_ns[0] = 5_100_000_000
    status = cameras.statuses()[0]
    assert (status.state, status.frame_age_s) == (CameraState.STALE, 5.1)
    source.released.set()


def test_the_rate_limit_of_a_file_goes_by_its_media_time(running: Start) -> None:
    cameras = running(Camera("clip", ScriptedSource(grabs(30, fps=30), live=False), fps=10))
    assert [frame.index for frame in drain(cameras)] == list(range(0, 30, 3))
    status = cameras.statuses()[0]
    assert (status.captured, status.delivered, status.skipped) == (30, 10, 20)


def test_the_rate_limit_of_a_live_camera_goes_by_the_clock(running: Start) -> None:
    ticks = iter(range(0, 10**12, 50_000_000))  # the clock is asked once when it opens and once for each frame
    source = ScriptedSource(grabs(21), live=True)
    cameras = running(Camera("gate", source, fps=5, clock_ns=lambda: next(ticks)))
    assert source.exhausted.wait(PATIENCE_S)
    status = cameras.statuses()[0]
    assert (status.captured, status.skipped) == (21, 15)
    source.released.set()


@pytest.mark.parametrize(("given", "limit", "expected"), [(30, 30, 300), (30, 20, 200), (30, 7, 70), (5, 10, 50)])
def test_the_mean_rate_under_a_limit_is_the_limit(given: int, limit: float, expected: int) -> None:
    rate = RateLimit(limit)
    assert sum(rate.lets_through(index / given) for index in range(10 * given)) == pytest.approx(expected, abs=1)


def test_the_rate_limit_makes_up_for_no_pause() -> None:
    rate = RateLimit(10)
    moments = [0.0, 5.0, 5.01, 5.02, 5.1]
    assert [rate.lets_through(moment) for moment in moments] == [True, True, False, False, True]


def test_back_off_grows_to_its_cap_with_jitter_and_starts_over() -> None:
    backoff = Backoff(first_s=1.0, cap_s=8.0, rng=random.Random(1))  # noqa: S311 - jitter is no secret
    waits = [backoff.next_s() for _ in range(2000)]
    for wait, whole in zip(waits, [1.0, 2.0, 4.0, 8.0, 8.0], strict=False):
        assert 0.5 * whole <= wait <= whole
    assert max(waits) <= 8.0
    assert len(set(waits[3:20])) > 10
    backoff.reset()
    assert backoff.next_s() <= 1.0


def test_cameras_must_have_names_of_their_own_and_sensible_limits() -> None:
    def a_camera(**options: float) -> Camera:
        return Camera("gate", ScriptedSource([], live=True), **options)  # type: ignore[arg-type]

    with pytest.raises(UsageError, match="two cameras are named 'gate'"):
        CameraSet([a_camera(), a_camera()])
    with pytest.raises(UsageError, match="no camera"):
        CameraSet([])
    with pytest.raises(UsageError, match="fps is 0"):
        a_camera(fps=0)
    with pytest.raises(UsageError, match="stale_after_s 0"):
        a_camera(stale_after_s=0)


def test_frames_of_live_cameras_wait_a_moment_for_one_another_to_share_a_batch() -> None:
    gate = threading.Event()

    def late() -> Iterator[Grab]:
        gate.wait(PATIENCE_S)
        yield Grab(picture(0))

    cameras = CameraSet(
        [Camera("early", ScriptedSource(grabs(1), live=False)), Camera("late", ScriptedSource(late(), live=False))],
        gather_s=PATIENCE_S,
    )
    cameras.start()
    try:
        wait_until(lambda: cameras.statuses()[0].captured == 1)
        threading.Timer(0.05, gate.set).start()  # the first frame is there long before
        assert {frame.camera for frame in cameras.next_batch(4, PATIENCE_S)} == {"early", "late"}
    finally:
        gate.set()
        cameras.stop(PATIENCE_S)


def test_a_frame_does_not_wait_longer_than_it_was_told_to_nor_for_a_full_batch() -> None:
    silent = threading.Event()

    def never() -> Iterator[Grab]:
        silent.wait(PATIENCE_S)
        yield from ()

    cameras = CameraSet(
        [Camera("clip", ScriptedSource(grabs(3), live=False)), Camera("silent", ScriptedSource(never(), live=False))],
        gather_s=0.02,
    )
    cameras.start()
    try:
        wait_until(lambda: cameras.statuses()[0].captured == 3)
        assert len(cameras.next_batch(2, PATIENCE_S)) == 2  # full: at once
        assert len(cameras.next_batch(2, PATIENCE_S)) == 1
    finally:
        silent.set()
        cameras.stop(PATIENCE_S)
