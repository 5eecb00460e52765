"""The SQLite file: its tables, how it is opened, and what becomes of a damaged one."""

from __future__ import annotations

import contextlib
import logging
import os
import sqlite3
import time
from pathlib import Path

from taintwatch.evidence.migration import OLDEST, migrate
from taintwatch_models.errors import ConfigError

__all__ = ["connect", "connect_read_only", "flush", "is_damage", "set_aside"]

_log = logging.getLogger(__name__)

VERSION = 4
BUSY_MS = 200  # how long an alert may wait for another process that has the file locked
LARGE_JOURNAL = 4_000_000  # bytes
LARGEST_JOURNAL_PAGES = 20_000

# `alerts` is what `records` add up to: one row for each event, so that it can be listed without reading them all.
# `previous` and `hash` make a chain of the records; `forgotten` are those that were removed for their age or size.
# `deliveries`: the last record that each sink has. `daemon` is one name throughout: the file is one daemon's own, and
# PostgreSQL (`migrations`) has the same tables for several. The trigger keeps annotations from outliving their alerts.
SCHEMA = f"""
CREATE TABLE alerts (
    event_id TEXT PRIMARY KEY,
    daemon TEXT NOT NULL,
    site TEXT NOT NULL,
    camera TEXT NOT NULL,
    state TEXT NOT NULL,
    raised_wall_ns INTEGER NOT NULL,
    wall_ns INTEGER NOT NULL,
    label_name TEXT NOT NULL,
    score REAL NOT NULL
) WITHOUT ROWID;
CREATE INDEX alerts_by_time ON alerts (raised_wall_ns);
CREATE INDEX alerts_by_camera ON alerts (site, camera, raised_wall_ns);
CREATE TABLE records (
    daemon TEXT NOT NULL,
    id INTEGER NOT NULL,
    topic TEXT NOT NULL,
    instance TEXT NOT NULL,
    sequence INTEGER NOT NULL,
    event_id TEXT NOT NULL,
    json TEXT NOT NULL,
    previous TEXT NOT NULL,
    hash TEXT NOT NULL,
    PRIMARY KEY (daemon, id),
    UNIQUE (topic, instance, sequence)
);
CREATE INDEX records_by_event ON records (event_id);
CREATE TABLE forgotten (
    daemon TEXT NOT NULL,
    id INTEGER NOT NULL,
    previous TEXT NOT NULL,
    hash TEXT NOT NULL,
    signature TEXT NOT NULL,
    PRIMARY KEY (daemon, id)
) WITHOUT ROWID;
CREATE TABLE heads (
    daemon TEXT NOT NULL,
    kind TEXT NOT NULL,
    id INTEGER NOT NULL,
    hash TEXT NOT NULL,
    signature TEXT NOT NULL,
    PRIMARY KEY (daemon, kind)
) WITHOUT ROWID;
CREATE TABLE annotations (
    event_id TEXT PRIMARY KEY,
    acknowledged_wall_ns INTEGER,
    note TEXT NOT NULL DEFAULT '',
    judgement TEXT
) WITHOUT ROWID;
CREATE TRIGGER forget_annotations AFTER DELETE ON alerts
    BEGIN DELETE FROM annotations WHERE event_id = old.event_id; END;
CREATE TABLE deliveries (
    daemon TEXT NOT NULL,
    sink TEXT NOT NULL,
    id INTEGER NOT NULL,
    PRIMARY KEY (daemon, sink)
) WITHOUT ROWID;
PRAGMA user_version = {VERSION};
"""  # noqa: S608 (of constants)


def connect(path: Path, *, power_safe: bool, check: bool = False) -> sqlite3.Connection:
    """Open (or make, 0600) the database for writing, in WAL mode; any thread may use the connection, one at a time.

    `power_safe`: each alert is flushed to the disk itself, so that even a power cut loses none. `check`: look through
    the whole file for damage. A damaged file is moved aside and a new one begun; one of an earlier version is brought
    up to date. Raises `sqlite3.Error`, `OSError`, and `ConfigError` for one made by a later version.
    """
    try:
        return _connect(path, power_safe, check)
    except sqlite3.DatabaseError as error:
        if not is_damage(error):
            raise
        set_aside(path)
        return _connect(path, power_safe, check)


