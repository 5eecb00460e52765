"""What the demo remembers of each frame: enough for the table, the pictures and the verdict on the whole."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from taintwatch.evidence.media import decode_jpeg, encode_jpeg
from taintwatch.pipeline import Step
from taintwatch.vote.voter import OVERALL
from taintwatch_models.cmag.detector import CmagDetector
from taintwatch_models.records import Detector, Prediction, Region

__all__ = ["FrameHistory", "FrameRecord", "ScoreReading", "frame_record_of", "rebuilder"]

LONGEST = 3000  # frames whose pictures are kept: some 150 MB, three minutes of a webcam


@dataclass(frozen=True, slots=True)
class ScoreReading:
    """One detector's view of a frame."""

    score: float
    threshold: float
    suspicious: bool

    @property
    def share(self) -> float:
        """How much of a bar the score fills, 0 to 1; the threshold is at two thirds.

        A threshold of 0 is CMAG's, whose score is in benign spreads: two below it fill nothing.
        """
        share = (self.score + 2) / 3 if self.threshold == 0 else self.score / (1.5 * abs(self.threshold))
        return min(1.0, max(0.0, share))


@dataclass(frozen=True, slots=True, eq=False)
class FrameRecord:
    """One frame as the daemon judged it."""

    index: int
    label: int
    label_name: str
    confidence: float
    readings: dict[str, ScoreReading]
    """By the detector's name."""
    level: float
    raised: bool
    """The combined vote: how far it is towards an alert, and whether there is one."""
    region: Region | None
    recovered_name: str | None
    jpeg: bytes
    """The frame itself."""
    given: NDArray[np.uint8] | None = None
    rebuilt: NDArray[np.uint8] | None = None
    """What the classifier was given, and what CMAG rebuilt from its answer, (side, side, 3) blue-green-red; None
    without CMAG."""

    def image(self) -> NDArray[np.uint8]:
        """Return the frame: (height, width, 3) uint8 blue-green-red."""
        return decode_jpeg(self.jpeg)


class FrameHistory:
    """The frames seen, by number; the oldest go when there are too many."""

    def __init__(self) -> None:
        self._seen: dict[int, FrameRecord] = {}
        self.last: FrameRecord | None = None

    def add(self, seen: FrameRecord) -> None:
        """Keep one more."""
        self._seen[seen.index] = self.last = seen
        if len(self._seen) > LONGEST:
            del self._seen[next(iter(self._seen))]

    def __len__(self) -> int:
        return len(self._seen)

    def all(self) -> list[FrameRecord]:
        """Return them, oldest first."""
        return list(self._seen.values())

    def nearest(self, index: int) -> FrameRecord:
        """Return the frame with this number, or the one that was seen nearest to it (live frames may be dropped)."""
        return self._seen.get(index) or min(self._seen.values(), key=lambda seen: abs(seen.index - index))


def rebuilder(detectors: Sequence[Detector]) -> CmagDetector | None:
    """Return the detector that shows what the classifier believes it sees; None where none is at work."""
    return next((detector for detector in detectors if isinstance(detector, CmagDetector)), None)


def frame_record_of(step: Step, cmag: CmagDetector | None = None) -> FrameRecord | None:
    """Return what is remembered of one step; None where the frame could not be classified."""
    if not isinstance(step.outcome, Prediction):
        return None
    combined = next((vote for vote in step.votes if vote.detector == OVERALL), None)
    voted = {vote.detector for vote in step.votes}  # the others are only looked at
    told = next((verdict for verdict in step.verdicts if verdict.suspicious and verdict.detector in voted), None)
    return FrameRecord(
        index=step.frame.index,
        label=step.outcome.label,
        label_name=step.outcome.label_name,
        confidence=step.outcome.confidence,
        readings={
            verdict.detector: ScoreReading(verdict.score, verdict.threshold, verdict.suspicious)
            for verdict in step.verdicts
        },
        level=0.0 if combined is None else combined.level,
        raised=combined is not None and combined.raised,
        region=None if told is None else told.region,
        recovered_name=None if told is None else told.recovered_name,
        jpeg=encode_jpeg(step.frame.image),
        given=None if cmag is None else cmag.given(step.outcome),
        rebuilt=None if cmag is None else cmag.reconstruct(step.outcome),
    )
