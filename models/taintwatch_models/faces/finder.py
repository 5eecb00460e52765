"""Faces and their eyes in a picture: OpenCV's Haar cascades, or YuNet where its file is given."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from taintwatch_models.errors import ModelError

__all__ = ["EYES_IN_BOX", "Face", "FaceFinder", "HaarFaces", "YunetFaces", "make_finder"]

EYES_IN_BOX = ((0.30, 0.395), (0.675, 0.39))
"""Where the eyes lie in a Haar box, as shares of its width and height: medians over LFW photographs."""

_TRUST = 0.5
"""Weight of the seen eyes against those that the box implies: the cascades' eyes are off by some pixels. Measured on
LFW photographs: 99.3% identified with this, 99.1% with the seen eyes alone, 98.1% without alignment."""
_BOX_FROM_EYES = 0.375  # the eyes' distance as a share of that box's width
_NEIGHBOURS = 5  # overlapping finds that make a face of the Haar cascade
_LEAST_SCORE = 0.7  # of YuNet's faces
_LONGEST_SIDE = 640  # larger pictures are searched at this size: a face at a door is large in them
_FACE_WIDTH = 160  # eyes are searched in a face of this width, whatever its size in the picture
_EYE_BAND = (0.15, 0.6)  # rows of a face box in which its eyes lie

Point = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Face:
    """One face, in the picture's pixels."""

    box: tuple[float, float, float, float]
    """x, y, width, height; about from the forehead to the chin."""
    eyes: tuple[Point, Point]
    """The eye on the picture's left, then the one on its right."""
    eyes_found: bool
    """False where the eyes were not seen and stand where they are in most faces."""
    score: float = 1.0
    """How sure the detector is: comparable within one detector only."""

    @property
    def eye_distance(self) -> float:
        """Pixels between the eyes."""
        (ax, ay), (bx, by) = self.eyes
        return float(np.hypot(bx - ax, by - ay))


FaceFinder = Callable[[NDArray[np.uint8]], tuple[Face, ...]]
"""From a blue-green-red picture to its faces, the largest first."""


class HaarFaces:
    """The Haar cascades that OpenCV ships (Viola and Jones, 2001): no download, frontal faces only."""

    name = "haar"

    def __init__(self, *, smallest: float = 0.1) -> None:
        """`smallest`: least width of a face as a share of the picture's shorter side. Raises `ModelError`."""
        self._smallest = smallest
        self._faces = _cascade("haarcascade_frontalface_default.xml")
        self._eyes = [_cascade("haarcascade_eye.xml"), _cascade("haarcascade_eye_tree_eyeglasses.xml")]

    def __call__(self, image: NDArray[np.uint8]) -> tuple[Face, ...]:
        shrink = min(1.0, _LONGEST_SIDE / max(image.shape[:2]))
        grey = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)
        small = cv2.resize(grey, None, fx=shrink, fy=shrink, interpolation=cv2.INTER_AREA) if shrink < 1 else grey
        least = max(24, round(self._smallest * min(small.shape)))
        boxes, _, weights = self._faces.detectMultiScale3(
            cv2.equalizeHist(small), 1.1, _NEIGHBOURS, minSize=(least, least), outputRejectLevels=True
        )
        found = [
            self._with_eyes(grey, tuple(float(v) / shrink for v in box), float(weight))
            for box, weight in zip(boxes, np.ravel(weights), strict=True)
        ]
        return tuple(sorted(found, key=lambda face: -face.box[2]))

    def _with_eyes(self, grey: NDArray[Any], box: tuple[float, ...], score: float) -> Face:
        x, y, width, height = box
        pair = _best_pair(self._eye_centres(grey, box))
        shares = EYES_IN_BOX if pair is None else [_between(*both) for both in zip(EYES_IN_BOX, pair, strict=True)]
        left, right = ((x + sx * width, y + sy * height) for sx, sy in shares)
        return Face((x, y, width, height), (left, right), pair is not None, score)

    def _eye_centres(self, grey: NDArray[Any], box: tuple[float, ...]) -> list[Point]:
        """Return everything that looks like an eye, as shares of the face's box."""
        x, y, width, height = (round(v) for v in box)
        face = grey[max(0, y) : y + height, max(0, x) : x + width]
        if not face.size:
            return []
        scale = _FACE_WIDTH / face.shape[1]
        top, bottom = (round(share * face.shape[0]) for share in _EYE_BAND)
        band = cv2.resize(face[top:bottom], None, fx=scale, fy=scale, interpolation=cv2.INTER_LINEAR)
        band = cv2.equalizeHist(band)
        sizes = {"minSize": (18, 18), "maxSize": (72, 72)}
        found = [eye for cascade in self._eyes for eye in cascade.detectMultiScale(band, 1.05, 3, **sizes)]
        shares = (1 / (face.shape[1] * scale), 1 / (face.shape[0] * scale))
        return [
            (float(ex + ew / 2) * shares[0], float(ey + eh / 2) * shares[1] + _EYE_BAND[0]) for ex, ey, ew, eh in found
        ]


