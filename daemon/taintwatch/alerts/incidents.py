"""Incidents: one attack on one subject of a camera is raised once, updated while it changes, and cleared once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from uuid import uuid4

from taintwatch.records import Alert, AlertState, Moment, Vote, elapsed_ns, moment_of
from taintwatch.vote.policy import check_number
from taintwatch.vote.voter import OVERALL
from taintwatch_models.records import Frame, Prediction, Verdict

__all__ = ["AlertTracker", "Incident", "Instant", "new_event_id"]

FORGIVEN_LEVEL = 0.05  # below this level a benign frame ends a suspicion: an exponential share never quite reaches 0


def new_event_id() -> str:
    """Return 32 hexadecimal digits that no other alert has, in this process or any other (UUID4)."""
    return uuid4().hex


class AlertTracker:
    """Holds at most one open alert for each subject of each camera; each combined vote gives at most one record.

    `update_every_s`: least time between two records of a raised alert, in the frames' own time (as the votes count
    it), >= 0. An update comes only when the label, the detectors or the highest score changed. Used by one thread only.
    """

    def __init__(self, *, update_every_s: float = 1.0, new_id: Callable[[], str] = new_event_id) -> None:
        self._update_every_ns = round(check_number("update_every_s", update_every_s, 0, 86_400) * 1e9)
        self._new_id = new_id
        self._incidents: dict[tuple[str, str | None], Incident] = {}

    def __call__(self, prediction: Prediction, verdicts: Sequence[Verdict], votes: Sequence[Vote]) -> Alert | None:
        """Return the alert record that this frame gives rise to, if any.

        `votes`: what the `Voter` returned for the frame; the one named `overall` decides, the others say which
        detectors stand for the alert. Raises `ValueError` without an overall vote.
        """
        combined = next((vote for vote in votes if vote.detector == OVERALL), None)
        if combined is None:
            raise ValueError(f"The votes of a frame must hold one named '{OVERALL}'.")
        frame = prediction.frame
        key = frame.camera, frame.subject
        incident = self._incidents.setdefault(key, Incident(Instant.of(frame)))
        incident.see(prediction, _counted(verdicts, votes))
        if combined.raised:
            incident.detectors = _standing_detectors(incident, votes)
            return self._raise_or_update(incident)
        if incident.alert is not None:
            return self._clear(key)
        if combined.level < FORGIVEN_LEVEL:
            del self._incidents[key]
        return None

    def open_alerts(self) -> tuple[Alert, ...]:
        """Return the last record of each alert that is not cleared."""
        return tuple(incident.alert for incident in self._incidents.values() if incident.alert is not None)

    def is_open(self, camera: str, subject: str | None) -> bool:
        """Whether an alert of this subject is not cleared."""
        incident = self._incidents.get((camera, subject))
        return incident is not None and incident.alert is not None

    def close(self, camera: str) -> tuple[Alert, ...]:
        """End what is known of `camera`; return the cleared records of its open alerts, each as of its last frame."""
        return self._close([key for key in self._incidents if key[0] == camera])

    def close_subject(self, camera: str, subject: str | None) -> Alert | None:
        """End what is known of one subject; return the cleared record of its open alert, if any."""
        return next(iter(self._close([(camera, subject)])), None)

    def close_all(self) -> tuple[Alert, ...]:
        """`close` every camera; return the cleared records."""
        return self._close(tuple(self._incidents))

    def _close(self, keys: Sequence[tuple[str, str | None]]) -> tuple[Alert, ...]:
        cleared = []
        for key in keys:
            incident = self._incidents.get(key)
            if incident is not None and incident.alert is not None:
                cleared.append(self._clear(key))
            self._incidents.pop(key, None)
        return tuple(cleared)

    def _raise_or_update(self, incident: Incident) -> Alert | None:
        if incident.alert is None or incident.raised is None:
            incident.raised = incident.last
            return self._publish(incident, incident.record(self._new_id(), AlertState.RAISED, incident.raised))
        alert = incident.record(incident.alert.event_id, AlertState.UPDATED, incident.raised)
        if self._is_due(incident) and _picture(alert) != _picture(incident.alert):
            return self._publish(incident, alert)
        return None

    def _is_due(self, incident: Incident) -> bool:
        if incident.published is None:
            return True
        waited_ns = elapsed_ns(incident.published, incident.last.moment)
        return waited_ns < 0 or waited_ns >= self._update_every_ns  # a rewound file must not silence the updates

    def _publish(self, incident: Incident, alert: Alert) -> Alert:
        incident.alert = alert
        incident.published = incident.last.moment
        return alert

    def _clear(self, key: tuple[str, str | None]) -> Alert:
        incident = self._incidents.pop(key)
        if incident.alert is None or incident.raised is None:
            raise ValueError(f"Camera '{key[0]}' has no open alert.")
        return incident.record(incident.alert.event_id, AlertState.CLEARED, incident.raised)


def _counted(verdicts: Sequence[Verdict], votes: Sequence[Vote]) -> list[Verdict]:
    voted = {vote.detector for vote in votes}
    return [verdict for verdict in verdicts if verdict.detector in voted]


def _standing_detectors(incident: Incident, votes: Sequence[Vote]) -> tuple[str, ...]:
    raised = tuple(vote.detector for vote in votes if vote.raised and vote.detector in incident.peaks)
    # During the minimum hold no detector may stand any longer: those that stood last still do.
    return raised or incident.detectors or tuple(incident.peaks)


def _picture(alert: Alert) -> tuple[object, ...]:
    return alert.label, alert.detectors, alert.score


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
class Incident:
    """One subject's suspicion, from its first suspicious frame to the end of the alert. Of bounded size."""

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
            if peak is None or _weight(verdict) > _weight(peak):
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
            subject=peak.subject,
        )


def _weight(verdict: Verdict) -> tuple[bool, bool, float]:
    # A frame that the gate let pass has the gate's score, on another scale; a dismissed one stands for no alert.
    return verdict.dismissal is None, verdict.checked, verdict.score


def _sight(prediction: Prediction, suspicious: Iterable[Verdict]) -> _Sight:
    recovered = next((verdict for verdict in suspicious if verdict.recovered_label is not None), None)
    return _Sight(
        prediction.label,
        prediction.label_name,
        None if recovered is None else recovered.recovered_label,
        None if recovered is None else recovered.recovered_name,
        prediction.confidence,
    )
