"""What runs in one process of the fleet: the daemon's own service for a group of cameras, and how it is."""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from taintwatch.assembly import assemble, make_learner
from taintwatch.cameras.camera_status import CameraStatus
from taintwatch.config.sections import Config
from taintwatch.deadlines import Deadlines
from taintwatch.logs import set_up_logging
from taintwatch.metrics import resident_bytes
from taintwatch.pipeline import Step
from taintwatch.process import allow_descriptors
from taintwatch.records import Alert
from taintwatch.runtime import Runtime
from taintwatch.service import Service
from taintwatch.status import RunStatus, Summary
from taintwatch_models.classifier import ModelCard
from taintwatch_models.errors import TaintwatchError

__all__ = ["GroupService", "GroupState"]

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class GroupState:
    """How a group is. JSON-ready through `asdict`."""

    state: str
    """`loading`, `running`, `ended` or `failed`."""
    reason: str | None = None
    """Why it failed, or what hangs."""
    endpoint: str | None = None
    """Where its alerts are published."""
    provider: str = ""
    frames: int = 0
    fps: float = 0.0
    alerts: int = 0
    open_alerts: int = 0
    stored: int = 0
    """Records in the history since it started here."""
    waiting: int = 0
    """Records that wait for the history."""
    lost: int = 0
    """Records that will never be in the history."""
    undelivered: int = 0
    """Stored records that a broker has not confirmed."""
    resident_bytes: int = 0
    cameras: tuple[dict[str, Any], ...] = ()
    """Each a `CameraStatus`."""


class GroupService:
    """Runs the service in a thread of its own from the start; any thread may ask how it is.

    The methods are what a Ray actor of this class answers.
    """

    def __init__(self, config: Config) -> None:
        self._config = config
        self._stopping = threading.Event()
        self._status: RunStatus | None = None
        self._card: ModelCard | None = None
        self._failure: str | None = None
        self._runtime: Runtime | None = None
        self._deadlines = Deadlines()
        self._thread = threading.Thread(target=self._run, name="service", daemon=True)
        self._thread.start()

    def state(self) -> dict[str, Any]:
        """Return how the group is: a `GroupState` as a dictionary."""
        return asdict(self._state())

    def stop(self, timeout_s: float = 10.0) -> bool:
        """Clear what is open, say the last of each camera and close; return whether that was done in time."""
        self._stopping.set()
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        set_up_logging(as_json=True, level=logging.WARNING)
        allow_descriptors()
        try:
            runtime = self._runtime = assemble(self._config, self._deadlines)
            learner = runtime.learner = make_learner(runtime, self._deadlines)
            Service(
                runtime,
                self,
                stopping=self._stopping.is_set,
                changes=() if learner is None else (learner,),
                deadlines=self._deadlines,
                observe=_nothing if learner is None else learner.see,
            ).run()
        except TaintwatchError as error:
            self._failure = str(error)
        except BaseException as error:
            self._failure = f"{type(error).__name__}: {error}"
            raise

    def _state(self) -> GroupState:
        status, hanging = self._status, ", ".join(each.worker for each in self._deadlines.overdue())
        if self._failure is not None:
            return GroupState("failed", self._failure)
        if status is None or self._runtime is None:
            return GroupState("loading")
        evidence = None if self._runtime.evidence is None else self._runtime.evidence.stats()
        return GroupState(
            state="running" if self._thread.is_alive() else "ended",
            reason=f"hanging: {hanging}" if hanging else status.degraded,
            endpoint=self._runtime.endpoint,
            provider=status.provider,
            frames=status.frames,
            fps=round(status.fps, 2),
            alerts=status.alerts,
            open_alerts=status.open_alerts,
            stored=0 if evidence is None else evidence.saved,
            waiting=0 if evidence is None else evidence.waiting,
            lost=0 if evidence is None else evidence.lost,
            undelivered=0 if evidence is None else sum(each.waiting for each in evidence.deliveries),
            resident_bytes=round(resident_bytes()),
            cameras=tuple(asdict(camera) for camera in status.cameras),
        )

    # A `Reporter`, told by the service's thread.

    def started(self, card: ModelCard, cameras: Sequence[CameraStatus], endpoint: str | None) -> None:
        """Note what runs the model."""
        self._card = card

    def alert(self, alert: Alert) -> None:
        """Nothing: it was published and stored."""

    def progress(self, status: RunStatus) -> None:
        """Note how it stands."""
        self._status = status

    def finished(self, summary: Summary) -> None:
        """Nothing is left to be said."""


def _nothing(step: Step) -> None:
    """Nobody looks at the steps."""
