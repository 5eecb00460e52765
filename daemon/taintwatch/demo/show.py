"""Runs the demo: the daemon's own assembly and service, a subscriber beside it, and what is left behind afterwards."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from taintwatch.assembly import assemble
from taintwatch.cameras import CameraStatus
from taintwatch.config.lines import KeyPath
from taintwatch.config.load import load_config
from taintwatch.config.sections import Config
from taintwatch.deadlines import Deadlines
from taintwatch.demo.director import Director
from taintwatch.demo.listener import Listener
from taintwatch.demo.observed import Reel, rebuilder, seen_of
from taintwatch.demo.screen import Screen
from taintwatch.demo.verdict import ActResult, Chapter, judge_act, stray_alerts
from taintwatch.pipeline import Step
from taintwatch.records import Alert
from taintwatch.service import Service
from taintwatch.status import RunStatus, Summary
from taintwatch_models.bundled import bundled_calibration_path
from taintwatch_models.calibration_file import read_calibration
from taintwatch_models.classifier import ModelCard
from taintwatch_models.errors import PublishError

__all__ = ["DemoResult", "demo_config", "perform"]


@dataclass(frozen=True, slots=True, eq=False)
class DemoResult:
    """The whole demo."""

    chapters: tuple[Chapter, ...]
    acts: tuple[ActResult, ...]
    stray: tuple[int, ...]
    """Frames at which an alert was raised without cause."""
    alerts: tuple[Alert, ...]
    """As the subscriber received them."""
    summary: Summary
    reel: Reel

    @property
    def problems(self) -> tuple[str, ...]:
        """Return what went wrong, one sentence each."""
        said = [f"{act.attack}: {problem}" for act in self.acts for problem in act.problems]
        said += [f"an alert was raised in frame {frame}, where there was no patch" for frame in self.stray]
        if not self.acts:
            said.append("it ended before any attack was seen")
        return tuple(said)

    def as_dict(self) -> dict[str, Any]:
        """Return it JSON-ready."""
        return {
            "kind": "demo",
            "ok": not self.problems,
            "acts": [asdict(act) for act in self.acts],
            "stray_alerts": list(self.stray),
            "problems": list(self.problems),
            "received": [alert.state.value for alert in self.alerts],
            "run": asdict(self.summary),
        }


def demo_config(source: str, *, realtime: bool, evidence: Path | None, calibration: str | None = None) -> Config:
    """Return the daemon's configuration for a demo: one camera, all detectors, a port that the system chooses."""
    flags: dict[KeyPath, tuple[str, Any]] = {
        ("site",): ("demo", "demo"),
        ("camera",): ("--camera", [{"name": "camera", "source": source, "realtime": realtime}]),
        ("detect", "detectors"): ("demo", ["tight", "paper", *(["cmag"] if _rebuilds(calibration) else [])]),
        # The others are shown beside it: `paper` neither sees every attack on this model nor leaves every benign frame
        # alone, and `cmag` shows what the classifier believes it sees.
        ("vote", "detectors"): ("demo", ["tight"]),
        ("publish", "bind"): ("demo", "tcp://127.0.0.1:*"),
        ("publish", "heartbeat_s"): ("demo", 0.5),
        ("limits", "max_batch"): ("demo", 1),
    }
    if evidence is not None:
        flags["evidence", "folder"] = ("--out", str(evidence))
    if calibration is not None:
        flags["model", "calibration"] = ("--calibration", calibration)
    return load_config(None, flags)


def _rebuilds(calibration: str | None) -> bool:
    """Tell whether there are thresholds for CMAG. Raises `CalibrationError`."""
    path = bundled_calibration_path() if calibration is None else Path(calibration)
    return read_calibration(path).cmag is not None


def perform(
    config: Config, director: Director, screen: Screen, *, stopping: Callable[[], bool], total: int | None = None
) -> DemoResult:
    """Run the service as `taintwatch run` does, with a subscriber beside it, until the director or `stopping` ends it.

    Raises what assembling and running a service raise.
    """
    deadlines = Deadlines()
    runtime = assemble(config, deadlines)
    publisher = runtime.publisher
    if publisher is None:
        raise PublishError("the demo needs its alerts published; switch publishing on")
    reel, cmag = Reel(), rebuilder(runtime.detection.detectors)

    def observe(step: Step) -> None:
        seen = seen_of(step, cmag)
        if seen is not None:
            reel.add(seen)
            director.see(seen)
            screen.show(seen, director.truth(seen.index), director.script(seen.index), total)

    def hear(alert: Alert) -> None:
        director.hear(alert)
        screen.alert(alert)

    with ExitStack() as stack:
        stack.callback(publisher.close)  # again, where the service never ran
        listener = stack.enter_context(Listener(publisher.endpoint, hear))
        listener.wait_connected()
        service = Service(
            runtime,
            _Silent(),
            stopping=lambda: stopping() or director.over,
            deadlines=deadlines,
            observe=observe,
        )
        summary = service.run()
        listener.close()
    chapters = tuple(director.chapters(reel))
    return DemoResult(
        chapters=chapters,
        acts=tuple(judge_act(chapter, listener.alerts) for chapter in chapters),
        stray=stray_alerts(chapters, listener.alerts),
        alerts=listener.alerts,
        summary=summary,
        reel=reel,
    )


class _Silent:
    """A reporter that says nothing: what the demo shows it takes from the frames and from the subscriber."""

    def started(self, card: ModelCard, cameras: Sequence[CameraStatus], endpoint: str | None) -> None: ...

    def alert(self, alert: Alert) -> None: ...

    def progress(self, status: RunStatus) -> None: ...

    def finished(self, summary: Summary) -> None: ...
