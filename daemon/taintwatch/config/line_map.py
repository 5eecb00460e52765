"""On which line of a TOML text each key stands: `tomllib` gives values without positions.

The scanner reads text that `tomllib` has already accepted, so it only has to know where strings, comments and brackets
begin and end; it checks nothing.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping

__all__ = ["KeyPath", "line_numbers", "line_of"]

KeyPath = tuple[str | int, ...]
"""Keys from the outside in; an integer is a position in an array (or in an array of tables)."""

_BARE_END = " \t=.]\r\n"


def line_numbers(text: str) -> dict[KeyPath, int]:
    """Map every key, array element and table header of a valid TOML `text` to its 1-based line."""
    return _Scanner(text).scan()


def line_of(lines: Mapping[KeyPath, int], path: KeyPath) -> int | None:
    """Return the line of `path`, or of the nearest thing around it; None where even the outermost is not there."""
    for end in range(len(path), 0, -1):
        if path[:end] in lines:
            return lines[path[:end]]
    return None


class _Scanner:
    """One pass over a text. State: the position, the table that we are in, and how long each array of tables is."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._table: KeyPath = ()
        self._arrays: dict[KeyPath, int] = {}
        self._lines: dict[KeyPath, int] = {}

    def scan(self) -> dict[KeyPath, int]:
        while self._skip_blank(newlines=True):
            if self._peek() == "[":
                self._header()
            else:
                self._pair(self._table)
        return self._lines

    def _peek(self, length: int = 1) -> str:
        return self._text[self._at : self._at + length]

    def _skip_blank(self, *, newlines: bool) -> bool:
        """Skip spaces and comments (and line ends where wanted); False at the end of the text."""
        blank = " \t\r\n" if newlines else " \t"
        while self._at < len(self._text):
            if self._text[self._at] in blank:
                self._at += 1
            elif self._text[self._at] == "#":
                end = self._text.find("\n", self._at)
                self._at = len(self._text) if end < 0 else end
            else:
                return True
        return False

    def _mark(self, path: KeyPath, position: int) -> None:
        self._lines.setdefault(path, self._text.count("\n", 0, position) + 1)

    def _header(self) -> None:
        start = self._at
        double = self._peek(2) == "[["
        self._at += 2 if double else 1
        keys = self._dotted_key()
        self._at += 2 if double else 1
        path: KeyPath = ()
        for key in keys[:-1]:
            path = self._newest((*path, key))
        path = (*path, keys[-1])
        if double:
            self._arrays[path] = self._arrays.get(path, -1) + 1
            self._mark(path, start)
        self._table = self._newest(path)
        self._mark(self._table, start)

    def _newest(self, path: KeyPath) -> KeyPath:
        """A header that names an array of tables means its newest element."""
        return (*path, self._arrays[path]) if path in self._arrays else path

    def _dotted_key(self) -> list[str]:
        keys: list[str] = []
        while True:
            self._skip_blank(newlines=False)
            keys.append(self._key())
            self._skip_blank(newlines=False)
            if self._peek() != ".":
                return keys
            self._at += 1

    def _key(self) -> str:
        start = self._at
        if self._peek() in ('"', "'"):
            self._string()
            # tomllib undoes the escapes for us, as it did for the key that we shall be asked for.
            return next(iter(tomllib.loads(self._text[start : self._at] + " = 0")))
        while self._at < len(self._text) and self._text[self._at] not in _BARE_END:
            self._at += 1
        return self._text[start : self._at]

    def _pair(self, table: KeyPath) -> None:
        start = self._at
        path = table
        for key in self._dotted_key():
            path = (*path, key)
            self._mark(path, start)
        self._at += 1  # the equals sign
        self._skip_blank(newlines=False)
        self._value(path)

    def _value(self, path: KeyPath) -> None:
        first = self._peek()
        if first in ('"', "'"):
            self._string()
        elif first == "[":
            self._array(path)
        elif first == "{":
            self._inline_table(path)
        else:
            while self._at < len(self._text) and self._text[self._at] not in ",]}#\r\n":
                self._at += 1

    def _string(self) -> None:
        quote = self._peek()
        triple = self._peek(3) == quote * 3
        end = quote * 3 if triple else quote
        self._at += len(end)
        while self._at < len(self._text) and not self._text.startswith(end, self._at):
            self._at += 2 if quote == '"' and self._peek() == "\\" else 1
        self._at += len(end)
        while triple and self._peek() == quote:  # up to two quotes may stand right before the closing three
            self._at += 1

    def _array(self, path: KeyPath) -> None:
        self._at += 1
        index = 0
        while self._skip_blank(newlines=True) and self._peek() != "]":
            self._mark((*path, index), self._at)
            self._value((*path, index))
            index += 1
            self._skip_blank(newlines=True)
            self._at += self._peek() == ","
        self._at += 1

    def _inline_table(self, path: KeyPath) -> None:
        self._at += 1
        while self._skip_blank(newlines=True) and self._peek() != "}":
            self._pair(path)
            self._skip_blank(newlines=True)
            self._at += self._peek() == ","
        self._at += 1
