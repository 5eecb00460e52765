"""Where a person's photographs come from (a folder, a video, a guided camera), and whether each is good enough.

The limits were set on LFW photographs: what is refused here lies outside of nearly all of them.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from taintwatch.sources.source import Grab, Source, grabs_of
from taintwatch_models.errors import BadFrame
from taintwatch_models.faces.align import align
from taintwatch_models.faces.finder import FaceFinder

__all__ = ["STAGES", "QualityLimits", "Usable", "guided", "look_at", "photographs", "same_picture"]


@dataclass(frozen=True, slots=True)
class QualityLimits:
    """What a photograph must keep to."""

    eye_distance: float = 20.0
    """Least distance of the eyes, in the photograph's pixels."""
    sharpness: float = 25.0
    """Least variance of the Laplacian of the aligned face (99% of LFW: above 38; blurred by 2 pixels: below 17)."""
    brightness: tuple[float, float] = (40.0, 215.0)
    """Mean of the aligned face, 0..255."""
    contrast: float = 15.0
    """Least standard deviation of the aligned face, 0..255."""
    second_face: float = 0.5
    """A second face at least so wide as this share of the first is one too many; smaller ones are passers-by."""


@dataclass(frozen=True, slots=True, eq=False)
class Usable:
    """A photograph's aligned face, (size, size, 3) blue-green-red."""

    face: NDArray[np.uint8]


def look_at(image: NDArray[np.uint8], find: FaceFinder, size: int, limits: QualityLimits | None = None) -> Usable | str:
    """Return the photograph's aligned face, or why it cannot be used: a few words."""
    limits = limits or QualityLimits()
    faces = find(image)
    if not faces:
        return "no face"
    first = faces[0]
    if sum(face.box[2] >= limits.second_face * first.box[2] for face in faces) > 1:
        return "several faces"
    if not first.eyes_found:
        return "eyes not found"
    if first.eye_distance < limits.eye_distance:
        return "too small"
    aligned = align(image, first, size)
    return _defect(aligned, limits) or Usable(aligned)


def _defect(aligned: NDArray[np.uint8], limits: QualityLimits) -> str | None:
    grey = cv2.cvtColor(aligned, cv2.COLOR_BGR2GRAY)
    if grey.mean() < limits.brightness[0]:
        return "too dark"
    if grey.mean() > limits.brightness[1]:
        return "too bright"
    if grey.std() < limits.contrast:
        return "too little contrast"
    if cv2.Laplacian(cv2.resize(grey, (112, 112)), cv2.CV_64F).var() < limits.sharpness:
        return "blurred"
    return None


_DIFFERENCE = 5.0


def same_picture(face: NDArray[np.uint8], kept: Sequence[NDArray[np.uint8]]) -> bool:
    """Whether an aligned face is nearly the same picture as one of `kept`.

    Their small grey copies without their means differ by less than 5 of 255 on average. Different photographs of the
    same person in LFW differ by more than 12.
    """
    small = _thumbnail(face)
    return any(float(np.abs(small - _thumbnail(other)).mean()) < _DIFFERENCE for other in kept)


def _thumbnail(face: NDArray[np.uint8]) -> NDArray[np.float32]:
    small = cv2.resize(cv2.cvtColor(face, cv2.COLOR_BGR2GRAY), (32, 32), interpolation=cv2.INTER_AREA)
    return np.asarray(small - small.mean(), np.float32)


STAGES = (
    "Look straight into the camera.",
    "Turn your head a little to the left.",
    "Turn your head a little to the right.",
    "Look straight again, in another light: switch a lamp on, or step towards the window.",
)
_EACH = 8  # usable pictures of a stage: 32 in all
_APART_S = 0.4
_LONGEST_S = 30.0  # of a stage

Picture = NDArray[np.uint8]


def photographs(source: Source) -> Iterator[Picture]:
    """Yield every picture of a source that ends. Raises `SourceError`."""
    source.open()
    try:
        while True:
            try:
                grab = source.read()
            except BadFrame:
                yield np.zeros((1, 1, 3), np.uint8)  # a file that is no picture has no face, and is counted so
                continue
            if grab is None:
                return
            yield grab.image
    finally:
        source.close()


def guided(
    source: Source,
    usable: Callable[[Picture], bool],
    say: Callable[[str], None],
    *,
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[Picture]:
    """Yield usable pictures from a camera, telling the person how to look: `_EACH` for each of the `STAGES`.

    A stage ends after `_LONGEST_S` seconds in any case. Raises `SourceError`.
    """
    source.open()
    try:
        for stage in STAGES:
            say(stage)
            yield from _stage(source, usable, clock)
    finally:
        source.close()


def _stage(source: Source, usable: Callable[[Picture], bool], clock: Callable[[], float]) -> Iterator[Picture]:
    kept = 0
    began = last = None
    for grab in grabs_of(source):
        now = _now(grab, clock)
        began = now if began is None else began
        if now - began > _LONGEST_S:
            return
        if last is None or now - last >= _APART_S:
            last = now
            if usable(grab.image):
                kept += 1
                yield grab.image
                if kept == _EACH:
                    return


def _now(grab: Grab, clock: Callable[[], float]) -> float:
    """Seconds: a video's own time, else the clock's."""
    return clock() if grab.media_s is None else grab.media_s
