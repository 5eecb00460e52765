"""The time between two frames as the scene saw it: media time where both know it, else the time of capture."""

from __future__ import annotations

from dataclasses import dataclass

from taintwatch_models.records import Frame

__all__ = ["Moment", "elapsed_ns", "moment_of"]


@dataclass(frozen=True, slots=True)
class Moment:
    """When a frame was taken."""

    captured_ns: int
    media_s: float | None


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
