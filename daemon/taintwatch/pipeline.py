"""One direction, one generator: what a frame shows is classified, judged, voted on, and may give rise to an alert."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from taintwatch.alerts.incidents import AlertTracker
from taintwatch.records import Alert, Vote
from taintwatch.review.reviewer import Reviewer
from taintwatch.subjects.expander import Expander, Expansion, SubjectFrame, WholeFrame
from taintwatch.vote.voter import Voter
from taintwatch_models.classifier import Classifier, Rejected
from taintwatch_models.errors import BadFrame, InferenceError
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
    """What became of one subject of one frame."""

    frame: Frame
    """The camera's."""
    outcome: Prediction | Rejected | None
    """None: there was nothing to classify, or the subject has left."""
    verdicts: tuple[Verdict, ...] = ()
    """Their regions are in pixels of `frame`."""
    votes: tuple[Vote, ...] = ()
    alert: Alert | None = None
    subject_frame: SubjectFrame | None = None
    """What was classified of the frame."""
    first: bool = True
    """Whether it is the first step of its frame: one frame may give several, and counts once."""


def watch(
    cameras: FrameSupply,
    classifier: Classifier,
    detectors: Sequence[Detector],
    voter: Voter,
    tracker: AlertTracker,
    expander: Expander | None = None,
    reviewer: Reviewer | None = None,
    *,
    max_batch: int,
    wait_s: float,
    stopping: Callable[[], bool],
) -> Iterator[tuple[Step, ...]]:
    """Yield the steps of one batch of frames after the other, until the cameras are finished or `stopping()` holds.

    `expander` says what in a frame is judged by itself; None: the whole of it. Each subject gives one step, and so does
    a frame without any. An empty tuple comes after `wait_s` seconds without a frame, so that the caller can do what is
    due. `reviewer` says which verdicts a person dismissed. A batch whose inference fails gives rejected steps. Raises
    what `next_batch` raises.
    """
    expander = expander or WholeFrame()
    judge = _Judge(detectors, voter, tracker, reviewer)
    while not stopping() and not cameras.finished:
        expanded = [(frame, _expand(expander, frame)) for frame in cameras.next_batch(max_batch, wait_s)]
        seen = [subject for _, found in expanded if isinstance(found, Expansion) for subject in found.subjects]
        outcomes = iter(_classify(classifier, [subject.frame for subject in seen], max_batch))
        yield tuple(step for frame, found in expanded for step in _numbered(judge(frame, found, outcomes)))


def _expand(expander: Expander, frame: Frame) -> Expansion | Rejected:
    try:
        return expander(frame)
    except (BadFrame, InferenceError) as error:
        return Rejected(frame, str(error))


def _classify(classifier: Classifier, frames: list[Frame], max_batch: int) -> list[Prediction | Rejected]:
    """Return one outcome for each frame, whatever the model does."""
    outcomes: list[Prediction | Rejected] = []
    for start in range(0, len(frames), max_batch):
        batch = frames[start : start + max_batch]
        try:
            outcomes += classifier(batch)
        except InferenceError as error:
            outcomes += [Rejected(frame, str(error)) for frame in batch]
    return outcomes


def _numbered(steps: list[Step]) -> list[Step]:
    return [step if index == 0 else replace(step, first=False) for index, step in enumerate(steps)]


@dataclass(frozen=True, slots=True)
class _Judge:
    """Judges what was classified. A rejected outcome has no vote: it neither raises an alert nor clears one."""

    detectors: Sequence[Detector]
    voter: Voter
    tracker: AlertTracker
    reviewer: Reviewer | None = None

    def __call__(
        self, frame: Frame, found: Expansion | Rejected, outcomes: Iterator[Prediction | Rejected]
    ) -> list[Step]:
        """Return the steps of one frame, at least one; takes an outcome for each of its subjects."""
        if isinstance(found, Rejected):
            return [Step(frame, found)]
        steps = [self._end(frame, subject) for subject in found.ended]
        steps += [self._judge(subject, next(outcomes)) for subject in found.subjects]
        return [step for step in steps if step is not None] or [Step(frame, None)]

    def _end(self, frame: Frame, subject: str) -> Step | None:
        """Clear the alert of a subject that has left."""
        alert = self.tracker.close_subject(frame.camera, subject)
        self.voter.forget_subject(frame.camera, subject)
        return None if alert is None else Step(frame, None, alert=alert)

    def _judge(self, subject: SubjectFrame, outcome: Prediction | Rejected) -> Step:
        if isinstance(outcome, Rejected):
            return Step(subject.whole, outcome, subject_frame=subject)
        verdicts = tuple(_in_whole(detector(outcome), subject) for detector in self.detectors)
        if self.reviewer is not None:
            alert_open = self.tracker.is_open(outcome.frame.camera, outcome.frame.subject)
            verdicts = self.reviewer(subject.whole, verdicts, alert_open=alert_open)
        votes = self.voter(outcome.frame, verdicts)
        return Step(subject.whole, outcome, verdicts, votes, self.tracker(outcome, verdicts, votes), subject)


def _in_whole(verdict: Verdict, subject: SubjectFrame) -> Verdict:
    if subject.transform is None or verdict.region is None:
        return verdict
    return replace(verdict, region=subject.to_whole(verdict.region))
