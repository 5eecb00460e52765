"""The store of alerts: each record is in the history before it is published, and no failure of it stops one."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Iterable
from pathlib import Path

from taintwatch.alerts.messages import Message, as_json
from taintwatch.evidence.chain import GENESIS, Head, Signer, link
from taintwatch.evidence.history import LOCAL, History, HistoryError, Session, Values
from taintwatch.evidence.sqlite_history import history_of
from taintwatch.records import Alert
from taintwatch_models.errors import TaintwatchError

__all__ = ["AlertStore", "StoreError"]

_log = logging.getLogger(__name__)

BACKLOG = 1000  # records that wait in memory while the history cannot be written
INSERT = """
INSERT INTO records (daemon, id, topic, instance, sequence, event_id, json, previous, hash)
VALUES (:daemon, :id, :topic, :instance, :sequence, :event_id, :json, :previous, :hash)
ON CONFLICT (topic, instance, sequence) DO NOTHING
"""
LAST = """
SELECT id, hash FROM (
    SELECT * FROM (SELECT id, hash FROM records WHERE daemon = :daemon ORDER BY id DESC LIMIT 1) AS kept
    UNION ALL SELECT * FROM (SELECT id, hash FROM forgotten WHERE daemon = :daemon ORDER BY id DESC LIMIT 1) AS gone
    UNION ALL SELECT id, hash FROM heads WHERE daemon = :daemon AND kind = 'start'
) AS ends ORDER BY id DESC LIMIT 1
"""
SET_HEAD = """
INSERT INTO heads (daemon, kind, id, hash, signature) VALUES (:daemon, :kind, :id, :hash, :signature)
ON CONFLICT (daemon, kind) DO UPDATE SET id = excluded.id, hash = excluded.hash, signature = excluded.signature
"""
UPSERT = """
INSERT INTO alerts (event_id, daemon, site, camera, state, raised_wall_ns, wall_ns, label_name, score)
VALUES (:event_id, :daemon, :site, :camera, :state, :raised_wall_ns, :wall_ns, :label_name, :score)
ON CONFLICT (event_id) DO UPDATE SET daemon = excluded.daemon,
    state = excluded.state, wall_ns = excluded.wall_ns, label_name = excluded.label_name, score = excluded.score
