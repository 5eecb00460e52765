"""What is known of one camera's present attack, or of the suspicion that may become one."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from taintwatch.records import Alert, AlertState
from taintwatch.vote.clock import Moment, moment_of
from taintwatch_models.records import Frame, Prediction, Verdict

__all__ = ["Case", "Instant"]


@dataclass(frozen=True, slots=True)
class Instant:
    """When and where in the stream a frame was, without its picture."""

    wall_ns: int
    frame_index: int
    moment: Moment

    @classmethod
    def of(cls, frame: Frame) -> Instant:
        return cls(frame.wall_ns, frame.index, moment_of(frame))


@dataclass(frozen=True, slots=True)
class _Sight:
    """What the classifier said of a suspicious frame."""

    label: int
    label_name: str
    recovered_label: int | None
    recovered_name: str | None
    confidence: float


@dataclass(slots=True)
class Case:
    """One camera's suspicion, from its first suspicious frame to the end of the alert. Of bounded size."""

    last: Instant
    raised: Instant | None = None
    published: Moment | None = None
    alert: Alert | None = None
    suspicious_frames: int = 0
    detectors: tuple[str, ...] = ()
    peaks: dict[str, Verdict] = field(default_factory=dict)
    """The most suspicious verdict so far of each detector."""
    sight: _Sight | None = None

    def see(self, prediction: Prediction, verdicts: Iterable[Verdict]) -> None:
        """Take in one frame. Its verdicts count as peaks even below the threshold until a higher one comes."""
        self.last = Instant.of(prediction.frame)
        suspicious = []
        for verdict in verdicts:
            peak = self.peaks.get(verdict.detector)
            # A frame that the gate let pass has the gate's score, on another scale.
            if peak is None or (verdict.checked, verdict.score) > (peak.checked, peak.score):
                self.peaks[verdict.detector] = verdict
            if verdict.suspicious:
                suspicious.append(verdict)
        self.suspicious_frames += bool(suspicious)
        if suspicious or self.sight is None:
            self.sight = _sight(prediction, suspicious)

    def record(self, event_id: str, state: AlertState, raised: Instant) -> Alert:
        """Return the alert as it stands after the last frame seen."""
        if self.sight is None or not self.detectors:
            raise ValueError("An alert needs at least one frame with a verdict before it can be raised.")
        peak = self.peaks[self.detectors[0]]
        return Alert(
            event_id=event_id,
            state=state,
            camera=peak.camera,
            detectors=self.detectors,
            raised_wall_ns=raised.wall_ns,
            wall_ns=self.last.wall_ns,
            captured_ns=self.last.moment.captured_ns,
            frame_index=self.last.frame_index,
            raised_frame_index=raised.frame_index,
            media_s=self.last.moment.media_s,
            suspicious_frames=self.suspicious_frames,
            label=self.sight.label,
            label_name=self.sight.label_name,
            recovered_label=self.sight.recovered_label,
            recovered_name=self.sight.recovered_name,
            confidence=self.sight.confidence,
            score=peak.score,
            threshold=peak.threshold,
            region=peak.region,
        )


def _sight(prediction: Prediction, suspicious: Iterable[Verdict]) -> _Sight:
    recovered = next((verdict for verdict in suspicious if verdict.recovered_label is not None), None)
    return _Sight(
        prediction.label,
        prediction.label_name,
        None if recovered is None else recovered.recovered_label,
        None if recovered is None else recovered.recovered_name,
        prediction.confidence,
    )
