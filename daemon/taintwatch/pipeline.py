"""One direction, one generator: frames are classified, judged, voted on, and may give rise to an alert."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from taintwatch.alerts.incidents import AlertTracker
from taintwatch.records import Alert, Vote
from taintwatch.vote.voter import Voter
from taintwatch_models.classifier import Classifier, Rejected
from taintwatch_models.errors import InferenceError
from taintwatch_models.records import Detector, Frame, Prediction, Verdict

__all__ = ["FrameSupply", "Step", "watch"]


class FrameSupply(Protocol):
    """Where batches of frames come from: a `CameraSet`, or a fake in a test."""

    @property
    def finished(self) -> bool:
        """Whether there will never be another frame."""
        ...

    def next_batch(self, max_batch: int, wait_s: float) -> list[Frame]:
        """Return what is ready, at most `max_batch` frames; empty after `wait_s` seconds without any."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class Step:
    """What became of one frame."""

    frame: Frame
    outcome: Prediction | Rejected
    verdicts: tuple[Verdict, ...] = ()
    votes: tuple[Vote, ...] = ()
    alert: Alert | None = None


def watch(
    cameras: FrameSupply,
    classifier: Classifier,
    detectors: Sequence[Detector],
    voter: Voter,
    tracker: AlertTracker,
    *,
    max_batch: int,
    wait_s: float,
    stopping: Callable[[], bool],
) -> Iterator[tuple[Step, ...]]:
    """Yield the steps of one batch after the other, until the cameras are finished or `stopping()` holds.

    An empty tuple comes after `wait_s` seconds without a frame, so that the caller can do what is due. A batch whose
    inference fails gives rejected steps. Raises what `next_batch` raises.
    """
    while not stopping() and not cameras.finished:
        frames = cameras.next_batch(max_batch, wait_s)
        yield tuple(_judge(outcome, detectors, voter, tracker) for outcome in _classify(classifier, frames))


def _classify(classifier: Classifier, frames: list[Frame]) -> list[Prediction | Rejected]:
    """Return one outcome for each frame, whatever the model does."""
    if not frames:
        return []
    try:
        return classifier(frames)
    except InferenceError as error:
        return [Rejected(frame, str(error)) for frame in frames]


def _judge(outcome: Prediction | Rejected, detectors: Sequence[Detector], voter: Voter, tracker: AlertTracker) -> Step:
    """Judge one classified frame. A rejected one has no vote: it neither raises an alert nor clears one."""
    if isinstance(outcome, Rejected):
        return Step(outcome.frame, outcome)
    verdicts = tuple(detector(outcome) for detector in detectors)
    votes = voter(outcome.frame, verdicts)
    return Step(outcome.frame, outcome, verdicts, votes, tracker(outcome, verdicts, votes))
