"""Faces followed from frame to frame by the overlap of their boxes.

At a door there are few faces, large and slow: greedy matching by intersection over union is what is needed, and the
state is small and plain. A face that is not found for a moment (a blink of the cascade) keeps its number.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from taintwatch_models.faces.finder import Face

__all__ = ["FaceTracker", "Tracked", "overlap"]

Box = tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class Tracked:
    """The faces of one frame of one camera."""

    faces: tuple[tuple[int, Face], ...]
    """Track number and face; a number belongs to one face for as long as it is followed, and is never used again."""
    ended: tuple[int, ...]
    """Tracks that are given up with this frame."""


@dataclass(slots=True)
class _Track:
    box: Box
    seen_ns: int
    frames: int = 1


def overlap(first: Box, second: Box) -> float:
    """Return the intersection over the union of two boxes (x, y, width, height), in [0, 1]."""
    left, top = max(first[0], second[0]), max(first[1], second[1])
    right = min(first[0] + first[2], second[0] + second[2])
    bottom = min(first[1] + first[3], second[1] + second[3])
    shared = max(0.0, right - left) * max(0.0, bottom - top)
    union = first[2] * first[3] + second[2] * second[3] - shared
    return shared / union if union > 0 else 0.0


class FaceTracker:
    """Follows the faces of every camera. Used by one thread only.

    `least_overlap`: of a face's box with the one it had when last seen. `patience_s`: a face that is not seen for
    longer is given up. `most`: faces of one frame that are looked at, the largest first.
    """

    def __init__(self, *, least_overlap: float = 0.3, patience_s: float = 1.0, most: int = 8) -> None:
        self._least = least_overlap
        self._patience_ns = round(patience_s * 1e9)
        self._most = most
        self._tracks: dict[str, dict[int, _Track]] = {}
        self._next = 1

    def __call__(self, camera: str, captured_ns: int, faces: Sequence[Face]) -> Tracked:
        """Take in the faces of one frame; `captured_ns` is monotonic, or a position in the film."""
        tracks = self._tracks.setdefault(camera, {})
        ended = self._give_up(tracks, captured_ns)
        faces = sorted(faces, key=lambda face: -face.box[2])[: self._most]
        matched = self._match(tracks, faces)
        found = []
        for index, face in enumerate(faces):
            number = matched.get(index)
            if number is None:
                number, self._next = self._next, self._next + 1
                tracks[number] = _Track(face.box, captured_ns)
            else:
                track = tracks[number]
                track.box, track.seen_ns, track.frames = face.box, captured_ns, track.frames + 1
            found.append((number, face))
        return Tracked(tuple(found), ended)

    def forget(self, camera: str) -> tuple[int, ...]:
        """Give up every face of a camera that is gone; return their numbers."""
        return tuple(self._tracks.pop(camera, {}))

    def _give_up(self, tracks: dict[int, _Track], now_ns: int) -> tuple[int, ...]:
        # Time that runs backwards (a film that starts again) ends everything, too.
        gone = tuple(
            number
            for number, track in tracks.items()
            if now_ns < track.seen_ns or now_ns - track.seen_ns > self._patience_ns
        )
        for number in gone:
            del tracks[number]
        return gone

    def _match(self, tracks: dict[int, _Track], faces: Sequence[Face]) -> dict[int, int]:
        """Return the track of each face that has one, the best overlaps first."""
        pairs = [
            (overlap(face.box, track.box), index, number)
            for index, face in enumerate(faces)
            for number, track in tracks.items()
        ]
        matched: dict[int, int] = {}
        for share, index, number in sorted(pairs, reverse=True):
            if share < self._least:
                break
            if index not in matched and number not in matched.values():
                matched[index] = number
        return matched
