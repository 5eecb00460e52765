"""Tokens for what is served beyond loopback: read from files that only their owner may read."""

from __future__ import annotations

import stat
from pathlib import Path

from taintwatch_models.errors import ConfigError

__all__ = ["read_token"]

SHORTEST_TOKEN = 16


def read_token(path: Path, key: str, shortest: int = SHORTEST_TOKEN) -> str:
    """Return the token in the file that the configuration's `key` names.

    Raises `ConfigError` where others may read it, it is too short or not there.
    """
    try:
        mode = path.stat().st_mode
        text = path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not ASCII"
        raise ConfigError(f"{key} {path} cannot be read: {reason}") from None
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise ConfigError(f"{key} {path} can be read by others than its owner; chmod 600 it")
    if len(text) < shortest:
        raise ConfigError(f"{key} {path} holds fewer than {shortest} characters; make a longer one")
    return text
