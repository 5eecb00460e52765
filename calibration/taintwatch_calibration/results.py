"""Result files: JSON documents and Markdown tables, each written whole or not at all."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from taintwatch_models.storage import write_atomically

__all__ = ["markdown_table", "write_json", "write_text"]

_WIDTH = 160


def write_text(path: Path, text: str) -> None:
    """Write a text file; its folder is made where it is missing. Raises `OSError`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, text.encode())


def write_json(path: Path, document: Any) -> None:
    """Write a JSON document; its folder is made where it is missing. Raises `OSError`, `TypeError`."""
    write_text(path, _lines(document, "") + "\n")


def _lines(value: Any, indent: str) -> str:
    """Return JSON whose lists and objects stand on one line where they fit, so that a cell is a line."""
    whole = json.dumps(value)
    if len(indent) + len(whole) <= _WIDTH or not isinstance(value, dict | list) or not value:
        return whole
    inner = indent + " "
    if isinstance(value, dict):
        parts = [f"{inner}{json.dumps(str(key))}: {_lines(each, inner)}" for key, each in value.items()]
    else:
        parts = [f"{inner}{_lines(each, inner)}" for each in value]
    opening, closing = "{}" if isinstance(value, dict) else "[]"
    return f"{opening}\n" + ",\n".join(parts) + f"\n{indent}{closing}"


def markdown_table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table in Markdown, with a line break at its end."""
    lines = [heads, ["---"] * len(heads), *rows]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)
