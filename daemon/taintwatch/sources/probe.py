"""Looking whether a source can be opened at all, before a daemon would retry it for ever."""

from __future__ import annotations

from taintwatch.sources.base import Source
from taintwatch.sources.factory import open_source
from taintwatch_models.errors import SourceError

__all__ = ["require_source"]


def require_source(spec: str, otherwise: str, source: Source | None = None) -> None:
    """Open the source that `spec` names (or the one given) and close it again.

    Raises `SourceError` that says what is wrong and, after that, what can be done `otherwise`.
    """
    try:
        tried = open_source(spec) if source is None else source
        try:
            tried.open()
        finally:
            tried.close()
    except SourceError as error:
        raise SourceError(f"{error}; or {otherwise}") from error