def connect_read_only(path: Path) -> sqlite3.Connection:
    """Open the database for reading. Raises `sqlite3.Error`."""
    connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=BUSY_MS / 1000)
    connection.row_factory = sqlite3.Row
    return connection


def is_damage(error: sqlite3.Error) -> bool:
    """Whether the file itself is broken, so that trying again cannot help."""
    code = getattr(error, "sqlite_errorcode", None)
    return code is not None and code & 0xFF in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


def flush(path: Path) -> None:
    """Flush the journal to the disk, and move what it holds into the database once it is large.

    For a background thread: whoever writes meanwhile does not wait. Raises `sqlite3.Error`, `OSError`.
    """
    # Opened whether or not it is needed: SQLite cannot close a file that another connection of this process has locked,
    # and keeps the descriptor for the next one. So there is one more from the start on, and not one more some day.
    address = f"{path.absolute().as_uri()}?mode=rw"  # never to make it anew: it may just have been moved aside
    with contextlib.closing(sqlite3.connect(address, uri=True, timeout=BUSY_MS / 1000)) as connection:
        if _flush(path.with_name(path.name + "-wal")) > LARGE_JOURNAL:
            connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()


def set_aside(path: Path) -> None:
    """Rename a damaged database (and its journal), so that somebody can look at it later. Raises `OSError`.

    Only the last one is kept: a disk that damages one after the other must not be filled with them.
    """
    suffix = f".damaged-{time.time_ns()}"
    for old in path.parent.glob(f"{path.name}.damaged-*"):
        old.unlink()
    for part in ("", "-wal", "-shm"):
        file = path.with_name(path.name + part)
        if file.exists():
            file.rename(path.with_name(path.name + suffix + part))
    _log.error("%s is damaged; it was renamed to %s and a new one is begun", path, path.name + suffix)


def _flush(path: Path) -> int:
    """Flush a file to the disk; return its size in bytes."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
        return os.fstat(descriptor).st_size
    finally:
        os.close(descriptor)


def _connect(path: Path, power_safe: bool, check: bool) -> sqlite3.Connection:
    if not path.exists():
        # Its journal gets the same permissions. A file that is there is opened by SQLite alone: closing it here would
        # drop the locks of every connection in this process (sqlite.org/howtocorrupt.html, 2.2).
        with contextlib.suppress(FileExistsError):
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    connection = sqlite3.connect(path, timeout=BUSY_MS / 1000, isolation_level=None, check_same_thread=False)
    try:
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        if version > VERSION:
            raise ConfigError(f"{path} was written by a later version of Taintwatch. Install that, or give another.")
        if 0 < version < OLDEST:
            raise ConfigError(f"{path} was written by an earlier version of Taintwatch. Move it away, or give another.")
        if version == 0:
            connection.execute("PRAGMA auto_vacuum = INCREMENTAL")  # of no effect once there is a table
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute(f"PRAGMA wal_autocheckpoint = {LARGEST_JOURNAL_PAGES}")  # `flush` comes long before
        connection.execute(f"PRAGMA synchronous = {'FULL' if power_safe else 'NORMAL'}")
        if version == 0:
            connection.executescript(f"BEGIN IMMEDIATE; {SCHEMA} COMMIT;")
        elif version < VERSION:
            migrate(connection, path, version, VERSION)
        finding = connection.execute("PRAGMA quick_check(1)").fetchone()[0] if check else "ok"
        if finding != "ok":
            error = sqlite3.DatabaseError(finding)
            error.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
            raise error
    except BaseException:
        connection.close()
        raise
    return connection
