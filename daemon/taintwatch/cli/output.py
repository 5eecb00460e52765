"""What `taintwatch run` prints: for people, or one JSON object a line."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, TextIO

import av
from rich.console import Console
from rich.live import Live
from rich.text import Text

from taintwatch.alerts.lines import ALERT_STYLES, place
from taintwatch.cameras.camera_status import CameraStatus
from taintwatch.config.sections import Config
from taintwatch.printable import printable
from taintwatch.records import Alert
from taintwatch.sources.images import IMAGE_SUFFIXES, files_below
from taintwatch.status import Ending, RunStatus, Summary
from taintwatch_models.classifier import ModelCard

__all__ = [
    "HumanReporter",
    "JsonReporter",
    "RunLength",
    "alert_line",
    "clock_time",
    "progress_line",
    "run_length_of",
    "summary_line",
    "videos_length",
]

PLAIN_EVERY_S = 5.0  # between progress lines where there is no terminal to draw on

_ENDINGS = {Ending.ENDED: "to the end", Ending.STOPPED: "until told to stop", Ending.LIMIT: "as many as asked for"}


class HumanReporter:
    """Alerts and the summary go to `out`, everything else to `err`; on a terminal the progress stays on one line."""

    def __init__(
        self,
        out: TextIO,
        err: TextIO,
        *,
        quiet: bool = False,
        length: RunLength | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`length`: how much there is to watch, where that is known; `quiet`: alerts only."""
        self._out = Console(file=out, highlight=False, soft_wrap=True)
        self._err = Console(file=err, highlight=False, soft_wrap=True)
        self._quiet = quiet
        self._length = length
        self._clock = clock
        self._next = clock() + PLAIN_EVERY_S
        self._live: Live | None = None

    def started(self, card: ModelCard, cameras: Sequence[CameraStatus], endpoint: str | None) -> None:
        if self._quiet:
            return
        height, width = card.input_size
        where = f"alerts on {endpoint}" if endpoint else "alerts are not published"
        names = ", ".join(f"{camera.camera} ({printable(camera.source)})" for camera in cameras)
        self._err.print(Text(f"watching {names}"))
        self._err.print(Text(f"with {printable(card.name)} ({width}x{height}) on {card.provider}; {where}"))
        if self._err.is_terminal:
            # A line that is drawn again and again; log lines and alerts are put above it.
            self._live = Live(Text(), console=self._err, auto_refresh=False, transient=True, redirect_stdout=False)
            self._live.start()

    def alert(self, alert: Alert) -> None:
        console = self._err if self._live is not None and self._out.is_terminal else self._out
        console.print(alert_line(alert))
        self._out.file.flush()

    def progress(self, status: RunStatus) -> None:
        if self._live is not None:
            self._live.update(progress_line(status, self._length), refresh=True)
        elif not self._quiet and self._clock() >= self._next:
            self._next = self._clock() + PLAIN_EVERY_S
            self._err.print(progress_line(status, self._length))

    def finished(self, summary: Summary) -> None:
        self.close()
        if not self._quiet:
            self._out.print(Text(summary_line(summary)))
            self._out.file.flush()

    def close(self) -> None:
        """Take the progress line away; may be called again."""
        if self._live is not None:
            self._live.stop()
            self._live = None


def alert_line(alert: Alert) -> Text:
    """Return one line for an alert; its time is the position in the file, or else the time of day."""
    line = Text(f"{_when(alert)}  {place(alert)}  ")
    line.append(f"{alert.state.value.upper():<7}", ALERT_STYLES[alert.state])
    line.append(f"  {printable(alert.label_name)} ({alert.confidence:.0%})")
    if alert.recovered_name is not None:
        line.append(f", without the region {printable(alert.recovered_name)}")
    line.append(f"  score {alert.score:.3g} > {alert.threshold:.3g}", "bold")
    line.append(f"  {', '.join(alert.detectors)}, {alert.suspicious_frames} suspicious frames", "dim")
    if alert.region is not None:
        x, y, width, height = alert.region.box
        line.append(f", {width}x{height} pixels at {x},{y}", "dim")
    return line


def progress_line(status: RunStatus, length: RunLength | None) -> Text:
    """Return how a run stands, on one line."""
    words = [f"{status.frames} frames", f"{status.fps:.1f} fps"]
    if length is not None:
        words.append(length.words(status))
    elif status.delay_ms is not None:
        words.append(f"{status.delay_ms:.0f} ms behind")
    if status.unchecked:
        words.append(f"{status.unchecked} unchecked")
    if status.drops:
        words.append(f"{status.drops} dropped")
    skipped = status.bad_frames + status.rejected
    if skipped:
        words.append(f"{skipped} bad")
    line = Text("  ".join(words))
    plural = "" if status.alerts == 1 else "s"
    line.append(f"  {status.alerts} alert{plural}", "bold red" if status.open_alerts else "")
    for camera in status.cameras:
        if camera.arming == "learning":
            line.append(f"  {camera.camera} is being learnt: {camera.learnt_share or 0:.0%}", "yellow")
        elif camera.arming == "arming":
            line.append(f"  {camera.camera} is about to be armed", "yellow")
        elif camera.arming == "refitting":
            line.append(f"  {camera.camera} is being learnt again: {camera.learnt_share or 0:.0%}", "yellow")
        elif camera.arming == "drifting":
            line.append(f"  {camera.camera} drifts: learn it again?", "yellow")
        if camera.reason is not None and camera.state.value in ("stale", "lost"):
            line.append(f"  {camera.camera} is {camera.state.value}: {printable(camera.reason)}", "red")
    return line


