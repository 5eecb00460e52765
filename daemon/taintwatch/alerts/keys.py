"""CURVE key files and the list of clients: made with the right permissions, read strictly, never shown.

A file is a ZPL certificate as other ZeroMQ programs write it. `NAME.key` holds the public key, `NAME.key_secret` both.
"""

from __future__ import annotations

import errno
import logging
import os
import re
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import zmq

from taintwatch.secret_files import read_secret
from taintwatch_models.errors import ConfigError, UsageError
from taintwatch_models.storage import write_atomically

__all__ = [
    "AllowedClients",
    "KeyPair",
    "check_key_name",
    "check_public",
    "load_public",
    "load_secret",
    "make_key_pair",
    "write_public",
]

NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,63}")
Z85 = re.compile(r"[0-9a-zA-Z.\-:+=^!/*?&<>()\[\]{}@%$#]{40}")
ENTRY = re.compile(r'^\s*(public-key|secret-key)\s*=\s*"([^"]*)"\s*$', re.MULTILINE)
LARGEST = 10_000  # bytes
GONE = (errno.ENOENT, errno.ENOTDIR, errno.EACCES, errno.ELOOP)


@dataclass(frozen=True, slots=True)
class KeyPair:
    """A CURVE key pair, each key as 40 characters of Z85."""

    public: str
    secret: str = field(repr=False)


def make_key_pair(name: str, folder: Path) -> tuple[Path, Path, str]:
    """Write a new pair as `folder`/`name`.key (0644) and .key_secret (0600); return both paths and the public key.

    Nothing is ever overwritten. Raises `UsageError`.
    """
    check_key_name(name)
    public_path, secret_path = folder / f"{name}.key", folder / f"{name}.key_secret"
    for path in (public_path, secret_path):
        if path.exists():
            raise UsageError(f"{path} is there already. Take another name, or move it away if it is no longer needed.")
    public, secret = (key.decode() for key in zmq.curve_keypair())
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _write_new(secret_path, _certificate(public, secret), 0o600)
        _write_new(public_path, _certificate(public), 0o644)
    except OSError as error:
        raise UsageError(
            f"The keys cannot be written to {folder}: {error.strerror}. Give a folder of yours."
        ) from error
    return public_path, secret_path, public


def write_public(path: Path, public: str) -> None:
    """Write a public key's certificate, or replace it. Raises `OSError`."""
    write_atomically(path, _certificate(public), mode=0o644)


def load_secret(path: Path) -> KeyPair:
    """Read a key pair from a `.key_secret` file, as `read_secret` does. Raises `ConfigError`; no key stands in it."""
    keys = _parse(path, read_secret(path, "The secret key"))
    if "secret-key" not in keys:
        raise ConfigError(f"{path} holds no secret key. Give the .key_secret file that `taintwatch keys new` wrote.")
    secret = keys["secret-key"]
    public = zmq.curve_public(secret.encode()).decode()
    if keys.get("public-key", public) != public:
        raise ConfigError(f"The two keys in {path} do not belong together. Make a new pair with `taintwatch keys new`.")
    return KeyPair(public, secret)


def load_public(path: Path) -> str:
    """Read a public key (40 characters of Z85) from a `.key` or `.key_secret` file. Raises `ConfigError`."""
    try:
        with path.open("rb") as stream:
            keys = _parse(path, stream.read(LARGEST))
    except OSError as error:
        raise ConfigError(f"The public key {path} cannot be read: {error.strerror}.") from error
    if "public-key" not in keys:
        raise ConfigError(f"{path} holds no public key. Give the .key file that `taintwatch keys new` wrote.")
    return keys["public-key"]


def check_public(text: str) -> str:
    """Return `text` where it has the form of a public key. Raises `UsageError`."""
    if Z85.fullmatch(text) is None:
        raise UsageError("A public key has 40 characters of Z85, as `taintwatch keys new` prints it; this is none.")
    return text


def check_key_name(name: str) -> str:
    """Return `name` where it can name a key file. Raises `UsageError`."""
    if NAME.fullmatch(name) is None:
        raise UsageError(
            f"{name!r} cannot name a key. Take 1 to 64 letters, digits, dots, hyphens and underscores, no dot first."
        )
    return name


def _parse(path: Path, content: bytes) -> dict[str, str]:
    found = ENTRY.findall(content.decode("utf-8", "replace"))
    keys = dict(found)
    if len(keys) != len(found) or any(Z85.fullmatch(key) is None for key in keys.values()):
        raise ConfigError(f"{path} is not a key file, or is damaged: a key in it has not 40 characters of Z85.")
    return keys


