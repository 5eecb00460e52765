"""What a message may say besides an alert: how a camera is, and that the daemon lives."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace

from taintwatch.cameras.camera_status import CameraStatus
from taintwatch.records import Alert

__all__ = ["Body", "Heartbeat", "sealed_text"]


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
    records: int = 0
    """Records in the chain of stored alerts; 0 where none is kept."""
    head: str | None = None
    """The chain's last hash (SHA-256, hex): `taintwatch alerts verify --head` looks for it."""
    signature: str | None = None
    """Ed25519, base64, of `sealed_text`; None where nothing is kept."""


def sealed_text(site: str, camera: str, instance: str, heartbeat: Heartbeat) -> str:
    """Return what a heartbeat's signature covers: all of it, who sent it, and of which camera."""
    body = asdict(replace(heartbeat, signature=None))
    return json.dumps(["heartbeat", site, camera, instance, body], sort_keys=True, separators=(",", ":"))


Body = Alert | CameraStatus | Heartbeat
