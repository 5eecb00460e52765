"""The pipeline of a face camera: faces are found, followed and aligned, then classified, judged and voted on each.

It stands in the place of `taintwatch.pipeline.watch`: the same arguments, the same steps. One frame may give several
steps, one for each face; a frame without a face gives one that says so.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from taintwatch.alerts.incidents import AlertTracker
from taintwatch.faces.tracking import FaceTracker
from taintwatch.pipeline import FrameSupply, Step
from taintwatch.records import Alert, Vote
from taintwatch.vote.clock import moment_of
from taintwatch.vote.voter import Voter
from taintwatch_models.classifier import Classifier, Rejected
from taintwatch_models.errors import BadFrame, InferenceError
from taintwatch_models.faces.align import Alignment, alignment_of
from taintwatch_models.faces.detect import FaceDetector
from taintwatch_models.faces.detector import STRANGER
from taintwatch_models.records import Detector, Frame, Prediction, Verdict, read_only

__all__ = ["NOBODY", "FaceBook", "FaceVoter", "FaceWatch", "camera_of", "subject_of"]

NOBODY = "nobody"
"""The label of a frame without a face."""

_SEPARATOR = "#"  # cannot stand in a camera's name


def subject_of(camera: str, track: int) -> str:
    """Return the name under which one face of a camera is voted on."""
    return f"{camera}{_SEPARATOR}{track}"


def camera_of(subject: str) -> str:
    """Return the camera that a face was seen by."""
    return subject.partition(_SEPARATOR)[0]


class FaceVoter(Voter):
    """Votes on each face; what happens to a camera happens to all of its faces."""

    def gap(self, camera: str) -> None:
        for subject in self._subjects(camera):
            super().gap(subject)

    def forget(self, camera: str) -> None:
        for subject in self._subjects(camera):
            super().forget(subject)

    def _subjects(self, camera: str) -> tuple[str, ...]:
        return tuple(name for name in self._cameras if camera in (name, camera_of(name)))


class FaceBook(AlertTracker):
    """Holds at most one open alert for each face. Its alerts name the camera."""

    def __call__(self, prediction: Prediction, verdicts: Sequence[Verdict], votes: Sequence[Vote]) -> Alert | None:
        return _of_camera(super().__call__(prediction, verdicts, votes))

    def open_alerts(self) -> tuple[Alert, ...]:
        return tuple(replace(alert, camera=camera_of(alert.camera)) for alert in super().open_alerts())

    def close(self, camera: str) -> Alert | None:
        """End what is known of one face, or of one face after the other of a camera: None once nothing is open."""
        for subject in tuple(self._incidents):
            if camera in (subject, camera_of(subject)):
                alert = super().close(subject)
                if alert is not None:
                    return _of_camera(alert)
        return None


def _of_camera(alert: Alert | None) -> Alert | None:
    return None if alert is None else replace(alert, camera=camera_of(alert.camera))


@dataclass(frozen=True, slots=True, eq=False)
class _Seen:
    """One face of one frame, before it is classified."""

    frame: Frame
    """The camera's."""
    face: Frame
    """The aligned face, its camera the subject's name."""
    alignment: Alignment


