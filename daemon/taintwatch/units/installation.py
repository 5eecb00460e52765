"""Putting files in place, all of them or none, and taking them away."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from enum import StrEnum
from pathlib import Path

from taintwatch_models.errors import TaintwatchError

__all__ = ["Standing", "place", "remove", "standing"]

MODE = 0o644


class Standing(StrEnum):
    """How a file in place compares with what would be installed."""

    SAME = "as it should be"
    DIFFERS = "differs"
    MISSING = "missing"


def standing(root: Path, files: Mapping[Path, str]) -> dict[Path, Standing]:
    """Compare what is in place below `root` with `files`."""
    return {path: _standing(root / path, text) for path, text in files.items()}


def place(root: Path, files: Mapping[Path, str], removed: Sequence[Path] = ()) -> None:
    """Write `files` below `root` and take `removed` away: all, or nothing is changed and `TaintwatchError` raised.

    Everything is written aside first, where a full disk or a missing permission shows. Then each is renamed into place,
    and should even that fail, what was there before comes back.
    """
    with ExitStack() as undo:
        try:
            parts = {root / path: _write_aside(root / path, text, undo) for path, text in files.items()}
            for path in (*parts, *(root / path for path in removed)):
                undo.callback(_bring_back, path, _content(path))
            for path, part in parts.items():
                part.replace(path)
            remove(root, removed)
        except OSError as error:
            raise TaintwatchError(
                f"nothing was installed: {error.filename or root} cannot be written ({error.strerror}); "
                "run it as root, or see --root"
            ) from error
        undo.pop_all()


def remove(root: Path, paths: Sequence[Path]) -> tuple[Path, ...]:
    """Remove what is there of `paths`, and the drop-ins' folders that are empty then. Return what was removed."""
    there = tuple(path for path in paths if (root / path).is_file())
    for path in there:
        (root / path).unlink()
        if path.parent.name.endswith(".d") and path.parent.name != "sysusers.d":
            with suppress(OSError):  # somebody else's drop-ins stay
                (root / path).parent.rmdir()
    return there


def _standing(path: Path, text: str) -> Standing:
    content = _content(path)
    if content is None:
        return Standing.MISSING
    return Standing.SAME if content == text.encode() else Standing.DIFFERS


def _content(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None


def _write_aside(path: Path, text: str, undo: ExitStack) -> Path:
    """Write the text beside its place, on the disk; it is taken away again should anything fail."""
    for folder in reversed(path.parents):
        if not folder.is_dir():
            folder.mkdir(mode=0o755)
            undo.callback(_remove_folder, folder)
    part = path.with_name(f".{path.name}.part")
    undo.callback(part.unlink, missing_ok=True)
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, MODE)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        os.fchmod(descriptor, MODE)  # whatever the umask is
        file.write(text)
        file.flush()
        os.fsync(descriptor)
    return part


def _remove_folder(folder: Path) -> None:
    with suppress(OSError):
        folder.rmdir()


def _bring_back(path: Path, content: bytes | None) -> None:
    if content is None:
        path.unlink(missing_ok=True)
    elif _content(path) != content:
        path.write_bytes(content)
