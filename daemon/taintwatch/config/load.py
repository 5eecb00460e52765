"""From TOML text and command-line flags to a `Config`, with mistakes told as file, line, key and value."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from taintwatch.config.complaint import complaint
from taintwatch.config.line_map import KeyPath, line_numbers, line_of
from taintwatch.config.sections import Config
from taintwatch.secret_files import is_credential
from taintwatch_models.errors import ConfigError, UsageError

__all__ = ["Examination", "examine", "is_there", "load_config", "parse_config", "read_text"]

MAX_BYTES = 1_000_000
MOST_ROUNDS = 8  # of looking again at what is left
STAND_INS = {"name": "left-out-{}", "source": "sim:"}
"""What stands for a camera's key that is wrong and must be given."""
EVERY = "*"
PATHS = {
    "model": ("path", "preprocessing", "labels", "calibration", "reference", "cmag", "signed_by"),
    "camera": ("source",),
    "detect": ("fill",),
    "objects": ("model", "labels", "preprocessing", "reference"),
    "evidence": ("database_password_file",),
    "nats": ("credentials", "password_file", "token_file", "tls_ca"),
    "metrics": ("token_file",),
    "publish.curve": ("key",),
    "web": ("token_file", "certificate", "private_key"),
}
"""Keys that may name a file."""
FOLDERS = {
    "publish.curve": ("clients",),
    "evidence": ("folder", "media"),
    "web": ("trials",),
    "footage": ("done",),
    "learn": ("folder",),
    "fleet": ("status_file",),
}
"""Keys that name a folder, there already or not; a URL stays as it is."""


def load_config(path: Path | None, flags: Mapping[KeyPath, tuple[str, Any]] | None = None) -> Config:
    """Read the configuration file (none: the defaults) and lay the command line's flags over it.

    `flags` maps a key path to (the flag's name, its value); `*` in a path stands for every camera.
    Relative paths in the file are taken from the file's folder, those on the command line from the working folder.
    Raises `ConfigError` for a mistake in the file and `UsageError` for one on the command line or a missing file.
    """
    text = "" if path is None else read_text(path)
    return parse_config(text, "flags" if path is None else path.name, path and path.parent, flags)


def parse_config(
    text: str,
    name: str,
    folder: Path | None = None,
    flags: Mapping[KeyPath, tuple[str, Any]] | None = None,
) -> Config:
    """Parse TOML `text`, called `name` in messages. Raises `ConfigError` or, for a flag, `UsageError`; nothing else."""
    examined = examine(text, name, folder, flags)
    if examined.config is not None and not examined.mistakes:
        return examined.config
    error, sentence = examined.mistakes[0]
    if len(examined.mistakes) > 1:
        sentence += f" (and {len(examined.mistakes) - 1} more; `taintwatch config check` lists all)"
    raise error(sentence)


@dataclass(frozen=True, slots=True)
class Examination:
    """What is wrong with a text, and the rest of it as a configuration."""

    config: Config | None
    """What is left when each key that is wrong is left out; None where that says nothing."""
    mistakes: tuple[tuple[type[ConfigError] | type[UsageError], str], ...]
    """Whose mistake each is, and the sentence."""
    wrong: tuple[KeyPath, ...]
    """The keys that were left out."""
    name: str
    lines: Mapping[KeyPath, int]

    def place(self, key: KeyPath) -> str:
        """Return `FILE, line N: key` for a key of the configuration, or the nearest that the file has."""
        line = line_of(self.lines, key)
        where = self.name if line is None else f"{self.name}, line {line}"
        return f"{where}: {_dotted(key)}"

    def left_out(self, key: KeyPath) -> bool:
        """Whether `key`, something in it or what it belongs to was left out: nothing can be said of it then."""
        return any(key[: len(wrong)] == wrong[: len(key)] for wrong in self.wrong)


def examine(
    text: str,
    name: str,
    folder: Path | None = None,
    flags: Mapping[KeyPath, tuple[str, Any]] | None = None,
) -> Examination:
    """Find every mistake in a TOML `text`: what is wrong is left out, and the rest looked at again."""
    flags = flags or {}
    values, found = _values(text, name, folder, flags)
    if values is None:
        return Examination(None, tuple(found), (), name, {})
    lines, wrong = line_numbers(text), list[KeyPath]()
    for _ in range(MOST_ROUNDS):
        try:
            return Examination(Config.model_validate(values), tuple(found), tuple(wrong), name, lines)
        except ValidationError as error:
            new = [dict(problem) for problem in error.errors()]
        found += [_tell(problem, name, lines, flags) for problem in new]
        paths = [_culprit(problem) for problem in new]
        wrong += paths
        left_out = [_leave_out(values, path) for path in paths]
        if not all(left_out):
            break
    return Examination(None, tuple(found), tuple(wrong), name, lines)


def _culprit(problem: Mapping[str, Any]) -> KeyPath:
    """Return the key to leave out; of a mistake between tables the one that its sentence begins with."""
    path = tuple(problem["loc"])
    return path or (complaint(problem).partition(".")[0],)


def _leave_out(values: Any, path: KeyPath) -> bool:
    """Take a key out of the tree, or put a stand-in where it must be given; False where it is not there."""
    for key in path[:-1]:
        try:
            values = values[key]
        except (KeyError, IndexError, TypeError):
            return False
    key = path[-1]
    if isinstance(values, dict) and key in STAND_INS and path[0] == "camera":
        values[key] = STAND_INS[str(key)].format(path[1])
        return True
    if isinstance(values, dict) and key in values:
        del values[key]
        return True
    return False


