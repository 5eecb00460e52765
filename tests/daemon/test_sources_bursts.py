"""Streams that come in bursts are given at their own pace, and make up for a stall without losing pictures."""

from __future__ import annotations

from itertools import pairwise

import pytest

from taintwatch.sources.network import StreamSource


class Clock:
    """A clock that runs only while somebody sleeps, or is told to."""

    def __init__(self) -> None:
        self.now = 50.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def given_at(times: list[float], stall_before: int | None = None, stall_s: float = 0.0) -> list[float]:
    """Return when each picture is given, counted from the first; before one of them nothing comes for `stall_s`."""
    clock = Clock()
    source = StreamSource("http://camera.lan/live.m3u8", clock=clock, sleep=clock.sleep)
    given = []
    for index, media_s in enumerate(times):
        clock.now += stall_s if index == stall_before else 0.0
        source._wait_for(media_s)
        given.append(round(clock.now - 50.0, 6))
    return given


def test_a_burst_is_given_at_the_pace_of_its_times() -> None:
    times = [index * 0.2 for index in range(20)]
    assert given_at(times) == pytest.approx(times)


def test_after_a_stall_the_pictures_come_a_quarter_faster_until_they_are_in_time_again() -> None:
    times = [index * 0.2 for index in range(60)]
    given = given_at(times, stall_before=10, stall_s=2.0)
    waits = [later - earlier for earlier, later in pairwise(given)]
    assert min(waits) == pytest.approx(0.16)  # never a burst: each is there to be judged
    assert given[-1] == pytest.approx(times[-1])


@pytest.mark.parametrize("jump_s", [-100.0, 100.0])
def test_a_jump_in_the_times_does_not_hold_anything_up(jump_s: float) -> None:
    times = [200 + index * 0.2 for index in range(10)]
    given = given_at([*times, *(time + jump_s for time in times)])
    assert given[-1] == pytest.approx(3.6, abs=0.5)
