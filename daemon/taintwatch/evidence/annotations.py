"""What people said of an alert: seen, and a note. In the alerts' database, and gone with the alert."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from taintwatch.evidence.database import BUSY_MS, connect_read_only
from taintwatch_models.errors import TaintwatchError, UsageError

__all__ = ["LONGEST_NOTE", "Annotation", "Annotations"]

LONGEST_NOTE = 4000  # characters

# Made when somebody first annotates an alert. The trigger keeps annotations from outliving their alerts, whoever
# removes those.
SCHEMA = """
CREATE TABLE IF NOT EXISTS annotations (
    event_id TEXT PRIMARY KEY,
    acknowledged_wall_ns INTEGER,
    note TEXT NOT NULL DEFAULT ''
) WITHOUT ROWID;
CREATE TRIGGER IF NOT EXISTS forget_annotations AFTER DELETE ON alerts
    BEGIN DELETE FROM annotations WHERE event_id = old.event_id; END;
"""
IS_KEPT = "SELECT 1 FROM alerts WHERE event_id = ?"
ACKNOWLEDGE = """
INSERT INTO annotations (event_id, acknowledged_wall_ns) VALUES (:id, :value)
ON CONFLICT (event_id) DO UPDATE SET acknowledged_wall_ns = excluded.acknowledged_wall_ns
"""
NOTE = """
INSERT INTO annotations (event_id, note) VALUES (:id, :value)
ON CONFLICT (event_id) DO UPDATE SET note = excluded.note
"""


@dataclass(frozen=True, slots=True)
class Annotation:
    """What was said of one alert. JSON-ready."""

    acknowledged_wall_ns: int | None = None
    """When it was acknowledged (`time.time_ns()`); None: it was not."""
    note: str = ""


class Annotations:
    """Reads and writes annotations beside a running daemon. Each call opens the file anew; any thread may call."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def of(self, event_ids: Iterable[str]) -> dict[str, Annotation]:
        """Return the annotations of these alerts, where there are any. Raises `TaintwatchError`."""
        wanted = set(event_ids)
        if not wanted or not self._path.is_file():
            return {}
        try:
            with closing(connect_read_only(self._path)) as connection:
                if connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'annotations'").fetchone() is None:
                    return {}
                rows = connection.execute("SELECT event_id, acknowledged_wall_ns, note FROM annotations").fetchall()
        except sqlite3.Error as error:
            raise TaintwatchError(f"{self._path} cannot be read: {error}.") from error
        return {
            row["event_id"]: Annotation(row["acknowledged_wall_ns"], row["note"]) for row in rows if row[0] in wanted
        }

    def acknowledge(self, event_id: str, wall_ns: int | None) -> None:
        """Note when an alert was acknowledged; None takes it back. Raises `UsageError`, `TaintwatchError`."""
        self._write(ACKNOWLEDGE, event_id, wall_ns)

    def note(self, event_id: str, text: str) -> None:
        """Set the note of an alert, in place of the one before. Raises `UsageError`, `TaintwatchError`."""
        if len(text) > LONGEST_NOTE:
            raise UsageError(f"A note may have {LONGEST_NOTE} characters; this one has {len(text)}.")
        try:
            text.encode()
        except UnicodeEncodeError:
            raise UsageError("A note must be text that Unicode knows.") from None
        self._write(NOTE, event_id, text)

    def _write(self, statement: str, event_id: str, value: int | str | None) -> None:
        if not self._path.is_file():
            raise UsageError(f"There is no {self._path}.")
        try:
            with closing(sqlite3.connect(self._path, timeout=BUSY_MS / 1000, isolation_level=None)) as connection:
                connection.executescript(f"BEGIN IMMEDIATE; {SCHEMA} COMMIT;")
                known = connection.execute(IS_KEPT, (event_id,)).fetchone() is not None
                if known:
                    connection.execute(statement, {"id": event_id, "value": value})
        except sqlite3.Error as error:
            raise TaintwatchError(f"{self._path} cannot be written now: {error}. Try again.") from error
        if not known:
            raise UsageError(f"There is no alert {event_id[:64]}.")