class FaceWatch:
    """What is needed to watch faces. Used by one thread only."""

    def __init__(
        self,
        find: FaceDetector,
        *,
        people: int,
        stranger_below: float,
        size: int,
        tracker: FaceTracker | None = None,
    ) -> None:
        """`people`: how many are enrolled. `size`: side of the model's input, pixels."""
        self._find = find
        self._people = people
        self._stranger_below = stranger_below
        self._size = size
        self._tracker = tracker or FaceTracker()

    def __call__(
        self,
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
        """Yield the steps of one batch of frames after the other: see `taintwatch.pipeline.watch`."""
        while not stopping() and not cameras.finished:
            steps: list[Step] = []
            for frame in cameras.next_batch(max_batch, wait_s):
                steps += self._watch_frame(frame, classifier, detectors, voter, tracker)
            yield tuple(steps)

    def _watch_frame(
        self, frame: Frame, classifier: Classifier, detectors: Sequence[Detector], voter: Voter, tracker: AlertTracker
    ) -> list[Step]:
        try:
            seen, ended = self._look(frame)
        except BadFrame as error:
            return [Step(frame, Rejected(frame, str(error)))]
        steps = []
        for track in ended:  # whoever has left is no longer attacking
            subject = subject_of(frame.camera, track)
            alert = tracker.close(subject)
            voter.forget(subject)
            if alert is not None:
                steps.append(Step(frame, self._nobody(frame), alert=alert))
        for each, outcome in zip(seen, _classify(classifier, seen), strict=True):
            steps.append(self._judge(each, outcome, detectors, voter, tracker))
        return steps or [Step(frame, self._nobody(frame))]

    def _look(self, frame: Frame) -> tuple[list[_Seen], tuple[int, ...]]:
        """Find, follow and align the faces of a frame. Raises `BadFrame`."""
        image = frame.image
        if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or not image.size:
            raise BadFrame(f"a frame must be (height, width, 3) uint8, this one is {image.shape} {image.dtype}")
        moment = moment_of(frame)
        now_ns = moment.captured_ns if moment.media_s is None else round(moment.media_s * 1e9)
        tracked = self._tracker(frame.camera, now_ns, self._find(image))
        seen = []
        for track, face in tracked.faces:
            alignment = alignment_of(face, self._size)
            aligned = read_only(alignment.warp(image, self._size))
            face_frame = replace(frame, camera=subject_of(frame.camera, track), image=aligned)
            seen.append(_Seen(frame, face_frame, alignment))
        return seen, tracked.ended

    def _judge(
        self,
        seen: _Seen,
        outcome: Prediction | Rejected,
        detectors: Sequence[Detector],
        voter: Voter,
        tracker: AlertTracker,
    ) -> Step:
        if isinstance(outcome, Rejected):
            return Step(seen.frame, Rejected(seen.frame, outcome.reason))
        outcome = self._named(outcome)
        verdicts = tuple(self._verdict(detector, outcome, seen) for detector in detectors)
        votes = voter(seen.face, verdicts)
        alert = tracker(outcome, verdicts, votes)
        shown = replace(outcome, frame=seen.frame, evidence=None, features=None, pixels=None)
        camera = seen.frame.camera
        return Step(
            seen.frame,
            shown,
            tuple(replace(verdict, camera=camera) for verdict in verdicts),
            tuple(replace(vote, camera=camera) for vote in votes),
            alert,
        )

    def _verdict(self, detector: Detector, outcome: Prediction, seen: _Seen) -> Verdict:
        """Judge the face; the region in the camera's pixels. A stranger is not suspicious: nobody is let in by it."""
        verdict = detector(outcome)
        height, width = seen.frame.image.shape[:2]
        region = verdict.region
        if region is not None:
            region = seen.alignment.region_to_picture(region, height, width, self._size)
        suspicious = verdict.suspicious and outcome.label_name != STRANGER
        return replace(verdict, region=region, suspicious=suspicious, label_name=outcome.label_name)

    def _named(self, outcome: Prediction) -> Prediction:
        if outcome.confidence >= self._stranger_below:
            return outcome
        return replace(outcome, label_name=STRANGER)

    def _nobody(self, frame: Frame) -> Prediction:
        return Prediction(frame, read_only(np.zeros(self._people, np.float32)), self._people, NOBODY, 1.0, 0.0)


def _classify(classifier: Classifier, seen: Sequence[_Seen]) -> list[Prediction | Rejected]:
    """Return one outcome for each face, whatever the model does."""
    if not seen:
        return []
    try:
        return classifier([each.face for each in seen])
    except InferenceError as error:
        return [Rejected(each.face, str(error)) for each in seen]
