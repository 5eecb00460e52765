"""Bringing a database of an earlier version up to date, with a copy of it as it was for the way back."""

from __future__ import annotations

import contextlib
import logging
import os
import sqlite3
from pathlib import Path

__all__ = ["OLDEST", "copy_of", "migrate"]

_log = logging.getLogger(__name__)

OLDEST = 3  # what can be brought up to date; PostgreSQL's tables are Alembic's (`migrations`)
STEPS = {3: "ALTER TABLE annotations ADD COLUMN judgement TEXT;"}


def copy_of(path: Path, version: int) -> Path:
    """Return where the database of an earlier version is kept as it was."""
    return path.with_name(f"{path.name}.version-{version}")


def migrate(connection: sqlite3.Connection, path: Path, version: int, wanted: int) -> None:
    """Bring the database at `path` from `version` to `wanted`, whole or not at all; a copy of it stays beside it.

    The way back is to stop the daemon, to move the copy into the database's place, and to install the version that
    wrote it. Raises `sqlite3.Error`, `OSError`.
    """
    copy = copy_of(path, version)
    with contextlib.suppress(FileExistsError):
        os.close(os.open(copy, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    with contextlib.closing(sqlite3.connect(copy)) as target:
        connection.backup(target)
    steps = "".join(STEPS[each] for each in range(version, wanted))
    try:
        connection.executescript(f"BEGIN IMMEDIATE; {steps} PRAGMA user_version = {wanted}; COMMIT;")
    except sqlite3.Error:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
    _log.warning("%s was brought from version %d to %d; as it was it is kept in %s", path, version, wanted, copy.name)
