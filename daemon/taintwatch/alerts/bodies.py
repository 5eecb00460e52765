"""What a message may say besides an alert: how a camera is, and that the daemon lives."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from taintwatch.cameras.camera_status import CameraStatus
from taintwatch.records import Alert

__all__ = ["Body", "Heartbeat"]


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
