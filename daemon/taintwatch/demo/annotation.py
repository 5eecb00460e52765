"""One frame as a picture that explains itself: what is there, what the classifier says, what the detectors find."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from taintwatch.demo.frame_record import FrameRecord, ScoreReading

__all__ = [
    "AMBER",
    "GREEN",
    "GREY",
    "INK",
    "PALE",
    "RED",
    "WHITE",
    "GroundTruth",
    "annotate",
    "canvas",
    "dashed_box",
    "text",
    "text_width",
]

WHITE, PALE, GREY, INK = (255, 255, 255), (240, 240, 240), (150, 150, 150), (45, 38, 34)
RED, GREEN, AMBER = (50, 50, 225), (80, 150, 40), (0, 190, 255)

_FONT = cv2.FONT_HERSHEY_DUPLEX


def canvas(height: int, width: int, colour: tuple[int, int, int]) -> NDArray[np.uint8]:
    """Return a plain picture (height, width, 3) uint8."""
    return np.full((height, width, 3), colour, np.uint8)


def text(
    picture: NDArray[np.uint8],
    words: str,
    left: int,
    baseline: int,
    height: float,
    colour: tuple[int, int, int],
    *,
    bold: bool = False,
) -> int:
    """Write `words`, capitals `height` pixels high, in place; return where the next word may begin."""
    plain = words.encode("ascii", "replace").decode()  # OpenCV's letters are ASCII only
    scale = height / 22.0  # Hershey's duplex capitals are 22 units high
    cv2.putText(picture, plain, (left, baseline), _FONT, scale, colour, 2 if bold else 1, cv2.LINE_AA)
    return left + text_width(plain, height)


def text_width(words: str, height: float) -> int:
    """Return the width in pixels of `words` as `text` writes them."""
    (width, _), _ = cv2.getTextSize(words, _FONT, height / 22.0, 1)
    return int(width)


def dashed_box(
    picture: NDArray[np.uint8], box: tuple[int, int, int, int], colour: tuple[int, int, int], thickness: int
) -> None:
    """Draw the outline of (x, y, width, height) in dashes, in place."""
    x, y, width, height = box
    corners = [(x, y), (x + width, y), (x + width, y + height), (x, y + height)]
    for start, end in zip(corners, (*corners[1:], corners[0]), strict=True):
        length = max(abs(end[0] - start[0]), abs(end[1] - start[1]))
        count = max(1, length // 12)
        for dash in range(0, 2 * count, 2):
            ends = [
                tuple(round(a + (b - a) * part / (2 * count)) for a, b in zip(start, end, strict=True))
                for part in (dash, dash + 1)
            ]
            cv2.line(picture, ends[0], ends[1], colour, thickness, cv2.LINE_AA)


FOOTER = 132  # pixels under a frame of 480
COLUMN = 176  # pixels beside a frame of 640, where CMAG is at work
_TILE = 144
WORDS = {"combined": "combined: decides", "tight": "tight: only shown", "paper": "paper: only shown"}


@dataclass(frozen=True, slots=True)
class GroundTruth:
    """What is really there."""

    sign_name: str
    sign: int
    attacked: bool
    box: tuple[int, int, int, int] | None
    """Of the patch, in frame pixels, where it is known."""


def annotate(seen: FrameRecord, truth: GroundTruth) -> NDArray[np.uint8]:
    """Return the frame with the regions drawn in and the facts under it: (height + footer, width, 3) uint8.

    Where CMAG is at work, a column to the right shows what the classifier was given and what it believes it sees.
    """
    image = seen.image()
    width = image.shape[1]
    unit = width / 640
    _regions(image, seen, truth, unit)
    _badge(image, seen, unit)
    footer = canvas(round(FOOTER * unit), width, INK)
    _facts(footer, seen, truth, unit)
    for row, (name, reading) in enumerate(list(seen.readings.items())[:2]):
        _meter(footer, WORDS.get(name, name), reading, row, unit)
    whole = np.vstack([image, footer])
    if seen.given is None or seen.rebuilt is None:
        return whole
    column = canvas(len(whole), round(COLUMN * unit), INK)
    verdict = seen.readings.get("cmag")
    _tile(column, "the classifier sees", seen.given, 0, GREY, unit)
    _tile(column, "and believes it sees", seen.rebuilt, 1, RED if verdict and verdict.suspicious else GREEN, unit)
    if verdict is not None:
        _judged(column, verdict, unit)
    return np.hstack([whole, column])


def _tile(
    column: NDArray[np.uint8],
    words: str,
    picture: NDArray[np.uint8],
    row: int,
    colour: tuple[int, int, int],
    unit: float,
) -> None:
    """Draw a small picture, enlarged without smoothing, with words above it and a frame around it."""
    side, left, top = round(_TILE * unit), round((COLUMN - _TILE) / 2 * unit), round((44 + 190 * row) * unit)
    text(column, words, left, top - round(10 * unit), 9.5 * unit, WHITE)
    column[top : top + side, left : left + side] = cv2.resize(picture, (side, side), interpolation=cv2.INTER_NEAREST)
    cv2.rectangle(column, (left - 2, top - 2), (left + side + 1, top + side + 1), colour, max(1, round(2 * unit)))


def _judged(column: NDArray[np.uint8], verdict: ScoreReading, unit: float) -> None:
    left, top = round((COLUMN - _TILE) / 2 * unit), round(412 * unit)
    words = "cmag: suspicious" if verdict.suspicious else "cmag: not suspicious"
    text(column, words, left, top, 8.5 * unit, (110, 110, 255) if verdict.suspicious else (120, 215, 130))
    sign = ">" if verdict.suspicious else "<="
    text(column, f"{verdict.score:.3g} {sign} {verdict.threshold:.3g}", left, top + round(24 * unit), 9.5 * unit, GREY)
    text(column, "(only shown)", left, top + round(48 * unit), 9.5 * unit, GREY)


def _regions(image: NDArray[np.uint8], seen: FrameRecord, truth: GroundTruth, unit: float) -> None:
    thickness = max(1, round(2 * unit))
    if seen.region is not None:
        polygons = [np.array(polygon, np.int32).reshape(-1, 1, 2) for polygon in seen.region.polygons]
        cv2.polylines(image, polygons, True, WHITE, thickness + 3, cv2.LINE_AA)
        cv2.polylines(image, polygons, True, RED, thickness + 1, cv2.LINE_AA)
        x, y = seen.region.box[0], seen.region.box[1] + seen.region.box[3]
        _tag(image, "critical region", x, y + round(22 * unit), RED, unit)
    if truth.box is not None:
        dashed_box(image, truth.box, AMBER, thickness)
        _tag(image, "the patch", truth.box[0], truth.box[1] - round(6 * unit), AMBER, unit, INK)


def _tag(
    image: NDArray[np.uint8],
    words: str,
    left: int,
    baseline: int,
    colour: tuple[int, int, int],
    unit: float,
    ink: tuple[int, int, int] = WHITE,
) -> None:
    height = 10 * unit
    wide, tall = text_width(words, height) + round(10 * unit), round(20 * unit)
    left = min(max(0, left), image.shape[1] - wide)
    baseline = min(max(tall, baseline), image.shape[0] - 4)
    cv2.rectangle(image, (left, baseline - round(15 * unit)), (left + wide, baseline + round(5 * unit)), colour, -1)
    text(image, words, left + round(5 * unit), baseline, height, ink)


def _badge(image: NDArray[np.uint8], seen: FrameRecord, unit: float) -> None:
    words, colour = ("ALERT", RED) if seen.raised else ("no alert", GREEN)
    height = 15 * unit
    wide, tall = text_width(words, height) + round(24 * unit), round(34 * unit)
    left = image.shape[1] - wide
    cv2.rectangle(image, (left, 0), (image.shape[1], tall), colour, cv2.FILLED)
    text(image, words, left + round(12 * unit), round(25 * unit), height, WHITE)


def _facts(footer: NDArray[np.uint8], seen: FrameRecord, truth: GroundTruth, unit: float) -> None:
    right = seen.label == truth.sign
    left, height = round(14 * unit), 12 * unit
    column = round(118 * unit)
    text(footer, "really", left, round(25 * unit), height, GREY)
    there = f"{truth.sign_name}, with the patch" if truth.attacked else truth.sign_name
    text(footer, there, column, round(25 * unit), height, WHITE)
    text(footer, "classified", left, round(52 * unit), height, GREY)
    said = f"{seen.label_name} ({seen.confidence:.0%})"
    end = text(footer, said, column, round(52 * unit), height, (120, 215, 130) if right else (110, 110, 255))
    if not right and seen.recovered_name is not None:
        text(footer, f"; region filled: {seen.recovered_name}", end, round(52 * unit), height, GREY)


def _meter(footer: NDArray[np.uint8], words: str, reading: ScoreReading, row: int, unit: float) -> None:
    """Draw a score as a bar against its threshold, which is always at two thirds of the bar's room."""
    middle = round((80 + 30 * row) * unit)
    text(footer, words, round(14 * unit), middle + round(5 * unit), 10 * unit, GREY)
    start, room = round(158 * unit), round(300 * unit)
    share = reading.share
    half = round(7 * unit)
    cv2.rectangle(footer, (start, middle - half), (start + room, middle + half), (78, 70, 66), cv2.FILLED)
    colour = RED if reading.suspicious else GREEN
    cv2.rectangle(footer, (start, middle - half), (start + round(share * room), middle + half), colour, cv2.FILLED)
    tick = start + round(room / 1.5)
    cv2.line(footer, (tick, middle - half - 3), (tick, middle + half + 3), WHITE, max(1, round(2 * unit)))
    sign = ">" if reading.suspicious else "<="
    numbers = f"{reading.score:.3g} {sign} {reading.threshold:.3g}"
    text(footer, numbers, start + room + round(12 * unit), middle + round(5 * unit), 10 * unit, WHITE)
