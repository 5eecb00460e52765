"""A slow command says where it is off a terminal, too; a quick one says nothing."""

from __future__ import annotations

import io
from types import SimpleNamespace

import pytest
from rich.console import Console

from taintwatch_calibration.progress import bars


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time, which a test sets."""
    now = [100.0]
    monkeypatch.setattr("taintwatch_calibration.progress.time.monotonic", lambda: now[0])
    return now


def test_off_a_terminal_each_tenth_is_a_line(said: list[float]) -> None:
    written = io.StringIO()
    with bars(Console(file=written)) as bar:
        task = bar.add_task("learning", total=100)
        for done in range(0, 101, 5):
            said[0] += 1
            bar.update(task, completed=done)
    lines = written.getvalue().splitlines()
    assert lines[0].startswith("learning: 10 of 100") or lines[0].startswith("learning: 15 of 100")
    assert 4 <= len([line for line in lines if line]) <= 11


def test_where_the_end_is_not_known_ten_seconds_pass_between_lines(said: list[float]) -> None:
    written = io.StringIO()
    with bars(Console(file=written)) as bar:
        task = bar.add_task("reading", total=None)
        for done in range(60):
            said[0] += 1
            bar.update(task, completed=done)
    assert 5 <= written.getvalue().count("reading: ") <= 7


def test_what_is_quick_says_nothing(said: list[float]) -> None:
    written = io.StringIO()
    with bars(Console(file=written)) as bar:
        task = bar.add_task("learning", total=10)
        for done in range(11):
            bar.update(task, completed=done)
    assert written.getvalue() == ""


def test_crafting_says_where_it_is_off_a_terminal(said: list[float]) -> None:
    torch = pytest.importorskip("torch")
    from taintwatch_calibration.craft.engine import Step
    from taintwatch_calibration.craft.session import watched

    written = io.StringIO()
    with watched("patch", 300, SimpleNamespace(), Console(file=written), clock=lambda: said[0]) as on_step:  # type: ignore[arg-type]
        for iteration in range(1, 301):
            said[0] += 0.4
            on_step(Step(iteration, 2.5, 0.25, torch.zeros(1), None))
    lines = written.getvalue().splitlines()
    assert lines[0].startswith("patch: loss    2.500, success  25%: ")
    assert 8 <= len([line for line in lines if line]) <= 15
