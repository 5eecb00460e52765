"""The history in PostgreSQL, for several daemons at once: SQLAlchemy Core over psycopg, tables by Alembic."""

from __future__ import annotations

import hashlib
import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from taintwatch.evidence.history import LOCAL, NOTHING, HistoryError, Row, Session, Values
from taintwatch.secret_files import read_secret
from taintwatch_models.errors import ConfigError, TaintwatchError, UsageError

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine, TextClause
    from sqlalchemy.exc import SQLAlchemyError

__all__ = ["PostgresHistory"]

_log = logging.getLogger(__name__)
T = TypeVar("T")

CONNECT_S = 3  # then the server counts as unreachable
AGAIN_S = 1.0  # a server that could not be reached is not asked again by each alert
STATEMENT_MS = 15_000
MIGRATIONS = Path(__file__).with_name("migrations")
# The server notices soon that a machine is gone, and lets go of its name.
SERVER_OPTIONS = {
    "statement_timeout": STATEMENT_MS,
    "lock_timeout": 5000,
    "idle_in_transaction_session_timeout": 30_000,
    "tcp_keepalives_idle": 4,
    "tcp_keepalives_interval": 2,
    "tcp_keepalives_count": 2,
}


class PostgresHistory:
    """One database of several daemons; each writes under its own name, and no two under one.

    `password_file`: the password, in a private file; without it libpq looks where it always does (PGPASSFILE). The
    server is reached when it is first needed. Raises `ConfigError` for an address that is none.
    """

    shared = True

    def __init__(self, url: str, *, password_file: Path | None = None) -> None:
        self._engine, self.name = _engine(url, password_file)
        self._lock = threading.RLock()
        self._daemon: str | None = None
        self._writer: Connection | None = None
        self._ready = False
        self._not_before = 0.0

    def is_there(self) -> bool:
        """Whether its tables are there."""
        try:
            with self.read():
                return True
        except UsageError:
            return False

    def open(self, daemon: str = LOCAL) -> None:
        """Make or migrate the tables, and take the daemon's name."""
        from sqlalchemy.exc import SQLAlchemyError

        with self._lock:
            self._daemon = daemon
            try:
                self._connected()
            except SQLAlchemyError as error:
                raise self._failed(error) from error

    @contextmanager
    def read(self) -> Iterator[Session]:
        """Give a session in a read-only transaction."""
        from sqlalchemy import text
        from sqlalchemy.exc import SQLAlchemyError

        try:
            with self._engine.connect() as connection:
                connection.execute(text("SET TRANSACTION READ ONLY"))
                if not self._ready and _revision(connection) is None:
                    raise UsageError(f"No alerts are kept in {self.name}: no daemon has begun its history.")
                yield _Session(connection)
        except SQLAlchemyError as error:
            raise TaintwatchError(f"{self.name} cannot be read: {_reason(error)}.") from error

    def write(self, work: Callable[[Session], T]) -> T:
        """Run `work` in one transaction: over the connection that holds the daemon's name, where there is one."""
        from sqlalchemy.exc import SQLAlchemyError

        try:
            if self._daemon is None:
                with self._engine.begin() as connection:
                    return work(_Session(connection))
            with self._lock:
                connection = self._connected()
                with connection.begin():
                    return work(_Session(connection))
        except SQLAlchemyError as error:
            raise self._failed(error) from error

    def flush(self) -> None:
        """Do nothing: a transaction of PostgreSQL is on its disk when it is over."""

    def compact(self) -> None:
        """Do nothing: PostgreSQL's autovacuum does that."""

    def bytes_used(self) -> int:
        """Return 0: it lies on the server's disk."""
        return 0

    def close(self) -> None:
        """Let go of the daemon's name and of all connections."""
        with self._lock:
            self._drop()
        self._engine.dispose()

    def _connected(self) -> Connection:
        """Return the connection that holds the daemon's name. Raises `HistoryError`, `ConfigError`."""
        from sqlalchemy import text

        if self._writer is not None:
            return self._writer
        if time.monotonic() < self._not_before:
            raise HistoryError(f"{self.name} could not be reached a moment ago")
        self._migrate()
        connection = self._engine.connect()
        try:
            taken = text("SELECT pg_try_advisory_lock(:key)")
            held = connection.execute(taken, {"key": _lock_key(f"daemon {self._daemon}")}).scalar()
            connection.commit()
            if not held:
                raise ConfigError(
                    f"Another daemon writes to {self.name} as '{self._daemon}'. Give each its own [evidence] daemon."
                )
        except BaseException:
            connection.close()
            raise
        self._writer = connection
        return connection

    def _migrate(self) -> None:
        if not self._ready:
            _migrate(self._engine, self.name)
            self._ready = True

    def _failed(self, error: SQLAlchemyError) -> HistoryError:
        with self._lock:
            self._drop()
            self._not_before = time.monotonic() + AGAIN_S
        return HistoryError(_reason(error))

    def _drop(self) -> None:
        """Close the connection itself, and do not hand it back to the pool: it holds a lock."""
        if self._writer is not None:
            self._writer.invalidate()
            self._writer.close()
            self._writer = None


