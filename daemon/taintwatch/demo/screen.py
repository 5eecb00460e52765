"""The demo on a terminal: a table that lives, and a line for every alert that the subscriber receives."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import TextIO

from rich.console import Console, Group
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from taintwatch.cli.output import alert_line
from taintwatch.demo.annotation import GroundTruth
from taintwatch.demo.director import Script
from taintwatch.demo.frame_record import FrameRecord, ScoreReading
from taintwatch.printable import printable
from taintwatch.records import Alert
from taintwatch_models.detection.detector import COMBINED

__all__ = ["Screen"]

DRAW_EVERY_S = 0.1
LINES = 6  # alerts shown under the table
BAR = 24


class Screen:
    """Draws on a terminal; elsewhere it prints the alerts and the instructions only."""

    def __init__(self, out: TextIO, *, silent: bool = False, clock: Callable[[], float] = time.monotonic) -> None:
        self._console = Console(file=out, highlight=False, quiet=silent)
        self._clock = clock
        self._next = clock()
        self._said = ""
        self._lock = threading.Lock()
        self._lines: list[Text] = []
        self._view: Group | None = None
        self._live: Live | None = None

    def __enter__(self) -> Screen:
        if self._console.is_terminal and not self._console.quiet:
            self._live = Live(console=self._console, auto_refresh=False)
            self._live.start()
        return self

    def __exit__(self, *exception: object) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None

    def say(self, words: str | Text) -> None:
        """Print a line above the table."""
        self._console.print(words)

    def alert(self, alert: Alert) -> None:
        """Show an alert that was received. May come from any thread."""
        with self._lock:
            self._lines = [*self._lines, alert_line(alert)][-LINES:]
        if self._live is None:
            self._console.print(alert_line(alert))

    def show_signs(self, title: str, signs: Sequence[tuple[str, str, ScoreReading, bool]]) -> None:
        """Draw what was found in one frame, unless it is too soon: subject, label, score, whether it is alerted on."""
        if self._live is None or self._clock() < self._next:
            return
        self._next = self._clock() + DRAW_EVERY_S
        table = Table.grid(padding=(0, 2))
        for subject, label, reading, raised in signs:
            table.add_row(
                printable(subject), printable(label), _meter(reading),
                Text("ALERT", "bold white on red") if raised else Text("quiet", "green"),
            )  # fmt: skip
        with self._lock:
            lines = list(self._lines)
        panel = Panel(table, title=title, title_align="left", width=110)
        self._live.update(Group(panel, *lines), refresh=True)

    def show(self, seen: FrameRecord, truth: GroundTruth, script: Script, total: int | None) -> None:
        """Draw one frame's facts, unless it is too soon after the last."""
        if self._live is None:
            line = f"{script.headline}{': ' if script.instruction else ''}{script.instruction}"
            if line != self._said:
                self._said = line
                self._console.print(line)
            return
        if self._clock() < self._next:
            return
        self._next = self._clock() + DRAW_EVERY_S
        with self._lock:
            lines = list(self._lines)
        received = Group(Text("received over ZeroMQ:", "dim"), *lines) if lines else Text("nothing received yet", "dim")
        self._live.update(Group(_panel(seen, truth, script, total), received), refresh=True)


def _panel(seen: FrameRecord, truth: GroundTruth, script: Script, total: int | None) -> Panel:
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim", width=16)
    table.add_column(ratio=1)
    if script.instruction:
        table.add_row("please", Text(script.instruction, "bold cyan"))
    there = Text(truth.sign_name)
    if truth.attacked:
        there.append(", with the patch", "bold yellow")
    table.add_row("in the scene", there)
    right = seen.label == truth.sign
    said = Text(f"{printable(seen.label_name)} ({seen.confidence:.0%})", "green" if right else "bold red")
    table.add_row("classifier says", said)
    for name, reading in seen.readings.items():
        table.add_row(name if name == COMBINED else f"{name} (no vote)", _meter(reading))
    table.add_row("vote", _bar(seen.level, "red" if seen.raised else "green").append(f" {seen.level:.0%}"))
    table.add_row("alert", Text("RAISED", "bold white on red") if seen.raised else Text("none", "green"))
    table.add_row("frame", f"{seen.index + 1}" + (f" of {total}" if total is not None else ""))
    return Panel(table, title=f"Taintwatch demo, {script.headline}", title_align="left", width=90)


def _meter(reading: ScoreReading) -> Text:
    style = "red" if reading.suspicious else "green"
    sign = ">" if reading.suspicious else "<="
    return _bar(reading.share, style).append(f" {reading.score:7.3g} {sign} {reading.threshold:.3g}", style)


def _bar(share: float, style: str) -> Text:
    full = round(min(1.0, max(0.0, share)) * BAR)
    return Text("█" * full, style).append("░" * (BAR - full), "dim")
