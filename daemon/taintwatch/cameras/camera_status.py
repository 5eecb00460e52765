"""What is known of a camera at one moment."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

__all__ = ["CameraState", "CameraStatus"]


class CameraState(StrEnum):
    """Where a camera stands."""

    STARTING = "starting"
    """Not opened yet."""
    RUNNING = "running"
    STALE = "stale"
    """Live and open, but it gave no frame for too long."""
    RETRYING = "retrying"
    """Live and failed; it is being tried again."""
    ENDED = "ended"
    """Its source gave everything it had, or a file failed for good (then `last_error` says why)."""
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True)
class CameraStatus:
    """A camera's state and counters. JSON-ready. Counters run from the start and never fall.

    `captured` = `delivered` + `dropped` + `skipped` + those still waiting to be taken.
    """

    name: str
    description: str
    """Its source, without credentials."""
    state: CameraState
    captured: int
    """Good pictures that the source gave."""
    delivered: int
    """Frames handed over in batches."""
    dropped: int
    """Frames of a live camera that a newer one replaced before they were taken."""
    bad: int
    """Pictures that could not be used."""
    reconnects: int
    """Times that a live source was opened again after it had been open."""
    last_error: str | None
    """The latest failure or bad picture, as one sentence without credentials."""
    last_frame_age_s: float | None
    """Seconds since the last good picture; None before the first."""
    skipped: int = 0
    """Frames left out by the `fps` limit."""
