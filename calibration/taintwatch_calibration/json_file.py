"""Versioned JSON files that describe dataclasses: written whole or not at all, read back with their types checked."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from taintwatch_models.errors import UsageError
from taintwatch_models.storage import write_atomically

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

__all__ = ["from_json", "read_json_file", "write_json_file"]

_T = TypeVar("_T")


def from_json(kind: type[_T], values: Any) -> _T:
    """Return a dataclass from `asdict`'s JSON. Raises `ValueError` naming the field that is missing or wrong."""
    try:
        return TypeAdapter(kind).validate_python(values)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ValueError(f"{where}: {first['msg'].lower()}" if where else first["msg"].lower()) from None


def read_json_file(path: Path, kind: type[_T], version: str, *, what: str, advice: str) -> _T:
    """Read a file of this version. `what` it is and what to do (`advice`) are said where that is impossible.

    Raises `UsageError`.
    """
    try:
        document: Any = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(document, dict) or document.pop("format", None) != version:
            raise ValueError(f"its format is not '{version}'")
        return from_json(kind, document)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UsageError(f"{path}: not a readable {what} ({reason}); {advice}") from None


def write_json_file(path: Path, value: DataclassInstance, version: str, *, indent: int | None = 1) -> None:
    """Write a dataclass with its version. Raises `UsageError`."""
    text = json.dumps({"format": version, **asdict(value)}, indent=indent) + "\n"
    try:
        write_atomically(path, text.encode())
    except OSError as error:
        raise UsageError(f"{path} cannot be written ({error.strerror or error}): choose another --out") from error
