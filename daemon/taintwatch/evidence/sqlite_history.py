"""The history in a file of SQLite: a daemon's own."""

from __future__ import annotations

import logging
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import TypeVar

from taintwatch.evidence.database import connect, connect_read_only, flush, is_damage, set_aside
from taintwatch.evidence.history import LOCAL, NOTHING, History, HistoryError, Row, Session, Values
from taintwatch_models.errors import TaintwatchError, UsageError

__all__ = ["SqliteHistory", "history_of"]

_log = logging.getLogger(__name__)
T = TypeVar("T")


class SqliteHistory:
    """One file. A damaged one is moved aside; one that was removed under our feet is begun anew.

    `power_safe` as in `connect`.
    """

    shared = False

    def __init__(self, path: Path, *, power_safe: bool = False) -> None:
        self._path = path
        self._power_safe = power_safe
        self._lock = threading.RLock()
        self._connection: sqlite3.Connection | None = None
        self._inode: int | None = None

    @property
    def name(self) -> str:
        """The file's path."""
        return str(self._path)

    def is_there(self) -> bool:
        """Whether there is such a file."""
        return self._path.is_file()

    def open(self, daemon: str = LOCAL) -> None:
        """Open the file and look for damage: it takes a while where there is much in it."""
        with self._lock:
            try:
                self._open(check=True)
            except (sqlite3.Error, OSError) as error:
                raise self._failed(error) from error
        with suppress(sqlite3.Error, OSError):  # what it opens is there from the start on
            flush(self._path)

    @contextmanager
    def read(self) -> Iterator[Session]:
        """Give a session for reading beside a running daemon; it opens the file anew."""
        if not self._path.is_file():
            raise UsageError(f"There is no {self._path}. Give the daemon's evidence folder with --folder.")
        try:
            with closing(connect_read_only(self._path)) as connection:
                yield _Session(connection)
        except sqlite3.Error as error:
            raise TaintwatchError(f"{self._path} cannot be read: {error}.") from error

    def write(self, work: Callable[[Session], T]) -> T:
        """Run `work` in one transaction, once more in a new file where this one is damaged."""
        with self._lock:
            try:
                return self._transact(work)
            except sqlite3.DatabaseError as error:
                if not is_damage(error):
                    raise self._failed(error) from error
                try:
                    self._shut()
                    set_aside(self._path)
                    return self._transact(work)
                except (sqlite3.Error, OSError) as again:
                    raise self._failed(again) from again
            except OSError as error:
                raise self._failed(error) from error

    def flush(self) -> None:
        """Flush the journal to the disk."""
        try:
            flush(self._path)
        except (sqlite3.Error, OSError) as error:
            raise HistoryError(str(error)) from error

    def compact(self) -> None:
        """Give free pages back to the file system."""
        with self._lock:
            try:
                self._opened().execute("PRAGMA incremental_vacuum").fetchall()
            except (sqlite3.Error, OSError) as error:
                raise self._failed(error) from error

    def bytes_used(self) -> int:
        """Return the bytes of the file and its journal, without a damaged one that was set aside."""
        parts = [self._path.with_name(self._path.name + part) for part in ("", "-wal", "-shm")]
        return sum(part.stat().st_size for part in parts if part.is_file())

    def close(self) -> None:
        """Close the connection that writes."""
        with self._lock:
            self._shut()

    def _transact(self, work: Callable[[Session], T]) -> T:
        connection = self._opened()
        connection.execute("BEGIN IMMEDIATE")  # the lock at the beginning, so that it cannot be lost half-way
        try:
            result = work(_Session(connection))
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
        connection.execute("COMMIT")
        return result

    def _opened(self) -> sqlite3.Connection:
        """Return the connection: a new one where there is none, or where the file was removed under our feet."""
        if self._connection is not None and self._inode != _inode(self._path):
            _log.error("%s was removed or replaced; it is begun anew", self._path)
            self._shut()
        return self._connection or self._open(check=False)

    def _open(self, *, check: bool) -> sqlite3.Connection:
        self._connection = connect(self._path, power_safe=self._power_safe, check=check)
        self._connection.row_factory = sqlite3.Row
        self._inode = _inode(self._path)
        return self._connection

    def _failed(self, error: Exception) -> HistoryError:
        if not (isinstance(error, sqlite3.OperationalError) and _passes(error)):
            self._shut()  # the next attempt starts from nothing
        return HistoryError(str(error))

    def _shut(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def history_of(place: History | Path) -> History:
    """Return `place`; a path is SQLite's file."""
    if isinstance(place, Path):
        return SqliteHistory(place)
    return place


class _Session:
    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def rows(self, statement: str, values: Values = NOTHING) -> list[Row]:
        return list(self.each(statement, values))

    def each(self, statement: str, values: Values = NOTHING) -> Iterator[Row]:
        for row in self._connection.execute(statement, dict(values)):
            yield dict(row)

    def change(self, statement: str, values: Values = NOTHING) -> int:
        return self._connection.execute(statement, dict(values)).rowcount


def _passes(error: sqlite3.OperationalError) -> bool:
    """Whether the connection is still good: the file was only locked, or the disk full."""
    return error.sqlite_errorcode & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_FULL)


def _inode(path: Path) -> int | None:
    try:
        return path.stat().st_ino
    except OSError:
        return None
