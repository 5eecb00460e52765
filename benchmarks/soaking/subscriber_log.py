"""A subscriber that is there from the first moment to the last and remembers what it got."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from taintwatch.alerts.bodies import Heartbeat
from taintwatch.alerts.gaps import Missed, Restarted
from taintwatch.alerts.messages import Message
from taintwatch.alerts.subscriber import Event, Malformed, Subscriber
from taintwatch.alerts.topics import ROOT
from taintwatch.cameras.camera_status import CameraState, CameraStatus
from taintwatch.records import Alert

__all__ = ["AlertKey", "SubscriberLog"]

AlertKey = tuple[str, str, int]
"""Event, state and frame: what tells one alert record from another."""

STEP_S = 0.1


@dataclass(slots=True)
class _Memory:
    statuses: dict[str, CameraStatus] = field(default_factory=dict)
    alerts: dict[AlertKey, Alert] = field(default_factory=dict)
    missed: dict[str, int] = field(default_factory=dict)
    malformed: int = 0
    heartbeats: int = 0
    heartbeat: Message | None = None
    heard_s: float = 0.0
    longest_silence_s: float = 0.0


class SubscriberLog:
    """Receives in a thread of its own. A context manager."""

    def __init__(self, endpoint: str) -> None:
        self._subscriber = Subscriber(endpoint, (ROOT,))
        self._changed = threading.Condition()
        self._memory = _Memory(heard_s=time.monotonic())
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="subscriber", daemon=True)

    def __enter__(self) -> SubscriberLog:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()
        self._subscriber.close()

    def wait(self, holds: Callable[[SubscriberLog], bool], timeout_s: float) -> float | None:
        """Return the seconds until `holds` does; None where it does not within `timeout_s`."""
        start = time.monotonic()
        with self._changed:
            return time.monotonic() - start if self._changed.wait_for(lambda: holds(self), timeout_s) else None

    def running(self, camera: str) -> bool:
        """Whether the camera's last status says so."""
        status = self._memory.statuses.get(camera)
        return status is not None and status.state is CameraState.RUNNING

    def frames(self, camera: str) -> int:
        """Return the frames that were judged, by the last status."""
        status = self._memory.statuses.get(camera)
        return 0 if status is None else status.frames

    def rejected(self, camera: str) -> int:
        """Return the frames that could not be used, by the last status."""
        status = self._memory.statuses.get(camera)
        return 0 if status is None else status.rejected

    def status(self, camera: str) -> CameraStatus | None:
        """Return the camera's last status."""
        return self._memory.statuses.get(camera)

    @property
    def alerts(self) -> dict[AlertKey, Alert]:
        """Every alert record that came."""
        return self._memory.alerts

    @property
    def missed(self) -> dict[str, int]:
        """Topic -> messages that were published but never came."""
        return self._memory.missed

    @property
    def malformed(self) -> int:
        """Messages that were none."""
        return self._memory.malformed

    @property
    def heartbeats(self) -> int:
        return self._memory.heartbeats

    @property
    def heartbeat(self) -> Message | None:
        """The last heartbeat."""
        return self._memory.heartbeat

    @property
    def longest_silence_s(self) -> float:
        """The longest that nothing came at all, since it was last forgotten."""
        return self._memory.longest_silence_s

    def forget_silence(self) -> None:
        """Measure the silence anew: the daemon was down."""
        with self._changed:
            self._memory.longest_silence_s, self._memory.heard_s = 0.0, time.monotonic()

    def _run(self) -> None:
        while not self._ended.is_set():
            event = self._subscriber.receive(STEP_S)
            with self._changed:
                if event is not None:
                    self._note(event)
                self._changed.notify_all()

    def _note(self, event: Event) -> None:
        memory, now = self._memory, time.monotonic()
        memory.longest_silence_s = max(memory.longest_silence_s, now - memory.heard_s)
        memory.heard_s = now
        if isinstance(event, Missed):
            memory.missed[event.topic] = memory.missed.get(event.topic, 0) + event.count
        elif isinstance(event, Restarted):
            memory.statuses.clear()  # they were the old daemon's
        elif isinstance(event, Malformed):
            memory.malformed += 1
        elif isinstance(event, Message):
            self._note_message(event)

    def _note_message(self, message: Message) -> None:
        memory, body = self._memory, message.body
        if isinstance(body, CameraStatus):
            memory.statuses[body.camera] = body
        elif isinstance(body, Heartbeat):
            memory.heartbeats += 1
            memory.heartbeat = message
        else:
            memory.alerts[body.event_id, body.state.value, body.frame_index] = body
