"""Reading the history: lists of alerts, one alert's records, and the messages that somebody missed."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from taintwatch.alerts.messages import Message, MessageError, decode
from taintwatch.evidence.history import History, Row, one_of
from taintwatch.evidence.sqlite_history import history_of
from taintwatch_models.errors import TaintwatchError, UsageError

__all__ = ["MOST", "AlertReader", "CameraAlerts", "Filter", "StoredAlert"]

MOST = 10_000_000
AT_ONCE = 500  # ids in one query
SUMMARY = """
SELECT a.event_id, a.daemon, a.site, a.camera, a.state, a.raised_wall_ns, a.wall_ns, a.label_name, a.score,
    (SELECT count(*) FROM records r WHERE r.event_id = a.event_id) AS records,
    (SELECT coalesce(sum(length(json)), 0) FROM records r WHERE r.event_id = a.event_id) AS record_bytes
FROM alerts a
"""
LEFT_OPEN = """
SELECT r.topic, r.json FROM records r JOIN alerts a ON a.event_id = r.event_id AND a.daemon = r.daemon
WHERE a.state IN ('raised', 'updated') AND (:daemon = '' OR a.daemon = :daemon)
    AND r.id = (SELECT max(id) FROM records WHERE daemon = a.daemon AND event_id = a.event_id)
ORDER BY r.daemon, r.id
"""
LATEST = """
SELECT r.topic, r.json FROM records r JOIN alerts a ON a.event_id = r.event_id AND a.daemon = r.daemon
WHERE r.id = (SELECT max(id) FROM records WHERE daemon = a.daemon AND event_id = a.event_id) AND a.
"""
BY_CAMERA = """
SELECT site, camera, count(*) AS alerts, max(raised_wall_ns) AS last_wall_ns,
    sum(CASE WHEN state IN ('raised', 'updated') THEN 1 ELSE 0 END) AS open,
    sum(CASE WHEN raised_wall_ns >= :since THEN 1 ELSE 0 END) AS recent
FROM alerts GROUP BY site, camera
ORDER BY open DESC, recent DESC, last_wall_ns DESC, site, camera
"""
PUBLISHED = """
SELECT json FROM records WHERE topic = :topic AND instance = :instance AND sequence BETWEEN :first AND :last
ORDER BY sequence LIMIT :limit
"""

# A daemon numbers its records in the order in which they were written, over all starts.
SINCE = """
SELECT json FROM records
WHERE topic = :topic AND instance != :before
    AND daemon = (SELECT min(daemon) FROM records WHERE topic = :topic AND instance = :instance)
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
    """One alert as the history sums it up. JSON-ready."""

    event_id: str
    daemon: str
    """Whose chain its records are in."""
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
class CameraAlerts:
    """What the history has of one camera. JSON-ready."""

    site: str
    camera: str
    alerts: int
    open: int
    recent: int
    """Raised since the moment that was asked for."""
    last_wall_ns: int
    """When the last one was raised."""


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
    site: str | None = None
    daemon: str | None = None
    """Whose records; in a history of several daemons."""

    def where(self) -> tuple[str, dict[str, object]]:
        """Return an SQL condition and its values."""
        conditions = ["1 = 1"]
        values: dict[str, object] = {}
        for name, condition, value in (
            ("daemon", "daemon = :daemon", self.daemon),
            ("site", "site = :site", self.site),
            ("camera", "camera = :camera", self.camera),
            ("since", "raised_wall_ns >= :since", self.since_ns),
            ("until", "raised_wall_ns < :until", self.until_ns),
        ):
            if value is not None:
                conditions.append(condition)
                values[name] = value
        if self.state == "open":
            conditions.append("state IN ('raised', 'updated')")
        elif self.state is not None:
            conditions.append("state = :state")
            values["state"] = self.state
        return " AND ".join(conditions), values


