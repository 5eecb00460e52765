"""Annotations of an alert: seen, judged, and a note. They are in the history of alerts, and go with the alert."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from taintwatch.evidence.history import History, HistoryError, Session
from taintwatch.evidence.sqlite_history import history_of
from taintwatch_models.errors import TaintwatchError, UsageError

__all__ = ["LONGEST_NOTE", "Annotation", "Annotations"]

LONGEST_NOTE = 4000  # characters

IS_KEPT = "SELECT 1 AS kept FROM alerts WHERE event_id = :id"
ACKNOWLEDGE = """
INSERT INTO annotations (event_id, acknowledged_wall_ns) VALUES (:id, :value)
ON CONFLICT (event_id) DO UPDATE SET acknowledged_wall_ns = excluded.acknowledged_wall_ns
"""
NOTE = """
INSERT INTO annotations (event_id, note) VALUES (:id, :value)
ON CONFLICT (event_id) DO UPDATE SET note = excluded.note
"""
ALL = "SELECT event_id, acknowledged_wall_ns, note, judgement FROM annotations"
JUDGE = """
INSERT INTO annotations (event_id, judgement) VALUES (:id, :value)
ON CONFLICT (event_id) DO UPDATE SET judgement = excluded.judgement
"""


@dataclass(frozen=True, slots=True)
class Annotation:
    """What was said of one alert. JSON-ready."""

    acknowledged_wall_ns: int | None = None
    """When it was acknowledged (`time.time_ns()`); None: it was not."""
    note: str = ""
    judgement: str | None = None
    """What it was: `attack` or `false alarm`; None: nobody said."""


class Annotations:
    """Reads and writes annotations beside a running daemon. Any thread may call."""

    def __init__(self, history: History | Path) -> None:
        self._history = history_of(history)

    def of(self, event_ids: Iterable[str]) -> dict[str, Annotation]:
        """Return the annotations of these alerts, where there are any. Raises `TaintwatchError`."""
        wanted = set(event_ids)
        if not wanted or not self._history.is_there():
            return {}
        with self._history.read() as session:
            rows = session.rows(ALL)
        return {
            row["event_id"]: Annotation(row["acknowledged_wall_ns"], row["note"], row["judgement"])
            for row in rows
            if row["event_id"] in wanted
        }

    def acknowledge(self, event_id: str, wall_ns: int | None) -> None:
        """Note when an alert was acknowledged; None takes it back. Raises `UsageError`, `TaintwatchError`."""
        self._write(ACKNOWLEDGE, event_id, wall_ns)

    def judge(self, event_id: str, judgement: str | None) -> None:
        """Note what an alert was; None takes it back. Raises `UsageError`, `TaintwatchError`."""
        self._write(JUDGE, event_id, judgement)

    def note(self, event_id: str, text: str) -> None:
        """Set the note of an alert, in place of the one before. Raises `UsageError`, `TaintwatchError`."""
        if len(text) > LONGEST_NOTE:
            raise UsageError(f"A note may have {LONGEST_NOTE} characters; this one has {len(text)}.")
        try:
            text.encode()
        except UnicodeEncodeError:
            raise UsageError("A note must be text that Unicode knows.") from None
        self._write(NOTE, event_id, text.replace("\0", "\ufffd"))  # PostgreSQL's texts hold no NUL

    def _write(self, statement: str, event_id: str, value: int | str | None) -> None:
        if not self._history.is_there():
            raise UsageError(f"There is no {self._history.name}.")

        def work(session: Session) -> bool:
            if not session.rows(IS_KEPT, {"id": event_id}):
                return False
            session.change(statement, {"id": event_id, "value": value})
            return True

        try:
            known = self._history.write(work)
        except HistoryError as error:
            raise TaintwatchError(f"{self._history.name} cannot be written now: {error}. Try again.") from error
        finally:
            self._history.close()
        if not known:
            raise UsageError(f"There is no alert {event_id[:64]}.")