class _Session:
    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def rows(self, statement: str, values: Values = NOTHING) -> list[Row]:
        found = self._connection.execute(_text(statement), dict(values))
        return [dict(row) for row in found.mappings()]

    def each(self, statement: str, values: Values = NOTHING) -> Iterator[Row]:
        streamed = self._connection.execution_options(yield_per=500)
        for row in streamed.execute(_text(statement), dict(values)).mappings():
            yield dict(row)

    def change(self, statement: str, values: Values = NOTHING) -> int:
        return self._connection.execute(_text(statement), dict(values)).rowcount


@lru_cache(maxsize=256)
def _text(statement: str) -> TextClause:
    from sqlalchemy import text

    return text(statement)


def _engine(url: str, password_file: Path | None) -> tuple[Engine, str]:
    try:
        import alembic
        import psycopg
        from sqlalchemy import create_engine
        from sqlalchemy.engine import make_url
        from sqlalchemy.exc import ArgumentError
    except ImportError as error:
        raise ConfigError(
            f"A history in PostgreSQL needs {error.name}. Run: pip install 'taintwatch[fleet]', or leave [evidence]"
            " database out."
        ) from error
    del alembic, psycopg  # they are needed, and better missed at the start than with the first alert
    try:
        address = make_url(url).set(drivername="postgresql+psycopg")
    except (ArgumentError, ValueError) as error:
        raise ConfigError("[evidence] database is no address like postgresql://user@host/name.") from error
    name = address.set(drivername="postgresql", password=None, query={}).render_as_string()
    arguments: dict[str, Any] = {
        "connect_timeout": CONNECT_S,
        "application_name": "taintwatch",
        "options": " ".join(f"-c {key}={value}" for key, value in SERVER_OPTIONS.items()),
        "tcp_user_timeout": 10_000,
    }
    if password_file is not None:
        secret = read_secret(password_file, "[evidence] database_password_file")
        arguments["password"] = secret.decode("utf-8").rstrip("\r\n")
    engine = create_engine(
        address,
        connect_args=arguments,
        pool_size=2,
        max_overflow=6,
        pool_timeout=5,
        pool_pre_ping=True,
        hide_parameters=True,
    )
    return engine, name


def _migrate(engine: Engine, name: str) -> None:
    """Bring the tables to this version, one daemon at a time. Raises `ConfigError` where a later one was there."""
    from alembic import command
    from alembic.config import Config
    from alembic.script import ScriptDirectory
    from sqlalchemy import text

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    script = ScriptDirectory.from_config(config)
    with engine.connect() as connection:
        before = _revision(connection)
        if before == script.get_current_head():
            return
        if before is not None and before not in {each.revision for each in script.walk_revisions()}:
            raise ConfigError(f"{name} was written by a later version of Taintwatch. Install that, or give another.")
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _lock_key("migration")})
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
        connection.commit()
    _log.info("the tables of %s were brought from %s to %s", name, before, script.get_current_head())


def _revision(connection: Connection) -> str | None:
    """Return the version of the tables; None where there are none."""
    from sqlalchemy import text

    if connection.execute(text("SELECT to_regclass('alembic_version')")).scalar() is None:
        return None
    found = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
    return None if found is None else str(found)


def _lock_key(what: str) -> int:
    """Return a number of 64 bits for an advisory lock."""
    return int.from_bytes(hashlib.sha256(f"taintwatch {what}".encode()).digest()[:8], "big", signed=True)


def _reason(error: SQLAlchemyError) -> str:
    """Return the first line of what the server or libpq said: what comes after may quote a statement."""
    lines = str(getattr(error, "orig", None) or error).strip().splitlines()
    return lines[0].rstrip(".") if lines else type(error).__name__
