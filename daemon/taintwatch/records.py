"""What flows after the verdict: `Verdict -> Vote -> Alert`. Scalars, strings, tuples and dicts only: JSON-ready."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from taintwatch_models.records import Region

__all__ = ["Alert", "AlertState", "Vote"]


@dataclass(frozen=True, slots=True)
class Vote:
    """The vote on one subject of one camera, of one detector or of all of them combined, after one frame."""

    camera: str
    frame_index: int
    detector: str
    """A detector's name, or `combined`."""
    raised: bool
    level: float
    """How far the policy is towards raising, in [0, 1]; at 1 it raises (if no cool-down holds it back)."""
    subject: str | None = None
    """What of the camera's picture is voted on; None: the whole of it."""


class AlertState(StrEnum):
    """The life of an alert. `raised` and an end come once each, `updated` any number of times between."""

    RAISED = "raised"
    UPDATED = "updated"
    CLEARED = "cleared"
    INTERRUPTED = "interrupted"
    """In place of `cleared`: the daemon ended without a word while it was open; published at the next start."""


@dataclass(frozen=True, slots=True)
class Alert:
    """One attack on one subject of one camera, at one moment of its life."""

    event_id: str
    """The same from raised to cleared; unique over instances and restarts."""
    state: AlertState
    camera: str
    detectors: tuple[str, ...]
    """The detectors whose vote stands for this alert."""
    raised_wall_ns: int
    """`time.time_ns()` of the frame that raised it."""
    wall_ns: int
    """The same of the frame that this record speaks of."""
    captured_ns: int
    """`time.monotonic_ns()` of that frame's capture."""
    frame_index: int
    raised_frame_index: int
    media_s: float | None
    """Position of that frame in its file or stream, in seconds, where known."""
    suspicious_frames: int
    """Suspicious frames since just before it was raised."""
    label: int
    label_name: str
    """What the classifier says it sees (in a cleared alert: what it said while under attack)."""
    recovered_label: int | None
    recovered_name: str | None
    """What it says after the region is filled, where that differs."""
    confidence: float
    """Softmax probability of `label`, in [0, 1]."""
    score: float
    threshold: float
    """Score and threshold of the first detector in `detectors`, of the most suspicious frame so far."""
    region: Region | None
    """Where, in frame pixels, in that frame."""
    subject: str | None = None
    """What in the camera's picture is attacked: a face, a tracked object, a named region. None: the whole of it."""
