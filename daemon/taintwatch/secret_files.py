"""Secrets that lie in files: the owner's alone, or systemd's credentials; never shown, never taken from elsewhere."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from taintwatch_models.errors import ConfigError

__all__ = ["is_credential", "read_secret", "read_token"]

CREDENTIALS = "CREDENTIALS_DIRECTORY"
LARGEST = 10_000  # bytes
SHORTEST_TOKEN = 16
OF_OTHERS = stat.S_IRWXO | stat.S_IWGRP | stat.S_IXGRP


def read_secret(path: Path, what: str) -> bytes:
    """Return what a regular file of ours, or of root's, holds that nobody else may read or change.

    A bare file name is looked for in systemd's credentials folder (`LoadCredential=`) first. Its files may show
    group-read: the mask of an access list. `what` names it in the `ConfigError` that is raised.
    """
    folder = os.environ.get(CREDENTIALS)
    if folder is not None and (is_credential(str(path)) or (len(path.parts) == 1 and not path.exists())):
        path = Path(folder) / path
    inside = folder is not None and path.parent.resolve() == Path(folder).resolve()
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            _check(path, os.fstat(descriptor), what, OF_OTHERS if inside else OF_OTHERS | stat.S_IRGRP)
            return os.read(descriptor, LARGEST)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise ConfigError(f"{what} {path} cannot be read: {error.strerror}.") from error


def is_credential(name: str) -> bool:
    """Whether systemd gave us a credential of this bare name. Never raises."""
    folder = os.environ.get(CREDENTIALS)
    try:
        return folder is not None and len(Path(name).parts) == 1 and (Path(folder) / name).is_file()
    except (OSError, ValueError):
        return False


def read_token(path: Path, key: str, shortest: int = SHORTEST_TOKEN) -> str:
    """Return the token in the file that the configuration's `key` names.

    Raises `ConfigError` where others may read it, it is too short or not there.
    """
    try:
        text = read_secret(path, key).decode("ascii").strip()
    except UnicodeDecodeError:
        raise ConfigError(f"{key} {path} cannot be read: not ASCII") from None
    if len(text) < shortest:
        raise ConfigError(f"{key} {path} holds fewer than {shortest} characters; make a longer one")
    return text


def _check(path: Path, status: os.stat_result, what: str, others: int) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise ConfigError(f"{what} {path} is not a file.")
    if status.st_mode & others:
        raise ConfigError(f"{what} {path} can be read or changed by other users. Run: chmod 600 {path}")
    if status.st_uid not in (0, os.geteuid()):
        raise ConfigError(f"{what} {path} belongs to another user, who can change it. Give one of your own.")
