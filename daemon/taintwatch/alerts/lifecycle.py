"""The life of an alert: one attack on one camera is raised once, updated while it changes, and cleared once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from uuid import uuid4

from taintwatch.alerts.case import Case, Instant
from taintwatch.records import Alert, AlertState, Vote
from taintwatch.vote.clock import elapsed_ns
from taintwatch.vote.limits import check_number
from taintwatch.vote.voter import COMBINED
from taintwatch_models.records import Prediction, Verdict

__all__ = ["AlertBook", "new_event_id"]

FORGIVEN_LEVEL = 0.05  # below this level a benign frame ends a suspicion: an exponential share never quite reaches 0


def new_event_id() -> str:
    """Return 32 hexadecimal digits that no other alert has, in this process or any other (UUID4)."""
    return uuid4().hex


class AlertBook:
    """Holds at most one open alert for each camera, and turns each frame's combined vote into at most one record.

    `update_every_s`: least time between two records of a raised alert, in the frames' own time (as the votes count
    it), >= 0. An update comes only when the label, the detectors or the highest score changed. Used by one thread only.
    """

    def __init__(self, *, update_every_s: float = 1.0, new_id: Callable[[], str] = new_event_id) -> None:
        self._update_every_ns = round(check_number("update_every_s", update_every_s, 0, 86_400) * 1e9)
        self._new_id = new_id
        self._cases: dict[str, Case] = {}

    def __call__(self, prediction: Prediction, verdicts: Sequence[Verdict], votes: Sequence[Vote]) -> Alert | None:
        """Return the alert record that this frame gives rise to, if any.

        `votes`: what the `Voter` returned for the frame; the one named `combined` decides, the others say which
        detectors stand for the alert. Raises `ValueError` without a combined vote.
        """
        combined = next((vote for vote in votes if vote.detector == COMBINED), None)
        if combined is None:
            raise ValueError(f"The votes of a frame must hold one named '{COMBINED}'.")
        frame = prediction.frame
        case = self._cases.setdefault(frame.camera, Case(Instant.of(frame)))
        case.see(prediction, _counted(verdicts, votes))
        if combined.raised:
            case.detectors = _standing_detectors(case, votes)
            return self._raise_or_update(case)
        if case.alert is not None:
            return self._clear(frame.camera)
        if combined.level < FORGIVEN_LEVEL:
            del self._cases[frame.camera]
        return None

    def open_alerts(self) -> tuple[Alert, ...]:
        """Return the last record of each alert that is not cleared."""
        return tuple(case.alert for case in self._cases.values() if case.alert is not None)

    def close(self, camera: str) -> Alert | None:
        """End what is known of `camera`; return the cleared record of its open alert (as of its last frame), if any."""
        case = self._cases.get(camera)
        if case is None or case.alert is None:
            self._cases.pop(camera, None)
            return None
        return self._clear(camera)

    def close_all(self) -> tuple[Alert, ...]:
        """`close` every camera; return the cleared records."""
        closed = (self.close(camera) for camera in tuple(self._cases))
        return tuple(alert for alert in closed if alert is not None)

    def _raise_or_update(self, case: Case) -> Alert | None:
        if case.alert is None or case.raised is None:
            case.raised = case.last
            return self._publish(case, case.record(self._new_id(), AlertState.RAISED, case.raised))
        alert = case.record(case.alert.event_id, AlertState.UPDATED, case.raised)
        if self._is_due(case) and _picture(alert) != _picture(case.alert):
            return self._publish(case, alert)
        return None

    def _is_due(self, case: Case) -> bool:
        if case.published is None:
            return True
        waited_ns = elapsed_ns(case.published, case.last.moment)
        return waited_ns < 0 or waited_ns >= self._update_every_ns  # a rewound file must not silence the updates

    def _publish(self, case: Case, alert: Alert) -> Alert:
        case.alert = alert
        case.published = case.last.moment
        return alert

    def _clear(self, camera: str) -> Alert:
        case = self._cases.pop(camera)
        if case.alert is None or case.raised is None:
            raise ValueError(f"Camera '{camera}' has no open alert.")
        return case.record(case.alert.event_id, AlertState.CLEARED, case.raised)


def _counted(verdicts: Sequence[Verdict], votes: Sequence[Vote]) -> list[Verdict]:
    voted = {vote.detector for vote in votes}
    return [verdict for verdict in verdicts if verdict.detector in voted]


def _standing_detectors(case: Case, votes: Sequence[Vote]) -> tuple[str, ...]:
    raised = tuple(vote.detector for vote in votes if vote.raised and vote.detector in case.peaks)
    # During the minimum hold no detector may stand any longer: those that stood last still do.
    return raised or case.detectors or tuple(case.peaks)


def _picture(alert: Alert) -> tuple[object, ...]:
    return alert.label, alert.detectors, alert.score
