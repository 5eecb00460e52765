"""Files played at their own speed, on a clock that only sleeping moves."""

from __future__ import annotations

from taintwatch.sources.source import LONGEST_S, Grab, PacedSource
from tests.fakes import a_frame


class Times:
    """A file of pictures at the given seconds."""

    live = False
    description = "times"

    def __init__(self, *times: float | None) -> None:
        self._times = list(times)

    def open(self) -> None:
        pass

    def read(self) -> Grab | None:
        return Grab(a_frame().image, self._times.pop(0)) if self._times else None

    def close(self) -> None:
        pass


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def played(clock: Clock, *times: float | None) -> PacedSource:
    source = PacedSource(Times(*times), clock=clock, sleep=clock.sleep)
    source.open()
    return source


def test_each_picture_comes_at_its_time_and_then_the_end() -> None:
    clock = Clock()
    source = played(clock, 0.0, 0.25, 0.75)
    came = []
    while source.read() is not None:
        came.append(clock.now - 100.0)
    assert came == [0.0, 0.25, 0.75]


def test_what_comes_late_is_not_caught_up_with() -> None:
    clock = Clock()
    source = played(clock, 0.0, 0.25, 0.5)
    source.read()
    clock.now += 10.0
    source.read()
    assert clock.now == 110.0
    source.read()
    assert clock.now == 110.25


def test_a_hole_in_the_times_is_waited_for_so_long_and_no_longer() -> None:
    clock = Clock()
    source = played(clock, 0.0, 3600.0, 3600.25)
    source.read()
    source.read()
    assert clock.now == 100.0 + LONGEST_S
    source.read()
    assert clock.now == 100.25 + LONGEST_S


def test_a_picture_without_a_time_is_not_waited_for() -> None:
    clock = Clock()
    source = played(clock, None, None)
    source.read()
    source.read()
    assert clock.now == 100.0
