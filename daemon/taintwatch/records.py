"""What flows after the verdict: `Verdict -> Vote -> Alert`, and the time between frames that votes and alerts count.

Scalars, strings, tuples and dicts only: JSON-ready.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from taintwatch_models.records import Frame, Region

__all__ = ["Alert", "AlertState", "Moment", "Vote", "elapsed_ns", "moment_of"]


@dataclass(frozen=True, slots=True)
class Moment:
    """When a frame was taken."""

    captured_ns: int
    media_s: float | None

    @property
    def in_order_ns(self) -> int:
        """Nanoseconds by which the frames of one source are ordered: its position in the video, else its capture."""
        return self.captured_ns if self.media_s is None else round(self.media_s * 1e9)


def moment_of(frame: Frame) -> Moment:
    """Return when `frame` was taken."""
    return Moment(frame.captured_ns, frame.media_s)


def elapsed_ns(earlier: Moment, later: Moment) -> int:
    """Return the nanoseconds from one frame to the next; negative where a file was rewound or a stream started anew.

    Media time where both frames know it: a file decides the same whether it is read at ten times its speed or at a
    tenth, and a stream that was stuck in a buffer is not taken for an instant. Else the monotonic time of capture.
    """
    if earlier.media_s is not None and later.media_s is not None:
        # Whole numbers: sums of them are the same whatever the order, and limits are met at the frame that meets them.
        return round(later.media_s * 1e9) - round(earlier.media_s * 1e9)
    return later.captured_ns - earlier.captured_ns


@dataclass(frozen=True, slots=True)
class Vote:
    """The vote on one subject of one camera, of one detector or of all of them combined, after one frame."""

    camera: str
    frame_index: int
    detector: str
    """A detector's name, or `overall`."""
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

    @property
    def is_end(self) -> bool:
        """Whether nothing more comes of the alert."""
        return self in (AlertState.CLEARED, AlertState.INTERRUPTED)


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
