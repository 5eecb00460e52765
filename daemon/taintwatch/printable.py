"""Text made safe for terminals and logs: names, labels and reasons come from elsewhere."""

from __future__ import annotations

__all__ = ["escaped", "printable"]


def printable(text: str) -> str:
    """Return `text` without what a terminal would obey or a reader be misled by.

    Control characters (C0, C1, so escape sequences too), direction marks (U+202E), separators of lines (U+2028) and
    halves of surrogates become `?`.
    """
    return "".join(character if character.isprintable() else "?" for character in text)


def escaped(json: str) -> str:
    """Return JSON text with the same characters as `\\uXXXX`: a program reads what it read before."""
    if json.isprintable():
        return json
    return "".join(character if character.isprintable() else _escape(character) for character in json)


def _escape(character: str) -> str:
    units = character.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[at]:02x}{units[at + 1]:02x}" for at in range(0, len(units), 2))