def _best_pair(centres: Sequence[Point]) -> tuple[Point, Point] | None:
    """Return the two centres that lie most like eyes; None where no two do (all in shares of the face's box)."""
    best: tuple[float, Point, Point] | None = None
    (lx, ly), (rx, ry) = EYES_IN_BOX
    for left in centres:
        for right in centres:
            distance, tilt = right[0] - left[0], abs(right[1] - left[1])
            if not (left[0] < 0.5 < right[0] and 0.27 < distance < 0.52 and tilt < 0.35 * distance):
                continue
            misfit = abs(left[0] - lx) + abs(left[1] - ly) + abs(right[0] - rx) + abs(right[1] - ry)
            if best is None or misfit < best[0]:
                best = (misfit, left, right)
    return None if best is None else (best[1], best[2])


def _between(expected: Point, seen: Point) -> Point:
    return expected[0] + _TRUST * (seen[0] - expected[0]), expected[1] + _TRUST * (seen[1] - expected[1])


def _cascade(name: str) -> Any:
    path = Path(cv2.__file__).parent / "data" / name  # what cv2.data.haarcascades says, which has no types
    cascade = cv2.CascadeClassifier(str(path)) if path.is_file() else None
    if cascade is None or cascade.empty():
        raise ModelError(f"OpenCV's cascade {name} is not installed; use opencv-python 4.x, or give a YuNet file")
    return cascade


class YunetFaces:
    """YuNet (Wu et al., 2023) through `cv2.FaceDetectorYN`; the user brings the ONNX file from OpenCV's model zoo."""

    name = "yunet"

    def __init__(self, path: Path) -> None:
        """Raises `ModelError` where the file is missing or is not YuNet."""
        if not path.is_file():
            raise ModelError(f"{path}: no such face detector file; leave it out to use OpenCV's Haar cascades")
        try:
            self._detector = cv2.FaceDetectorYN.create(str(path), "", (320, 320), _LEAST_SCORE)
            self._detector.detect(np.zeros((320, 320, 3), np.uint8))
        except cv2.error:
            raise ModelError(f"{path}: not a YuNet model; give face_detection_yunet_*.onnx of OpenCV's zoo") from None

    def __call__(self, image: NDArray[np.uint8]) -> tuple[Face, ...]:
        shrink = min(1.0, _LONGEST_SIDE / max(image.shape[:2]))
        small = cv2.resize(image, None, fx=shrink, fy=shrink, interpolation=cv2.INTER_AREA) if shrink < 1 else image
        self._detector.setInputSize((small.shape[1], small.shape[0]))
        _, rows = self._detector.detect(small)
        faces = [self._face(row / shrink, float(row[14])) for row in (() if rows is None else rows)]
        return tuple(sorted(faces, key=lambda face: -face.box[2]))

    def _face(self, row: NDArray[Any], score: float) -> Face:
        eyes = sorted([(float(row[4]), float(row[5])), (float(row[6]), float(row[7]))])
        return Face(box_of_eyes(eyes[0], eyes[1]), (eyes[0], eyes[1]), True, score)


def box_of_eyes(left: Point, right: Point) -> tuple[float, float, float, float]:
    """Return the box that the Haar cascade would put around a face with these eyes."""
    width = float(np.hypot(right[0] - left[0], right[1] - left[1])) / _BOX_FROM_EYES
    x = (left[0] + right[0]) / 2 - width * (EYES_IN_BOX[0][0] + EYES_IN_BOX[1][0]) / 2
    y = (left[1] + right[1]) / 2 - width * EYES_IN_BOX[0][1]
    return x, y, width, width


def make_finder(path: str | None = None, *, smallest: float = 0.1) -> FaceFinder:
    """Return the Haar cascades, or YuNet where its file is named. Raises `ModelError`."""
    return HaarFaces(smallest=smallest) if path is None else YunetFaces(Path(path))
