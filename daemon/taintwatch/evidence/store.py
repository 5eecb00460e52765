"""The store of alerts: each record is in the database before it is published, and no failure of it stops one."""

from __future__ import annotations

import contextlib
import logging
import sqlite3
import threading
from collections import deque
from collections.abc import Iterable
from pathlib import Path

from taintwatch.alerts.messages import Message, as_json
from taintwatch.evidence.chain import GENESIS, Head, Signer, link
from taintwatch.evidence.database import connect, flush, is_damage, set_aside
from taintwatch.records import Alert
from taintwatch_models.errors import TaintwatchError

__all__ = ["AlertStore", "StoreError"]

_log = logging.getLogger(__name__)

BACKLOG = 1000  # records that wait in memory while the database cannot be written
INSERT = """
INSERT OR IGNORE INTO records (id, topic, instance, sequence, event_id, json, previous, hash)
VALUES (?, ?, ?, ?, ?, ?, ?, ?)
"""
LAST = """
SELECT id, hash FROM (
    SELECT * FROM (SELECT id, hash FROM records ORDER BY id DESC LIMIT 1)
    UNION ALL SELECT * FROM (SELECT id, hash FROM forgotten ORDER BY id DESC LIMIT 1)
    UNION ALL SELECT id, hash FROM heads WHERE kind = 'start'
) ORDER BY id DESC LIMIT 1
"""
SET_HEAD = "INSERT OR REPLACE INTO heads (kind, id, hash, signature) VALUES (?, ?, ?, ?)"
UPSERT = """
INSERT INTO alerts (event_id, site, camera, state, raised_wall_ns, wall_ns, label_name, score)
VALUES (?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (event_id) DO UPDATE SET
    state = excluded.state, wall_ns = excluded.wall_ns, label_name = excluded.label_name, score = excluded.score
"""


class StoreError(TaintwatchError):
    """The database cannot be written now; what was to be written waits in memory."""


