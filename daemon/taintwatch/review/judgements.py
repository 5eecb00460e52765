"""Judgements of alerts, and what follows: a note beside the alert, and a dismissal that the pipeline heeds."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from enum import StrEnum
from pathlib import Path
from tempfile import TemporaryDirectory

from taintwatch.evidence.annotations import Annotation, Annotations
from taintwatch.evidence.audit import AuditLog
from taintwatch.evidence.folder import FRAME, EvidenceFolder
from taintwatch.evidence.reader import AlertReader
from taintwatch.records import Alert
from taintwatch.review.dismissals import Dismissal, Dismissals, Reason
from taintwatch.review.snoozes import Snoozes
from taintwatch_models.errors import TaintwatchError, UsageError

__all__ = ["Judgement", "Judgements"]

_log = logging.getLogger(__name__)

HOUR_NS = 3_600_000_000_000
MOST_BOXES = 8


class Judgement(StrEnum):
    """What an alert was."""

    ATTACK = "attack"
    FALSE_ALARM = "false alarm"


class Judgements:
    """Writes annotations, dismissals and snoozes of one evidence folder, beside a running daemon. Any thread may call.

    Nothing but a person calls it: no frame and no message adds to what counts as benign.
    """

    def __init__(
        self,
        folder: EvidenceFolder,
        audit: AuditLog,
        *,
        acknowledged_h: float = 24.0,
        wall_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        """`acknowledged_h`: then what stays is raised again; 0: at once. In the calls, `by` is who speaks."""
        self._folder, self._audit, self._wall_ns = folder, audit, wall_ns
        self._acknowledged_ns = round(acknowledged_h * HOUR_NS)
        self._annotations = Annotations(folder.history)
        self.dismissals = Dismissals(folder.dismissals, wall_ns=wall_ns)
        self.snoozes = Snoozes(folder.snoozes, wall_ns=wall_ns)

    def judge(self, event_id: str, judgement: Judgement | None, by: str) -> Annotation:
        """Say what an alert was; None takes it back. A false alarm is dismissed from now on.

        Raises `UsageError` for an alert that is not kept, or of which no picture or region is; `TaintwatchError`.
        """
        if judgement is Judgement.FALSE_ALARM:
            self._dismiss(event_id, Reason.FALSE_ALARM, by)
        elif self._reason(event_id) is Reason.FALSE_ALARM:
            self.undo(event_id, by)
        self._annotations.judge(event_id, None if judgement is None else judgement.value)
        self._audit.write("judged", by, event_id=event_id, judgement=judgement and judgement.value)
        return self._annotation(event_id)

    def acknowledge(self, event_id: str, acknowledged: bool, by: str) -> Annotation:
        """Say that somebody knows of an alert, or take it back. What stays as it is raises no new one for a while.

        Raises `UsageError`, `TaintwatchError`.
        """
        self._annotations.acknowledge(event_id, self._wall_ns() if acknowledged else None)
        self._audit.write("acknowledged" if acknowledged else "acknowledgement_undone", by, event_id=event_id)
        reason = self._reason(event_id)
        if not acknowledged and reason is Reason.ACKNOWLEDGED:
            self.undo(event_id, by)
        if acknowledged and reason is None and self._acknowledged_ns:
            try:
                self._dismiss(event_id, Reason.ACKNOWLEDGED, by)
            except UsageError as error:  # the acknowledgement itself stands
                _log.info("what alert %s shows may be raised again: %s", event_id, error)
        return self._annotation(event_id)

    def note(self, event_id: str, text: str, by: str) -> Annotation:
        """Set an alert's note. Raises `UsageError`, `TaintwatchError`."""
        self._annotations.note(event_id, text)
        self._audit.write("note", by, event_id=event_id, text=text)
        return self._annotation(event_id)

    def undo(self, event_id: str, by: str) -> Dismissal:
        """Take a dismissal back: what it shows is judged as before. Raises `UsageError`, `TaintwatchError`."""
        found = self.dismissals.undo(event_id)
        try:  # the alert may be gone by its age; the dismissal stays until it is undone
            if found.reason is Reason.FALSE_ALARM:
                self._annotations.judge(event_id, None)
        except UsageError:
            pass
        self._audit.write("dismissal_undone", by, event_id=event_id, camera=found.camera)
        return found

    def snooze(self, camera: str, minutes: float, by: str) -> int | None:
        """Let a camera's alerts notify nobody for so long (0: wake it); return until when. Raises `UsageError`."""
        until = self.snoozes.set(camera, minutes)
        self._audit.write("snoozed", by, camera=camera, minutes=round(minutes))
        return until

    def _dismiss(self, event_id: str, reason: Reason, by: str) -> None:
        records = [
            message.body
            for message in AlertReader(self._folder.history).records(event_id)
            if isinstance(message.body, Alert)
        ]
        if not records:
            raise UsageError(f"There is no alert {event_id[:64]}.")
        boxes = dict.fromkeys(record.region.box for record in records if record.region is not None)
        jpeg = self._frame(event_id)
        if not boxes or jpeg is None:
            raise UsageError(
                "Of this alert no picture with a region is kept, so that what it shows cannot be recognised; "
                "set evidence.images, or learn the camera anew."
            )
        now = self._wall_ns()
        dismissal = Dismissal(
            event_id, records[-1].camera, reason, now, by, _labels(records), records[-1].label_name,
            tuple(boxes)[-MOST_BOXES:], now + self._acknowledged_ns if reason is Reason.ACKNOWLEDGED else None,
        )  # fmt: skip
        self.dismissals.add(dismissal, jpeg)
        self._audit.write("dismissed", by, event_id=event_id, camera=dismissal.camera, reason=reason.value)

    def _frame(self, event_id: str) -> bytes | None:
        """Return the frame that raised an alert, where it is kept."""
        with TemporaryDirectory(prefix="taintwatch-frame-") as scratch:
            try:
                path = self._folder.media.local(event_id, FRAME, Path(scratch))
                return None if path is None else path.read_bytes()
            except FileNotFoundError:
                return None
            except OSError as error:
                raise TaintwatchError(
                    f"The picture of {event_id} cannot be read: {error.strerror or error}."
                ) from error

    def _reason(self, event_id: str) -> Reason | None:
        return next((one.reason for one in self.dismissals.all() if one.event_id == event_id), None)

    def _annotation(self, event_id: str) -> Annotation:
        return self._annotations.of([event_id]).get(event_id, Annotation())


def _labels(records: Sequence[Alert]) -> tuple[int, ...]:
    return tuple(dict.fromkeys(record.label for record in records))
