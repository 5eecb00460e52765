"""Where the history of alerts is: one seam for SQLite's file and for PostgreSQL, with the same queries for both.

The queries are texts that both understand, with `:name` for what is bound: `sqlite3` takes them as they are, SQLAlchemy
Core as `text()`. So a daemon that keeps a file of its own needs neither SQLAlchemy nor a server.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from types import MappingProxyType
from typing import Any, Protocol, TypeVar

from taintwatch_models.errors import TaintwatchError

__all__ = ["LOCAL", "NOTHING", "History", "HistoryError", "Row", "Session", "Values", "one_of"]

T = TypeVar("T")
Row = Mapping[str, Any]
"""Names of columns -> values."""
Values = Mapping[str, object]
NOTHING: Values = MappingProxyType({})
LOCAL = "local"
"""The daemon's name in a history that is its own file."""


class HistoryError(TaintwatchError):
    """The history cannot be written now. The text says why, and no more."""


class Session(Protocol):
    """A connection for the length of one reading or one transaction."""

    def rows(self, statement: str, values: Values = NOTHING) -> list[Row]:
        """Return all rows of a query."""
        ...

    def each(self, statement: str, values: Values = NOTHING) -> Iterator[Row]:
        """Yield the rows of a query without holding them all."""
        ...

    def change(self, statement: str, values: Values = NOTHING) -> int:
        """Run a statement that changes rows; return how many."""
        ...


class History(Protocol):
    """Where records are. Any thread may use it."""

    @property
    def name(self) -> str:
        """What messages call it; never with a secret."""
        ...

    @property
    def shared(self) -> bool:
        """Whether other daemons write to it too."""
        ...

    def is_there(self) -> bool:
        """Whether it was begun already."""
        ...

    def open(self, daemon: str = LOCAL) -> None:
        """Make it ready for this daemon's records; nobody else may write under its name until `close`.

        Raises `ConfigError` where another daemon writes under that name, or a later version wrote it; `HistoryError`
        where it cannot be reached now: `write` tries again.
        """
        ...

    def read(self) -> AbstractContextManager[Session]:
        """Give a session for reading. Raises `UsageError` where there is no history, `TaintwatchError` for failures."""
        ...

    def write(self, work: Callable[[Session], T]) -> T:
        """Run `work` in one transaction: all of it or nothing. Raises `HistoryError`. It may be run twice."""
        ...

    def flush(self) -> None:
        """Flush what was written to the disk, where that does not come by itself. Raises `HistoryError`."""
        ...

    def compact(self) -> None:
        """Give back the room of what was removed. Raises `HistoryError`."""
        ...

    def bytes_used(self) -> int:
        """Return the bytes that it takes on this machine's disk."""
        ...

    def close(self) -> None:
        """Close what is open. May be called again; the next use opens it anew."""
        ...


def one_of(column: str, chosen: list[str]) -> tuple[str, dict[str, object]]:
    """Return the condition that `column` is one of `chosen`, and its values: both databases take it, bound."""
    if not chosen:
        return "1 = 0", {}
    values: dict[str, object] = {f"{column}_{number}": each for number, each in enumerate(chosen)}
    return f"{column} IN ({', '.join(f':{name}' for name in values)})", values