class AlertStore:
    """Writes alert records to SQLite. Any thread may use it.

    Where the database cannot be written (full, locked, taken away), records wait in memory, at most `backlog`, the
    oldest lost first, and are written with the next one or by `retry`. A damaged database is moved aside. `power_safe`
    as in `connect`.
    """

    def __init__(
        self, path: Path, *, power_safe: bool = False, backlog: int = BACKLOG, signer: Signer | None = None
    ) -> None:
        """`signer`: signs the chain's head, and what is removed of it; None: the hashes alone."""
        self._path = path
        self._signer = signer
        self.head = Head(0, GENESIS)
        """The last record that was stored. Replaced as a whole: any thread may read it."""
        self._power_safe = power_safe
        self._lock = threading.Lock()
        self._connection: sqlite3.Connection | None = None
        self._inode: int | None = None
        self._backlog: deque[Message] = deque(maxlen=backlog)
        self._flushed = 0
        self.saved = 0
        self.failures = 0
        """Attempts to write that failed."""
        self.lost = 0
        """Records that were published but will never be in the database."""
        self.trouble: str | None = None
        """Why it cannot be written now; None where all is well."""

    @property
    def waiting(self) -> int:
        """Records that wait in memory."""
        return len(self._backlog)

    def open(self) -> None:
        """Open the database and look for damage, at the start: it takes a while where there is much in it.

        Raises `ConfigError` for a database of a later version; any other trouble is logged, and tried again.
        """
        with self._lock:
            try:
                self._open(check=True)
            except (sqlite3.Error, OSError) as error:
                self._failed(error)
        with contextlib.suppress(sqlite3.Error, OSError):  # what it opens is there from the start on
            flush(self._path)

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
            flush(self._path)
            self._flushed = saved
        except (sqlite3.Error, OSError) as error:
            _log.debug("%s was not flushed: %s", self._path, error)  # it is tried again

    def _sign_head(self) -> None:
        with self._lock:
            if self._signer is not None and self.head.id > 0:
                text = f"head|{self.head.id}|{self.head.hash}"
                self._opened().execute(SET_HEAD, ("head", self.head.id, self.head.hash, self._signer.sign(text)))

    def forget(self, event_ids: Iterable[str]) -> None:
        """Remove all records of these alerts, unless one is open. Raises `StoreError`."""
        rows = [(event_id,) for event_id in event_ids]
        with self._lock:
            try:
                connection = self._opened()
                with _Transaction(connection):
                    closed = "(SELECT event_id FROM alerts WHERE event_id = ? AND state NOT IN ('raised', 'updated'))"
                    for row in rows:
                        self._mark_forgotten(connection, closed, row)
                    connection.executemany(f"DELETE FROM records WHERE event_id IN {closed}", rows)  # noqa: S608
                    self._begin_later(connection)
                    connection.executemany(f"DELETE FROM alerts WHERE event_id IN {closed}", rows)  # noqa: S608
                connection.execute("PRAGMA incremental_vacuum").fetchall()
            except (sqlite3.Error, OSError) as error:
                raise self._failed(error) from error

    def _mark_forgotten(self, connection: sqlite3.Connection, closed: str, row: tuple[str]) -> None:
        """Leave of each record that is removed its place in the chain, signed."""
        query = f"SELECT id, previous, hash FROM records WHERE event_id IN {closed}"  # noqa: S608 (a fixed text)
        for number, previous, value in connection.execute(query, row).fetchall():
            signature = "" if self._signer is None else self._signer.sign(f"forgotten|{number}|{value}")
            connection.execute("INSERT INTO forgotten VALUES (?, ?, ?, ?)", (number, previous, value, signature))

    def _begin_later(self, connection: sqlite3.Connection) -> None:
        """Let go of the forgotten before the first record: one signed line says where the chain begins."""
        first = connection.execute("SELECT coalesce(min(id), 9223372036854775807) FROM records").fetchone()[0]
        last = connection.execute("SELECT id, hash FROM forgotten WHERE id < ? ORDER BY id DESC LIMIT 1", (first,))
        if (found := last.fetchone()) is not None:
            number, value = found
            signature = "" if self._signer is None else self._signer.sign(f"start|{number}|{value}")
            connection.execute(SET_HEAD, ("start", number, value, signature))
            connection.execute("DELETE FROM forgotten WHERE id <= ?", (number,))

    def close(self) -> None:
        """Write what waits, if that can be done, and close. May be called again; a later `save` opens it anew."""
        self.retry()
        with contextlib.suppress(sqlite3.Error, OSError):
            self._sign_head()
        with self._lock:
            self.lost += len(self._backlog)
            self._backlog.clear()
            self._shut()

    def _write(self) -> None:
        try:
            self._write_all()
        except sqlite3.DatabaseError as error:
            if not is_damage(error):
                raise self._failed(error) from error
            try:
                self._shut()
                set_aside(self._path)
                self._write_all()
            except (sqlite3.Error, OSError) as again:
                raise self._failed(again) from again
        except (sqlite3.Error, OSError) as error:
            raise self._failed(error) from error
        self.saved += len(self._backlog)
        self._backlog.clear()
        if self.trouble is not None:
            self.trouble = None
            _log.info("alerts are kept again in %s", self._path)

    def _write_all(self) -> None:
        connection = self._opened()
        with _Transaction(connection):
            head = _last(connection)
            for message in self._backlog:
                head = _insert(connection, message, head)
        self.head = head

    def _opened(self) -> sqlite3.Connection:
        """Return the connection: a new one where there is none, or where the file was removed under our feet."""
        if self._connection is not None and self._inode != _inode(self._path):
            _log.error("%s was removed or replaced; it is begun anew", self._path)
            self._shut()
        return self._connection or self._open(check=False)

    def _open(self, *, check: bool) -> sqlite3.Connection:
        self._connection = connect(self._path, power_safe=self._power_safe, check=check)
        self._inode = _inode(self._path)
        self.head = _last(self._connection)
        return self._connection

    def _failed(self, error: Exception) -> StoreError:
        self.failures += 1
        if not (isinstance(error, sqlite3.OperationalError) and _passes(error)):
            self._shut()  # the next attempt starts from nothing
        if self.trouble is None:
            _log.error("alerts are not kept for now, only published: %s: %s", self._path, error)
        self.trouble = str(error)
        return StoreError(f"The alert cannot be kept in {self._path}: {error}. It waits in memory.")

    def _shut(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


class _Transaction:
    """All or nothing, and the lock is taken at its beginning, so that it cannot be lost half-way."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def __enter__(self) -> None:
        self._connection.execute("BEGIN IMMEDIATE")

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self._connection.execute("COMMIT")
        elif self._connection.in_transaction:
            self._connection.execute("ROLLBACK")


def _last(connection: sqlite3.Connection) -> Head:
    row = connection.execute(LAST).fetchone()
    return Head(0, GENESIS) if row is None else Head(row[0], row[1])


def _insert(connection: sqlite3.Connection, message: Message, head: Head) -> Head:
    """Store one record behind `head`; return the new head."""
    envelope, alert = message.envelope, message.body
    if isinstance(alert, Alert):
        json = as_json(message)
        new = Head(head.id + 1, link(head.hash, message.topic, json))
        row = (new.id, message.topic, envelope.instance, envelope.sequence, alert.event_id, json, head.hash, new.hash)
        if connection.execute(INSERT, row).rowcount == 1:
            head = new
        connection.execute(
            UPSERT,
            (
                alert.event_id,
                envelope.site,
                alert.camera,
                alert.state.value,
                alert.raised_wall_ns,
                alert.wall_ns,
                alert.label_name,
                alert.score,
            ),
        )
    return head


def _passes(error: sqlite3.OperationalError) -> bool:
    """Whether the connection is still good: the file was only locked, or the disk full."""
    return error.sqlite_errorcode & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_FULL)


def _inode(path: Path) -> int | None:
    try:
        return path.stat().st_ino
    except OSError:
        return None