def read_text(path: Path) -> str:
    """Return the text of a configuration file. Raises `UsageError` or `ConfigError`."""
    try:
        if path.stat().st_size > MAX_BYTES:
            raise ConfigError(f"{path}: larger than {MAX_BYTES} bytes, so not a configuration of Taintwatch")
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise UsageError(f"{path}: no such file; `taintwatch config example` prints one to start from") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path}: not UTF-8 text; a configuration is a TOML file") from None
    except OSError as error:
        raise UsageError(f"{path}: cannot be read ({error.strerror})") from None


_Found = list[tuple[type[ConfigError] | type[UsageError], str]]


def _values(
    text: str, name: str, folder: Path | None, flags: Mapping[KeyPath, tuple[str, Any]]
) -> tuple[dict[str, Any] | None, _Found]:
    """Return the tree of a TOML text with the flags laid over it, or why it is no TOML."""
    try:
        values = tomllib.loads(text)
    except RecursionError:
        return None, [(ConfigError, f"{name}: nested too deeply")]
    except ValueError as error:  # TOMLDecodeError, and integers longer than Python converts
        return None, [(ConfigError, _syntax(text, name, str(error)))]
    if folder is not None:
        _root_paths(values, folder)
    for path, (_, value) in flags.items():
        _lay(values, path, value)
    return values, []


def _syntax(text: str, name: str, message: str) -> str:
    """Turn tomllib's `... (at line 3, column 7)` or `... (at end of document)` round."""
    what, _, where = message.rpartition(" (at ")
    if where.startswith("line"):
        return f"{name}, {where.split(',')[0]}: not TOML: {what}"
    if where.startswith("end"):
        return f"{name}, line {text.count(chr(10)) + 1}: not TOML: {what}"
    return f"{name}: not TOML: {message.partition(';')[0]}"


def _tell(
    problem: Mapping[str, Any],
    name: str,
    lines: Mapping[KeyPath, int],
    flags: Mapping[KeyPath, tuple[str, Any]],
) -> tuple[type[ConfigError] | type[UsageError], str]:
    """Say one of pydantic's findings as a sentence, and whose mistake it is."""
    path = tuple(problem["loc"])
    sentence = complaint(problem)
    # The longest path first: of a camera made by one flag, another may have set the key that is wrong.
    flag = next((given for key, (given, _) in sorted(flags.items(), key=_longest) if _concerns(key, path)), "")
    if flag:
        return UsageError, f"{flag}: {sentence}"
    line = _line(lines, path, sentence)
    key = _dotted(path)
    where = f"{name}, line {line}" if line else name
    return ConfigError, f"{where}: {key}: {sentence}" if key else f"{where}: {sentence}"


def _line(lines: Mapping[KeyPath, int], path: KeyPath, sentence: str) -> int | None:
    """Return the line of a key; of the key that the sentence quotes, where it is the whole table that is wrong."""
    quoted = re.search(r"'(\w+)'", sentence)
    inner = (*path, quoted[1]) if quoted else path
    return lines[inner] if inner in lines else line_of(lines, path)


def _dotted(path: Sequence[str | int]) -> str:
    """Return `camera.2.source` for ("camera", 1, "source"): people count from one."""
    return ".".join(str(part + 1) if isinstance(part, int) else _key(part) for part in path)


def _key(key: str) -> str:
    """Return a key as TOML would have it: quoted, and on one line, where it is not plain."""
    return key if re.fullmatch("[A-Za-z0-9_-]{1,40}", key) else json.dumps(key)[:40]


def _lay(values: Any, path: Sequence[str | int], value: Any) -> None:
    """Put one flag's value into the tree that the file gave; into every element of an array where the path has `*`."""
    key, rest = str(path[0]), path[1:]
    if key == EVERY:
        for element in values if isinstance(values, list) else ():
            _lay(element, rest, value)
    elif isinstance(values, dict) and rest:
        if not isinstance(values.get(key), dict | list):
            values[key] = {}
        _lay(values[key], rest, value)
    elif isinstance(values, dict):
        values[key] = value


def _longest(flag: tuple[KeyPath, Any]) -> int:
    return -len(flag[0])


def _concerns(flag: KeyPath, path: KeyPath) -> bool:
    """Whether a mistake at `path` lies in what `flag` set, or in the table that it belongs to."""
    return all(given in (EVERY, found) for given, found in zip(flag, path, strict=False))


def _root_paths(values: dict[str, Any], folder: Path) -> None:
    """Make relative file names start from the configuration's folder."""
    for table, keys in PATHS.items():
        for section in _tables(values, table):
            section.update({key: _rooted(section[key], folder) for key in keys if key in section})
    for table, keys in FOLDERS.items():
        for section in _tables(values, table):
            named = {key: section[key] for key in keys if isinstance(section.get(key), str) and section[key]}
            section.update({key: str(folder / name) for key, name in named.items() if "://" not in name})


def _tables(values: dict[str, Any], dotted: str) -> list[dict[str, Any]]:
    """Return the tables of that name: of an array of tables each one, and none where it is something else."""
    found: Any = values
    for part in dotted.split("."):
        found = found.get(part) if isinstance(found, dict) else None
    return [section for section in (found if isinstance(found, list) else [found]) if isinstance(section, dict)]


def _rooted(value: Any, folder: Path) -> Any:
    """Return `value` below `folder` where it names something that is there; anything else is left as it is.

    So is the name of a credential: the file of that name beside the configuration may be root's alone.
    """
    if isinstance(value, str) and is_credential(value):
        return value
    if isinstance(value, str) and value and is_there(folder / value):
        return str(folder / value)
    return value


def is_there(path: Path) -> bool:
    """Whether `path` exists; False too for text that no file system would take as a name. Never raises."""
    try:
        return path.exists()
    except (OSError, ValueError):
        return False
