"""The seam between a camera's frame and what is classified in it: the whole of it, or crops that show one subject each.

An expander is the one step that knows what a subject is. Behind it classifier, detectors, vote and alerts see frames
with a `subject`, and keep what they remember by `(camera, subject)`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from taintwatch_models.records import Frame, Region

__all__ = ["CropTransform", "Expander", "Expansion", "SubjectFrame", "WholeFrame"]


class CropTransform(Protocol):
    """How a crop lies in the frame that it was cut from."""

    def region_to_picture(self, region: Region, height: int, width: int) -> Region:
        """Return a region of the crop in pixels of the frame of (height, width)."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class SubjectFrame:
    """One subject of one frame, ready to be classified."""

    whole: Frame
    """The camera's frame."""
    frame: Frame
    """What is classified: the crop, with the subject's name; `whole` itself where that is the subject."""
    transform: CropTransform | None = None
    """None: `frame` is `whole`."""

    def to_whole(self, region: Region | None) -> Region | None:
        """Return a region of `frame` in the camera's pixels."""
        if region is None or self.transform is None:
            return region
        height, width = self.whole.image.shape[:2]
        return self.transform.region_to_picture(region, height, width)


@dataclass(frozen=True, slots=True)
class Expansion:
    """What one frame shows."""

    subjects: tuple[SubjectFrame, ...]
    """None where nothing was found: then the frame is not classified."""
    ended: tuple[str, ...] = ()
    """Subjects that are given up with this frame: whoever has left no longer attacks."""


class Expander(Protocol):
    """From a camera's frame to its subjects. May keep a state for each camera; used by one thread only."""

    def __call__(self, frame: Frame) -> Expansion:
        """Return the subjects of a frame. Raises `BadFrame`, and `InferenceError` where a model looks for them."""
        ...

    def forget(self, camera: str) -> None:
        """Drop what is known of a camera that is gone for good. Never raises."""
        ...


class WholeFrame:
    """Each frame is its own subject."""

    def __call__(self, frame: Frame) -> Expansion:
        return Expansion((SubjectFrame(frame, frame),))

    def forget(self, camera: str) -> None:
        """Nothing is known of any camera."""
