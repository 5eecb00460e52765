"""Faces as subjects: found, followed and aligned, each judged and voted on by itself."""

from __future__ import annotations

from dataclasses import replace

from taintwatch.records import moment_of
from taintwatch.subjects.expander import Expansion, SubjectFrame
from taintwatch.subjects.regions import check_picture
from taintwatch.subjects.tracking import BoxTracker
from taintwatch_models.faces.align import alignment_of
from taintwatch_models.faces.finder import Face, FaceFinder
from taintwatch_models.records import Frame, read_only

__all__ = ["FaceExpander"]


class FaceExpander:
    """Expands a frame into its aligned faces, called `face 1`, `face 2`, ... for as long as each is followed."""

    def __init__(self, find: FaceFinder, *, size: int, tracker: BoxTracker | None = None) -> None:
        """`size`: side of the model's input, pixels."""
        self._find = find
        self._size = size
        self._tracker = tracker or BoxTracker()

    def __call__(self, frame: Frame) -> Expansion:
        """Return the faces of a frame, the largest first. Raises `BadFrame`."""
        check_picture(frame)
        tracked = self._tracker(frame.camera, moment_of(frame).in_order_ns, self._find(frame.image))
        faces = tuple(self._aligned(frame, track, face) for track, face in tracked.boxes)
        return Expansion(faces, tuple(_name(track) for track in tracked.ended))

    def forget(self, camera: str) -> None:
        self._tracker.forget(camera)

    def _aligned(self, frame: Frame, track: int, face: Face) -> SubjectFrame:
        alignment = alignment_of(face, self._size)
        aligned = read_only(alignment.warp(frame.image))
        return SubjectFrame(frame, replace(frame, subject=_name(track), image=aligned), alignment)


def _name(track: int) -> str:
    return f"face {track}"