def _certificate(public: str, secret: str | None = None) -> bytes:
    head = "a CURVE public key, for anyone" if secret is None else "a CURVE SECRET key: keep it to yourself"
    lines = [f"# Taintwatch: {head}", "metadata", "curve", f'    public-key = "{public}"']
    if secret is not None:
        lines.append(f'    secret-key = "{secret}"')
    return ("\n".join(lines) + "\n").encode()


def _write_new(path: Path, content: bytes, mode: int) -> None:
    """Write whole or not at all, and never over what is there, even where another process writes at the same time."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
        with os.fdopen(descriptor, "wb") as stream:
            os.fchmod(descriptor, mode)  # whatever the umask is
            stream.write(content)
            stream.flush()
            os.fsync(descriptor)
        path.hardlink_to(temporary)
    finally:
        temporary.unlink(missing_ok=True)


_log = logging.getLogger(__name__)


class AllowedClients:
    """The clients folder: one public key file for each. Any thread may ask; what is no key allows nobody.

    A file or folder that the system cannot read just now (no descriptor, an error of the disk) says nothing new: what
    was known of it still holds. Only what is gone, or is no key any more, is revoked.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._logged: set[str] = set()
        self._known: dict[str, str] = {}
        """File name -> key, as last read."""

    def check(self) -> None:
        """Raise `ConfigError` where the folder or a key in it cannot be read, or others can change it."""
        if not self.folder.is_dir():
            raise ConfigError(
                f"The folder of allowed clients {self.folder} is not there. "
                "Allow one with `taintwatch keys allow KEY --name NAME --clients FOLDER`."
            )
        try:
            files = self._files()
            for path in (self.folder, *files):
                _check_unchanged_by_others(path, path.stat())
        except OSError as error:
            raise ConfigError(f"{self.folder} cannot be read: {error.strerror}.") from error
        for path in files:
            load_public(path)

    def keys(self) -> Mapping[str, str]:
        """Return public key -> name as they are now. A file that is no key is left out and logged once."""
        try:
            files = self._files()
        except OSError as error:
            self._log_once(self.folder.name, f"The folder of allowed clients cannot be read now: {error.strerror}.")
            return {key: Path(name).stem for name, key in self._known.items()}
        known: dict[str, str] = {}
        for path in files:
            try:
                known[path.name] = load_public(path)
            except ConfigError as error:
                passes = isinstance(error.__cause__, OSError) and error.__cause__.errno not in GONE
                if passes and path.name in self._known:
                    known[path.name] = self._known[path.name]
                self._log_once(path.name, f"{error} This client is not let in.")
        self._known = known
        return {key: Path(name).stem for name, key in known.items()}

    def allow(self, name: str, public: str) -> None:
        """Add a client. Raises `UsageError` where the name is taken by another key, or the key by another name."""
        check_public(public)
        path = self._path(name)
        known = self.keys()
        if known.get(public, name) != name:
            raise UsageError(f"This key is allowed already, as '{known[public]}'.")
        if path.exists() and known.get(public) != name:
            raise UsageError(f"'{name}' is allowed already, with another key. Revoke it first, or take another name.")
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            write_public(path, public)
        except OSError as error:
            raise UsageError(f"{path} cannot be written: {error.strerror}.") from error

    def revoke(self, name: str) -> None:
        """Take a client off. Raises `UsageError` where there is none of that name."""
        path = self._path(name)
        try:
            path.unlink()
        except FileNotFoundError:
            there = ", ".join(sorted(self.keys().values())) or "none"
            raise UsageError(f"No client '{name}' is allowed in {self.folder}; there are: {there}.") from None
        except OSError as error:
            raise UsageError(f"{path} cannot be removed: {error.strerror}.") from error

    def _path(self, name: str) -> Path:
        return self.folder / f"{check_key_name(name)}.key"

    def _log_once(self, name: str, sentence: str) -> None:
        if name not in self._logged:
            self._logged.add(name)
            _log.error("%s", sentence)

    def _files(self) -> list[Path]:
        """Return the key files; none where there is no folder. Raises `OSError` where it cannot be read now."""
        try:
            files = list(self.folder.iterdir())
        except (FileNotFoundError, NotADirectoryError):
            return []
        return sorted(path for path in files if path.suffix == ".key" and not path.name.startswith("."))


def _check_unchanged_by_others(path: Path, status: os.stat_result) -> None:
    if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise ConfigError(f"{path} can be changed by other users, who could let themselves in. Run: chmod go-w {path}")
    if status.st_uid not in (0, os.geteuid()):
        raise ConfigError(f"{path} belongs to another user, who could let himself in. Give one of your own.")
