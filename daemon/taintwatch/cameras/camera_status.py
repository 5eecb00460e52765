"""What is known of a camera at one moment. The camera fills it in, the meter adds what was judged."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

__all__ = ["CameraState", "CameraStatus"]


class CameraState(StrEnum):
    """Where a camera stands."""

    CONNECTING = "connecting"
    """Being opened for the first time."""
    RUNNING = "running"
    STALE = "stale"
    """Live and open, but it gave no frame for too long."""
    LOST = "lost"
    """Live and failed; it is being tried again."""
    ENDED = "ended"
    """Its source gave everything it had, or a file failed for good (then `reason` says why)."""
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True)
class CameraStatus:
    """A camera's state and counters. JSON-ready. Counters run from the start and never fall.

    `captured` = `delivered` + `dropped` + `skipped` + those still waiting to be taken.
    """

    camera: str
    state: CameraState
    source: str
    """Its source's description, without credentials."""
    frames: int = 0
    """Frames judged so far."""
    dropped: int = 0
    """Frames of a live camera that a newer one replaced before they were judged."""
    rejected: int = 0
    """Pictures that could not be used, and frames that the model gave no usable answer for."""
    fps: float | None = None
    """Frames judged per second of late, where known."""
    frame_age_s: float | None = None
    """Age of the newest good picture, in seconds; None before the first."""
    reason: str | None = None
    """The latest failure or bad picture, as one sentence without credentials."""
    reconnects: int = 0
    """Times that its source was opened again after it had been open."""
    captured: int = 0
    """Good pictures that the source gave."""
    delivered: int = 0
    """Frames handed over in batches."""
    skipped: int = 0
    """Frames left out by the `fps` limit."""
    bad: int = 0
    """Pictures that could not be used."""
    arming: str | None = None
    """`learning`, `arming`, `armed`, `drifting` or `refitting`; None where nothing is learnt before it."""
    learnt_share: float | None = None
    """Share of the frames to learn from that are taken, in [0, 1]."""