"""
CLOSED = "(SELECT event_id FROM alerts WHERE event_id = :event_id AND state NOT IN ('raised', 'updated'))"
# The texts are put together from constants; values are bound.
TO_FORGET = f"SELECT daemon, id, previous, hash FROM records WHERE event_id IN {CLOSED}"  # noqa: S608
FORGOTTEN = """
INSERT INTO forgotten (daemon, id, previous, hash, signature) VALUES (:daemon, :id, :previous, :hash, :signature)
"""
FIRST = "SELECT coalesce(min(id), 9223372036854775807) AS first FROM records WHERE daemon = :daemon"
LAST_BEFORE = "SELECT id, hash FROM forgotten WHERE daemon = :daemon AND id < :first ORDER BY id DESC LIMIT 1"


class StoreError(TaintwatchError):
    """The history cannot be written now; what was to be written waits in memory."""


class AlertStore:
    """Writes alert records to a history. Any thread may use it.

    Where the history cannot be written (full, locked, away), records wait in memory, at most `backlog`, the oldest
    lost first, and are written with the next one or by `retry`.
    """

    def __init__(
        self,
        history: History | Path,
        *,
        daemon: str = LOCAL,
        backlog: int = BACKLOG,
        signer: Signer | None = None,
    ) -> None:
        """`history`: or SQLite's file. `daemon`: whose chain. `signer`: signs its head, and what is removed of it."""
        self.history = history_of(history)
        self.daemon = daemon
        self._signer = signer
        self.head = Head(0, GENESIS)
        """The last record that was stored. Replaced as a whole: any thread may read it."""
        self._lock = threading.Lock()
        self._backlog: deque[Message] = deque(maxlen=backlog)
        self._flushed = 0
        self.saved = 0
        self.failures = 0
        """Attempts to write that failed."""
        self.lost = 0
        """Records that were published but will never be in the history."""
        self.trouble: str | None = None
        """Why it cannot be written now; None where all is well."""

    @property
    def waiting(self) -> int:
        """Records that wait in memory."""
        return len(self._backlog)

    def open(self) -> None:
        """Open the history at the start: it takes a while where there is much in it.

        Raises `ConfigError` for a history of a later version, or of another daemon; any other trouble is logged, and
        tried again.
        """
        with self._lock:
            try:
                self.history.open(self.daemon)
                self.head = self.history.write(self._last)
            except HistoryError as error:
                self._failed(error)

    def save(self, message: Message) -> None:
        """Write an alert's record. Raises `StoreError` where that has to wait. Messages that are no alerts are left."""
        if not isinstance(message.body, Alert):
            return
        with self._lock:
            self.lost += len(self._backlog) == self._backlog.maxlen
            self._backlog.append(message)
            self._write()

    def retry(self) -> None:
        """Try again to write what waits. Never raises."""
        with self._lock:
            if self._backlog:
                try:
                    self._write()
                except StoreError:
                    return

    def flush(self) -> None:
        """In a background thread, now and then: write what waits, and flush what was written. Never raises.

        Flushing takes the disk's time, for which an alert should not wait: without `power_safe` a power cut can take
        what came since the last call; the end of the process alone, however sudden, never takes anything.
        """
        self.retry()
        if self.saved == self._flushed:
            return
        saved = self.saved
        try:
            self._sign_head()
            self.history.flush()
            self._flushed = saved
        except TaintwatchError as error:
            _log.debug("%s was not flushed: %s", self.history.name, error)  # it is tried again

    def forget(self, event_ids: Iterable[str]) -> None:
        """Remove all records of these alerts, unless one is open. Raises `StoreError`."""
        wanted = list(event_ids)
        with self._lock:
            try:
                self.history.write(lambda session: self._forget(session, wanted))
                self.history.compact()
            except TaintwatchError as error:
                raise self._failed(error) from error

    def close(self) -> None:
        """Write what waits, if that can be done, and close. May be called again; a later `save` opens it anew."""
        self.retry()
        try:
            self._sign_head()
        except TaintwatchError as error:
            _log.debug("the head was not signed: %s", error)
        with self._lock:
            self.lost += len(self._backlog)
            self._backlog.clear()
            self.history.close()

    def _forget(self, session: Session, event_ids: list[str]) -> None:
        daemons = set()
        for event_id in event_ids:
            wanted: Values = {"event_id": event_id}
            for row in session.rows(TO_FORGET, wanted):  # each leaves its place in the chain, signed
                signature = self._signed(f"forgotten|{row['id']}|{row['hash']}")
                session.change(FORGOTTEN, {**row, "signature": signature})
                daemons.add(row["daemon"])
            session.change(f"DELETE FROM records WHERE event_id IN {CLOSED}", wanted)  # noqa: S608
        for daemon in sorted(daemons):
            self._begin_later(session, daemon)
        for event_id in event_ids:
            session.change(f"DELETE FROM alerts WHERE event_id IN {CLOSED}", {"event_id": event_id})  # noqa: S608

    def _begin_later(self, session: Session, daemon: str) -> None:
        """Let go of the forgotten before the first record: one signed line says where the chain begins."""
        first = session.rows(FIRST, {"daemon": daemon})[0]["first"]
        for row in session.rows(LAST_BEFORE, {"daemon": daemon, "first": first}):
            signature = self._signed(f"start|{row['id']}|{row['hash']}")
            session.change(SET_HEAD, {**row, "daemon": daemon, "kind": "start", "signature": signature})
            session.change(
                "DELETE FROM forgotten WHERE daemon = :daemon AND id <= :id", {"daemon": daemon, "id": row["id"]}
            )

    def _sign_head(self) -> None:
        with self._lock:
            if self._signer is not None and self.head.id > 0:
                number, value = self.head.id, self.head.hash
                signature = self._signer.sign(f"head|{number}|{value}")
                row = {"daemon": self.daemon, "kind": "head", "id": number, "hash": value, "signature": signature}
                self.history.write(lambda session: session.change(SET_HEAD, row))

    def _signed(self, text: str) -> str:
        return "" if self._signer is None else self._signer.sign(text)

    def _write(self) -> None:
        try:
            self.head = self.history.write(self._write_all)
        except TaintwatchError as error:
            raise self._failed(error) from error
        self.saved += len(self._backlog)
        self._backlog.clear()
        if self.trouble is not None:
            self.trouble = None
            _log.info("alerts are kept again in %s", self.history.name)

    def _write_all(self, session: Session) -> Head:
        head = self._last(session)
        for message in self._backlog:
            head = self._insert(session, message, head)
        return head

    def _last(self, session: Session) -> Head:
        rows = session.rows(LAST, {"daemon": self.daemon})
        return Head(rows[0]["id"], rows[0]["hash"]) if rows else Head(0, GENESIS)

    def _insert(self, session: Session, message: Message, head: Head) -> Head:
        """Store one record behind `head`; return the new head."""
        envelope, alert = message.envelope, message.body
        if not isinstance(alert, Alert):
            return head
        json = as_json(message)
        new = Head(head.id + 1, link(head.hash, message.topic, json))
        record = {
            "daemon": self.daemon,
            "id": new.id,
            "topic": message.topic,
            "instance": envelope.instance,
            "sequence": envelope.sequence,
            "event_id": alert.event_id,
            "json": json,
            "previous": head.hash,
            "hash": new.hash,
        }
        summary = {
            "event_id": alert.event_id,
            "daemon": self.daemon,
            "site": envelope.site,
            "camera": alert.camera,
            "state": alert.state.value,
            "raised_wall_ns": alert.raised_wall_ns,
            "wall_ns": alert.wall_ns,
            "label_name": alert.label_name.replace("\0", "\ufffd"),  # PostgreSQL's texts hold no NUL
            "score": alert.score,
        }
        if session.change(INSERT, record) != 1:
            return head  # it is there already: an answer of the server was lost
        session.change(UPSERT, summary)
        return new

    def _failed(self, error: TaintwatchError) -> StoreError:
        self.failures += 1
        if self.trouble is None:
            _log.error("alerts are not kept for now, only published: %s: %s", self.history.name, error)
        self.trouble = str(error)
        return StoreError(f"The alert cannot be kept in {self.history.name}: {error}. It waits in memory.")
