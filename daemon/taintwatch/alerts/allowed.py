"""The list of clients that may connect: a folder with one public key file for each, read afresh whenever it matters."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path

from taintwatch.alerts.keys import check_key_name, check_public, load_public, write_public
from taintwatch_models.errors import ConfigError, UsageError

__all__ = ["AllowedClients"]

_log = logging.getLogger(__name__)


class AllowedClients:
    """The clients folder. Any thread may ask; whatever cannot be read allows nobody."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._told: set[str] = set()

    def check(self) -> None:
        """Raise `ConfigError` where the folder or a key in it cannot be read: at the start it is a mistake."""
        if not self.folder.is_dir():
            raise ConfigError(
                f"The folder of allowed clients {self.folder} is not there. "
                "Allow one with `taintwatch keys allow KEY --name NAME --clients FOLDER`."
            )
        for path in self._files():
            load_public(path)

    def keys(self) -> Mapping[str, str]:
        """Return public key -> name as they are now. An unreadable file is left out and said once."""
        keys = {}
        for path in self._files():
            try:
                keys[load_public(path)] = path.stem
            except ConfigError as error:
                if path.name not in self._told:
                    self._told.add(path.name)
                    _log.error("%s This client is not let in.", error)
        return keys

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

    def _files(self) -> list[Path]:
        try:
            return sorted(path for path in self.folder.glob("*.key") if not path.name.startswith("."))
        except OSError:
            return []
