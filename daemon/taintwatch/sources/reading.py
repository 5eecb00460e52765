"""Reading a source to its end, where nobody counts the pictures that are damaged."""

from __future__ import annotations

from collections.abc import Generator, Iterator

from taintwatch.sources.base import Grab, Source
from taintwatch_models.errors import BadFrame

__all__ = ["grabs_of", "read_through"]


def grabs_of(source: Source) -> Iterator[Grab]:
    """Yield what an open source still gives; a picture that cannot be decoded is passed over. Raises `SourceError`."""
    while True:
        try:
            grab = source.read()
        except BadFrame:
            continue
        if grab is None:
            return
        yield grab


def read_through(source: Source) -> Generator[Grab]:
    """Open a source, yield what it gives as `grabs_of` does, and close it, also where the caller stops before."""
    source.open()
    try:
        yield from grabs_of(source)
    finally:
        source.close()
