"""Runs the demo: the daemon's own assembly and service, a subscriber beside it, and what is left behind afterwards."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from taintwatch.alerts.messages import Message
from taintwatch.alerts.subscriber import Subscriber
from taintwatch.assembly import assemble
from taintwatch.cameras.camera_status import CameraStatus
from taintwatch.config.line_map import KeyPath
from taintwatch.config.load import load_config
from taintwatch.config.sections import Config
from taintwatch.deadlines import Deadlines
from taintwatch.demo.director import Director
from taintwatch.demo.frame_record import FrameHistory, frame_record_of, rebuilder
from taintwatch.demo.screen import Screen
from taintwatch.demo.verdict import ActResult, Chapter, judge_act, stray_alerts
from taintwatch.pipeline import Step
from taintwatch.records import Alert
from taintwatch.service import Service
from taintwatch.status import RunStatus, Summary
from taintwatch_models.classifier import ModelCard
from taintwatch_models.cmag.detector import CmagDetector
from taintwatch_models.detection.detector import COMBINED
from taintwatch_models.errors import PublishError
from taintwatch_models.records import Detector

__all__ = ["DemoResult", "Listener", "demo_config", "perform", "play_service"]

CONNECT_S = 30.0
STEP_S = 0.2


class Listener:
    """Receives what is published on `endpoint` until it is closed. A context manager."""

    def __init__(self, endpoint: str, told: Callable[[Alert], None] = lambda alert: None) -> None:
        """`told` is called, in the listener's thread, for every alert that comes. Raises `UsageError`."""
        self._subscriber = Subscriber(endpoint)
        self._told = told
        self._alerts: list[Alert] = []
        self._connected = threading.Event()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="demo listener", daemon=True)

    @property
    def alerts(self) -> tuple[Alert, ...]:
        """The alerts received so far, in order. Any thread may ask."""
        return tuple(self._alerts)

    def __enter__(self) -> Listener:
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def wait_connected(self) -> None:
        """Wait for the first message (a heartbeat), so that no alert is missed. Raises `PublishError`."""
        if not self._connected.wait(CONNECT_S):
            raise PublishError(f"nothing was received from {self._subscriber.endpoint} within {CONNECT_S:g} s")

    def close(self) -> None:
        """Take what has still been sent, and end."""
        self._stopping.set()
        self._thread.join()

    def _run(self) -> None:
        with self._subscriber:
            while (event := self._subscriber.receive(STEP_S)) is not None or not self._stopping.is_set():
                if event is not None:
                    self._connected.set()
                if isinstance(event, Message) and isinstance(event.body, Alert):
                    self._alerts.append(event.body)
                    self._told(event.body)


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
    reel: FrameHistory

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


def demo_config(source: str, *, realtime: bool, evidence: Path | None, reference: str | None = None) -> Config:
    """Return the daemon's configuration for a demo: one camera, all detectors, a port that the system chooses."""
    flags: dict[KeyPath, tuple[str, Any]] = {
        ("site",): ("demo", "demo"),
        ("camera",): ("--camera", [{"name": "camera", "source": source, "realtime": realtime}]),
        ("detect", "detectors"): ("demo", [COMBINED, "paper", "cmag"]),
        # The others are shown beside it: `paper` neither sees every attack on this model nor leaves every benign frame
        # alone, and `cmag` shows what the classifier believes it sees.
        ("vote", "detectors"): ("demo", [COMBINED]),
        ("vote", "clear_after_s"): ("demo", 0.0),  # its acts follow one another by seconds
        ("publish", "bind"): ("demo", "tcp://127.0.0.1:*"),
        ("publish", "heartbeat_s"): ("demo", 0.5),
        ("limits", "max_batch"): ("demo", 1),
    }
    if evidence is not None:
        flags["evidence", "folder"] = ("--out", str(evidence))
    if reference is not None:
        flags["model", "reference"] = ("--reference", reference)
    return load_config(None, flags)


def perform(
    config: Config, director: Director, screen: Screen, *, stopping: Callable[[], bool], total: int | None = None
) -> DemoResult:
    """Run the service as `taintwatch run` does, with a subscriber beside it, until the director or `stopping` ends it.

    Raises what assembling and running a service raise.
    """
    reel = FrameHistory()
    cmag: list[CmagDetector | None] = []

    def began(detectors: Sequence[Detector]) -> None:
        cmag.append(rebuilder(detectors))

    def observe(step: Step) -> None:
        seen = frame_record_of(step, cmag[0])
        if seen is not None:
            reel.add(seen)
            director.see(seen)
            screen.show(seen, director.truth(seen.index), director.script(seen.index), total)

    def hear(alert: Alert) -> None:
        director.hear(alert)
        screen.alert(alert)

    summary, alerts = play_service(config, observe, hear, stopping=lambda: stopping() or director.over, began=began)
    chapters = tuple(director.chapters(reel))
    return DemoResult(
        chapters=chapters,
        acts=tuple(judge_act(chapter, alerts) for chapter in chapters),
        stray=stray_alerts(chapters, alerts),
        alerts=alerts,
        summary=summary,
        reel=reel,
    )


def play_service(
    config: Config,
    observe: Callable[[Step], None],
    hear: Callable[[Alert], None],
    *,
    stopping: Callable[[], bool],
    began: Callable[[Sequence[Detector]], None] = lambda detectors: None,
) -> tuple[Summary, tuple[Alert, ...]]:
    """Run the service to its end with a subscriber beside it; return its summary, and the alerts as they came.

    `observe` gets every step, in the service's thread; `hear` every alert, in another; `began` what judges, before the
    first. Raises what assembling and running a service raise.
    """
    deadlines = Deadlines()
    runtime = assemble(config, deadlines)
    publisher = runtime.publisher
    if publisher is None:
        raise PublishError("the demo needs its alerts published; switch publishing on")
    began(runtime.detection.detectors)
    with ExitStack() as stack:
        stack.callback(publisher.close)  # again, where the service never ran
        listener = stack.enter_context(Listener(publisher.endpoint, hear))
        listener.wait_connected()
        service = Service(runtime, _Silent(), stopping=stopping, deadlines=deadlines, observe=observe)
        summary = service.run()
        listener.close()
    return summary, listener.alerts


class _Silent:
    """A reporter that says nothing: what the demo shows it takes from the frames and from the subscriber."""

    def started(self, card: ModelCard, cameras: Sequence[CameraStatus], endpoint: str | None) -> None: ...

    def alert(self, alert: Alert) -> None: ...

    def progress(self, status: RunStatus) -> None: ...

    def finished(self, summary: Summary) -> None: ...
