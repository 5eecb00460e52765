"""Reading the database: lists of alerts, one alert's records, and the messages that somebody missed."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from taintwatch.alerts.messages import Message, MessageError, decode
from taintwatch.evidence.database import connect_read_only
from taintwatch_models.errors import TaintwatchError, UsageError

__all__ = ["MOST", "AlertReader", "Filter", "StoredAlert"]

MOST = 10_000_000
SUMMARY = """
SELECT *,
    (SELECT count(*) FROM records r WHERE r.event_id = a.event_id) AS records,
    (SELECT sum(length(json)) FROM records r WHERE r.event_id = a.event_id) AS record_bytes
FROM alerts a
"""
LEFT_OPEN = """
SELECT topic, json FROM records WHERE id IN (
    SELECT max(r.id) FROM records r JOIN alerts a ON a.event_id = r.event_id
    WHERE a.state IN ('raised', 'updated') GROUP BY r.event_id
) ORDER BY id
"""

# Records are numbered in the order in which they were written, over all starts.
SINCE = """
SELECT json FROM records
WHERE topic = :topic AND instance != :before
    AND id > coalesce(
        (SELECT max(id) FROM records WHERE topic = :topic AND instance = :instance AND sequence < :first),
        (SELECT min(id) - 1 FROM records WHERE topic = :topic AND instance = :instance)
    )
    AND id < coalesce(
        (SELECT min(id) FROM records WHERE topic = :topic AND instance = :before),
        9223372036854775807
    )
ORDER BY id LIMIT :limit
"""


@dataclass(frozen=True, slots=True)
class StoredAlert:
    """One alert as the database sums it up. JSON-ready."""

    event_id: str
    site: str
    camera: str
    state: str
    """Of its last record: raised, updated, cleared or interrupted."""
    raised_wall_ns: int
    wall_ns: int
    """Of the frame that the last record speaks of."""
    label_name: str
    score: float
    records: int
    record_bytes: int

    @property
    def open(self) -> bool:
        """Whether it has not ended."""
        return self.state in ("raised", "updated")


@dataclass(frozen=True, slots=True)
class Filter:
    """Which alerts are wanted; what is None does not matter."""

    camera: str | None = None
    since_ns: int | None = None
    """Raised at or after this moment (`time.time_ns()`)."""
    until_ns: int | None = None
    """Raised before this moment."""
    state: str | None = None
    """`open`, `cleared` or `interrupted`."""
    limit: int = MOST
    """At most so many, the latest."""

    def where(self) -> tuple[str, list[object]]:
        """Return an SQL condition and its values."""
        conditions = ["1"]
        values: list[object] = []
        for condition, value in (
            ("camera = ?", self.camera),
            ("raised_wall_ns >= ?", self.since_ns),
            ("raised_wall_ns < ?", self.until_ns),
        ):
            if value is not None:
                conditions.append(condition)
                values.append(value)
        if self.state == "open":
            conditions.append("state IN ('raised', 'updated')")
        elif self.state is not None:
            conditions.append("state = ?")
            values.append(self.state)
        return " AND ".join(conditions), values


class AlertReader:
    """Reads beside a running daemon without disturbing it. Each call opens the file anew; any thread may call."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def alerts(self, wanted: Filter | None = None) -> list[StoredAlert]:
        """Return what is kept, oldest first. Raises `TaintwatchError` where the database cannot be read."""
        wanted = wanted or Filter()
        where, values = wanted.where()
        # The conditions are fixed texts of `Filter`; values are bound.
        query = f"{SUMMARY} WHERE {where} ORDER BY raised_wall_ns DESC, event_id DESC LIMIT ?"
        with self._reading() as connection:
            rows = connection.execute(query, [*values, wanted.limit]).fetchall()
        return [StoredAlert(**dict(row) | {"record_bytes": row["record_bytes"] or 0}) for row in reversed(rows)]

    def find(self, start: str) -> StoredAlert:
        """Return the one alert whose id starts so. Raises `UsageError` where there is none, or more than one."""
        found = [alert for alert in self.alerts() if alert.event_id.startswith(start)] if start else []
        if len(found) != 1:
            many = f"{len(found)} alerts have ids that start" if found else "No alert has an id that starts"
            raise UsageError(f"{many} with '{start}'. `taintwatch alerts list` shows them.")
        return found[0]

    def records(self, event_id: str) -> list[Message]:
        """Return all records of an alert, in the order of publication. Raises `TaintwatchError`."""
        query = "SELECT topic, json FROM records WHERE event_id = ? ORDER BY id"
        with self._reading() as connection:
            return [_message(row) for row in connection.execute(query, (event_id,))]

    def left_open(self) -> list[Message]:
        """Return the last record of each alert that has not ended. Raises `TaintwatchError`."""
        with self._reading() as connection:
            return [_message(row) for row in connection.execute(LEFT_OPEN)]

    def published(self, topic: str, instance: str, first: int, last: int, limit: int) -> list[str]:
        """Return the JSON of what one start of the daemon published on a topic, at most `limit`, in order.

        `first` and `last`: sequences, inclusive. Raises `TaintwatchError`.
        """
        query = (
            "SELECT json FROM records WHERE topic = ? AND instance = ? AND sequence BETWEEN ? AND ?"
            " ORDER BY sequence LIMIT ?"
        )
        with self._reading() as connection:
            return [row["json"] for row in connection.execute(query, (topic, instance, first, last, limit))]

    def published_since(self, topic: str, instance: str, first: int, before: str, limit: int) -> list[str]:
        """Return the JSON of what a start published on a topic from the sequence `first` on, and later ones did.

        Up to the start named `before`, whose own are left out; nothing where `instance` published nothing on the topic:
        then nobody knows what was later. At most `limit`, in order. Raises `TaintwatchError`.
        """
        values = {"topic": topic, "instance": instance, "first": first, "before": before, "limit": limit}
        with self._reading() as connection:
            return [row["json"] for row in connection.execute(SINCE, values)]

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        if not self._path.is_file():
            raise UsageError(f"There is no {self._path}. Give the daemon's evidence folder with --folder.")
        try:
            with closing(connect_read_only(self._path)) as connection:
                yield connection
        except sqlite3.Error as error:
            raise TaintwatchError(f"{self._path} cannot be read: {error}.") from error


def _message(row: sqlite3.Row) -> Message:
    try:
        return decode([row["topic"].encode(), row["json"].encode()])
    except MessageError as error:
        raise TaintwatchError(f"A record of the database is damaged: {error}") from error