class AlertReader:
    """Reads beside a running daemon without disturbing it. Any thread may call."""

    def __init__(self, history: History | Path) -> None:
        self._history = history_of(history)

    def alerts(self, wanted: Filter | None = None) -> list[StoredAlert]:
        """Return what is kept, oldest first. Raises `TaintwatchError` where the history cannot be read."""
        wanted = wanted or Filter()
        where, values = wanted.where()
        # The conditions are fixed texts of `Filter`; values are bound.
        query = f"{SUMMARY} WHERE {where} ORDER BY raised_wall_ns DESC, event_id DESC LIMIT :limit"
        with self._history.read() as session:
            rows = session.rows(query, {**values, "limit": wanted.limit})
        return [StoredAlert(**row) for row in reversed(rows)]

    def cameras(self, since_ns: int) -> list[CameraAlerts]:
        """Return every camera that has an alert, of all sites, the worst first: open ones, recent ones, the latest.

        Raises `TaintwatchError`.
        """
        with self._history.read() as session:
            rows = session.rows(BY_CAMERA, {"since": since_ns})
        return [CameraAlerts(**{**row, "open": int(row["open"]), "recent": int(row["recent"])}) for row in rows]

    def find(self, start: str) -> StoredAlert:
        """Return the one alert whose id starts so. Raises `UsageError` where there is none, or more than one."""
        query = f"{SUMMARY} WHERE :length > 0 AND substr(a.event_id, 1, :length) = :start"
        with self._history.read() as session:
            found = [StoredAlert(**row) for row in session.rows(query, {"length": len(start), "start": start})]
        if len(found) != 1:
            many = f"{len(found)} alerts have ids that start" if found else "No alert has an id that starts"
            raise UsageError(f"{many} with '{start}'. `taintwatch alerts list` shows them.")
        return found[0]

    def records(self, event_id: str) -> list[Message]:
        """Return all records of an alert, in the order of publication. Raises `TaintwatchError`."""
        query = "SELECT topic, json FROM records WHERE event_id = :event_id ORDER BY daemon, id"
        with self._history.read() as session:
            return [_message(row) for row in session.rows(query, {"event_id": event_id})]

    def latest(self, event_ids: Sequence[str]) -> dict[str, Message]:
        """Return the last record of each of these alerts; a damaged one is left out. Raises `TaintwatchError`."""
        found = {}
        with self._history.read() as session:
            for start in range(0, len(event_ids), AT_ONCE):
                condition, values = one_of("event_id", list(event_ids[start : start + AT_ONCE]))
                for row in session.rows(LATEST.rstrip() + condition, values):
                    with suppress(TaintwatchError):
                        message = _message(row)
                        found[str(message.envelope.event_id)] = message
        return found

    def left_open(self, daemon: str = "") -> list[Message]:
        """Return the last record of each alert that has not ended; of one daemon, where it is named.

        Raises `TaintwatchError`.
        """
        with self._history.read() as session:
            return [_message(row) for row in session.rows(LEFT_OPEN, {"daemon": daemon})]

    def published(self, topic: str, instance: str, first: int, last: int, limit: int) -> list[str]:
        """Return the JSON of what one start of the daemon published on a topic, at most `limit`, in order.

        `first` and `last`: sequences, inclusive. Raises `TaintwatchError`.
        """
        values = {"topic": topic, "instance": instance, "first": first, "last": last, "limit": limit}
        with self._history.read() as session:
            return [row["json"] for row in session.rows(PUBLISHED, values)]

    def published_since(self, topic: str, instance: str, first: int, before: str, limit: int) -> list[str]:
        """Return the JSON of what a start published on a topic from the sequence `first` on, and later ones did.

        Up to the start named `before`, whose own are left out; nothing where `instance` published nothing on the topic:
        then nobody knows what was later. At most `limit`, in order. Raises `TaintwatchError`.
        """
        values = {"topic": topic, "instance": instance, "first": first, "before": before, "limit": limit}
        with self._history.read() as session:
            return [row["json"] for row in session.rows(SINCE, values)]


def _message(row: Row) -> Message:
    try:
        return decode([row["topic"].encode(), row["json"].encode()])
    except MessageError as error:
        raise TaintwatchError(f"A record of the history is damaged: {error}") from error
