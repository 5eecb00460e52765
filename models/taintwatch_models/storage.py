"""Files that are written whole or not at all, and read within bounds."""

from __future__ import annotations

import json
import math
import os
import stat
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from pydantic import ConfigDict, TypeAdapter, ValidationError

__all__ = ["STORED", "Stored", "parse_json", "read_bounded", "read_json", "validated", "write_atomically"]

STORED = ConfigDict(extra="forbid")
"""`__pydantic_config__` of a dataclass that is stored: keys that it does not know are refused."""
LONGEST_NUMBER = 40  # characters; what no sensible file has

Stored = TypeVar("Stored")


def read_bounded(path: Path, most_bytes: int) -> bytes:
    """Read a regular file of at most `most_bytes`. Raises `OSError`, and `ValueError` for anything else.

    A pipe or a device is refused without waiting for it.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    with os.fdopen(descriptor, "rb") as stream:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise ValueError("it is not a regular file")
        content = stream.read(most_bytes + 1)
    if len(content) > most_bytes:
        raise ValueError(f"it is larger than {most_bytes} bytes")
    return content


def read_json(path: Path, most_bytes: int) -> Any:
    """Read strict JSON from a regular file of at most `most_bytes`. Raises `OSError` or `ValueError`."""
    return parse_json(read_bounded(path, most_bytes))


def parse_json(text: bytes) -> Any:
    """Parse strict JSON whose numbers are finite and of sensible length. Raises `ValueError`, and nothing else."""
    try:
        return json.loads(text.decode(), parse_constant=_refuse, parse_float=_finite, parse_int=_sensible)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def validated(kind: type[Stored], document: Any) -> Stored:
    """Build a dataclass from parsed JSON, strictly. Raises `ValueError` naming the first key that is wrong."""
    try:
        return TypeAdapter(kind).validate_json(json.dumps(document), strict=True)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        where = ": ".join(str(part) for part in first["loc"])
        if first["type"] == "unexpected_keyword_argument":
            raise ValueError(f"unknown key '{where}'") from None
        raise ValueError(f"{where} has value {str(first['input'])[:80]}: {first['msg']}") from None


def write_atomically(path: Path, content: bytes | Iterable[bytes | memoryview], *, mode: int = 0o644) -> None:
    """Write to a temporary file beside `path`, flush it to disk, then rename; pieces as they come. Raises `OSError`."""
    descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            for piece in (content,) if isinstance(content, bytes) else content:
                stream.write(piece)
            stream.flush()
            os.fsync(stream.fileno())
        Path(temporary).chmod(mode)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not a number")


def _finite(number: str) -> float:
    value = float(number)
    if not math.isfinite(value):
        raise ValueError(f"{number[:LONGEST_NUMBER]} is out of range")
    return value


def _sensible(number: str) -> int:
    if len(number) > LONGEST_NUMBER:
        raise ValueError(f"a number has {len(number)} digits")
    return int(number)