def summary_line(summary: Summary) -> str:
    """Return a whole run on one line."""
    plural = "" if summary.alerts == 1 else "s"
    return (
        f"watched {summary.frames} frames {_ENDINGS[summary.ending]} in {clock_time(summary.seconds)}: "
        f"{summary.fps:.1f} frames/s{f' on {summary.provider}' if summary.provider else ''}, "
        f"{summary.alerts} alert{plural}, "
        f"{summary.drops} dropped, {summary.bad_frames + summary.rejected} bad"
        f"{f', {summary.skipped} skipped (fps)' if summary.skipped else ''}"
        f"{f', {summary.unchecked} let pass unchecked' if summary.unchecked else ''}"
    )


def _when(alert: Alert) -> str:
    if alert.media_s is not None:
        return f"{alert.media_s:7.2f}s"
    return datetime.fromtimestamp(alert.wall_ns / 1e9).astimezone().strftime("%H:%M:%S")


class JsonReporter:
    """Prints `started`, `alert`, `status` (every `status_s` seconds) and `summary` objects, named by their `kind`."""

    def __init__(
        self, out: TextIO, *, status_s: float, quiet: bool = False, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """`quiet` leaves out the statuses."""
        self._out = out
        self._status_s = status_s
        self._quiet = quiet
        self._clock = clock
        self._next = clock() + status_s

    def started(self, card: ModelCard, cameras: Sequence[CameraStatus], endpoint: str | None) -> None:
        self._print(
            {
                "kind": "started",
                "model": card.name,
                "model_hash": card.model_hash,
                "provider": card.provider,
                "endpoint": endpoint,
                "cameras": {camera.camera: camera.source for camera in cameras},
            }
        )

    def alert(self, alert: Alert) -> None:
        self._print({"kind": "alert", **asdict(alert)})

    def progress(self, status: RunStatus) -> None:
        now = self._clock()
        if not self._quiet and now >= self._next:
            self._next = now + self._status_s
            self._print({"kind": "status", **asdict(status)})

    def finished(self, summary: Summary) -> None:
        self._print({"kind": "summary", **asdict(summary)})

    def _print(self, record: Mapping[str, Any]) -> None:
        # Flushed line by line: whoever reads a pipe wants an alert now.
        self._out.write(json.dumps(record, allow_nan=False) + "\n")
        self._out.flush()


@dataclass(frozen=True, slots=True)
class RunLength:
    """The whole of a run, in frames or in seconds of the file; one of them is None."""

    frames: int | None = None
    seconds: float | None = None

    def words(self, status: RunStatus) -> str:
        """Return the share that is done and the time that is left."""
        if self.seconds is not None:
            share = (status.media_s or 0.0) / self.seconds
            position = f"{clock_time(status.media_s or 0.0)} of {clock_time(self.seconds)}"
        else:
            share = status.frames / (self.frames or 1)
            position = f"of {self.frames}"
        share = min(1.0, max(0.0, share))
        if share == 0.0 or status.seconds <= 0:
            return position
        return f"{position}  {share:.0%}  {clock_time(status.seconds * (1 - share) / share)} left"


def run_length_of(config: Config) -> RunLength | None:
    """Return how much a run of `config` has to watch; None where it is without end or not known beforehand."""
    if config.limits.max_frames is not None:
        return RunLength(frames=config.limits.max_frames)
    if len(config.camera) != 1 or config.camera[0].loop:
        return None
    path = Path(config.camera[0].source)
    if path.is_dir():
        images = len(files_below(path, IMAGE_SUFFIXES))
        return RunLength(frames=images) if images else None
    return _video(path) if path.is_file() else None


def videos_length(files: Sequence[Path]) -> RunLength | None:
    """Return how many seconds of footage there are, as the files' headers state them; None where none does."""
    lengths = [found.seconds or 0.0 for file in files if (found := _video(file)) is not None]
    return RunLength(seconds=sum(lengths)) if lengths else None


def clock_time(seconds: float) -> str:
    """Return `1:02:03`, `2:03` or `2.3 s`."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def _video(path: Path) -> RunLength | None:
    """Return a video's length as its header states it."""
    try:
        with av.open(str(path)) as container:
            duration = container.duration
    except (av.FFmpegError, OSError, ValueError):
        return None  # opening it as a source will say what is wrong
    return RunLength(seconds=duration / av.time_base) if duration else None
