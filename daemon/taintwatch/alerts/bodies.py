"""What a message may say besides an alert: how a camera is, and that the daemon lives."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from taintwatch.records import Alert

__all__ = ["Body", "CameraState", "CameraStatus", "Heartbeat"]


class CameraState(StrEnum):
    """The state of a camera's source."""

    CONNECTING = "connecting"
    """Being opened for the first time."""
    RUNNING = "running"
    STALE = "stale"
    """Open, but its newest frame is too old."""
    LOST = "lost"
    """Failed; being retried."""
    ENDED = "ended"
    """A file came to its end."""
    STOPPED = "stopped"
    """The daemon is stopping."""


@dataclass(frozen=True, slots=True)
class CameraStatus:
    """How one camera is."""

    camera: str
    state: CameraState
    source: str
    """The source's description, without credentials."""
    frames: int
    """Frames judged so far."""
    dropped: int
    """Frames that a newer one replaced before they were judged."""
    rejected: int
    """Frames that could not be used."""
    fps: float | None = None
    """Frames judged per second of late, where known."""
    frame_age_s: float | None = None
    """Age of the newest frame, in seconds, where there is one."""
    reason: str | None = None
    """One sentence on why it is stale or lost."""
    reconnects: int = 0
    """Times that its source was opened again after it had been open."""


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """The daemon lives, and this is the last that it published on each topic of the camera."""

    interval_s: float
    """Time to the next heartbeat."""
    uptime_s: float
    last_sequences: Mapping[str, int]
    """Topic -> last sequence, heartbeats left out. What a subscriber has not seen of it, it missed."""
    dropped: int
    """Messages dropped since the start because the publisher's queue was full."""
    open_alerts: tuple[str, ...]
    """Event ids of the camera's alerts that are not cleared."""
    replay: str | None = None
    """Endpoint of the socket that answers for missed alerts, where there is one; of tcp ones only the port counts."""


Body = Alert | CameraStatus | Heartbeat
