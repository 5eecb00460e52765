"""Where pictures and clips lie: in the evidence folder, in one that daemons share, or in an S3-compatible store."""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path, PurePosixPath
from typing import Any, Protocol

from taintwatch.evidence.private_file import PART
from taintwatch_models.errors import ConfigError

__all__ = [
    "EVENT_ID",
    "LocalMedia",
    "Media",
    "MediaFile",
    "MediaStore",
    "RemoteMedia",
    "media_store_of",
]

EVENT_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
ENDLESS = 1 << 62  # bytes: a store on the network says not how much is free


@dataclass(frozen=True, slots=True)
class MediaFile:
    """One picture or clip."""

    name: str
    address: str
    """Its path, or its URL in a store on the network."""
    bytes: int

    @property
    def stem(self) -> str:
        """The name without its ending."""
        return self.name.partition(".")[0]


@dataclass(frozen=True, slots=True)
class Media:
    """The pictures and the clip of one alert."""

    event_id: str
    files: tuple[MediaFile, ...]
    """Sorted by name."""
    bytes: int
    changed_ns: int
    """When something was last put there: `time.time_ns()`."""


class MediaStore(Protocol):
    """Keeps files by alert and name. Whatever fails raises `OSError`; an id that cannot name a folder `ValueError`."""

    shared: bool
    """Whether other daemons keep theirs there too: then what is unknown is not ours to remove."""

    def prepare(self) -> None:
        """Make the place where it is not there."""
        ...

    def media_of(self, event_id: str) -> Media | None:
        """Return what there is of an alert, if anything."""
        ...

    def all(self, known: Iterable[str]) -> Iterator[Media]:
        """Yield what there is: of every alert; of these `known` ones alone where the place is shared."""
        ...

    def put(self, event_id: str, name: str, make: Callable[[Path], object]) -> None:
        """Keep what `make` writes to the path that it is given, whole or not at all."""
        ...

    def local(self, event_id: str, name: str, scratch: Path) -> Path | None:
        """Return a file on this machine with that content, copied to `scratch` where need be; None: there is none."""
        ...

    def remove(self, event_id: str) -> None:
        """Remove an alert's files."""
        ...

    def remove_unfinished(self) -> None:
        """Remove what a killed process was writing."""
        ...

    def free_bytes(self) -> int:
        """Return the room that is left."""
        ...


class LocalMedia:
    """A folder on this machine's disk, or mounted: EVENT_ID/{frame.jpg,overlay.jpg,clip.mp4}, for its owner alone."""

    def __init__(self, root: Path, *, shared: bool = False) -> None:
        self.root = root
        self.shared = shared

    def prepare(self) -> None:
        """Make the folder, 0700."""
        self.root.mkdir(mode=0o700, parents=self.shared, exist_ok=True)

    def of(self, event_id: str) -> Path:
        """Return the folder of an alert's files. Raises `ValueError` where the id cannot name one."""
        return self.root / _checked(event_id)

    def media_of(self, event_id: str) -> Media | None:
        """Return what there is of an alert, if anything."""
        try:
            return _look(self.of(event_id))
        except (OSError, ValueError):
            return None

    def all(self, known: Iterable[str]) -> Iterator[Media]:
        """Yield what there is: of every alert, or of these alone."""
        try:
            names = sorted(known) if self.shared else sorted(path.name for path in self.root.iterdir())
        except OSError:
            return
        for name in names:
            media = self.media_of(name)
            if media is not None:
                yield media

    def put(self, event_id: str, name: str, make: Callable[[Path], object]) -> None:
        """Keep what `make` writes."""
        make(self.of(event_id) / name)

    def local(self, event_id: str, name: str, scratch: Path) -> Path | None:
        """Return the file itself."""
        path = self.of(event_id) / name
        return path if path.is_file() and not path.is_symlink() else None

    def remove(self, event_id: str) -> None:
        """Remove an alert's folder."""
        try:
            shutil.rmtree(self.of(event_id))
        except FileNotFoundError:
            return

    def remove_unfinished(self) -> None:
        """Remove what a killed process was writing; in a shared folder others may still be writing theirs."""
        for path in () if self.shared else self.root.glob(f"*/*{PART}"):
            path.unlink(missing_ok=True)

    def free_bytes(self) -> int:
        """Return what is free on its disk."""
        return shutil.disk_usage(self.root if self.root.is_dir() else self.root.parent).free


class RemoteMedia:
    """An S3-compatible store, or any other that fsspec knows. Shared: each alert's id is its own.

    Credentials are not in the address: s3fs takes them from the environment, or AWS's files.
    """

    shared = True

    def __init__(self, address: str) -> None:
        """Raises `ConfigError` where fsspec, or its part for this kind of store, is missing."""
        try:
            import fsspec

            self._files: Any
            self._files, self._root = fsspec.core.url_to_fs(address)
        except ImportError as error:
            raise ConfigError(
                f"[evidence] media: {address.partition('://')[0]}:// needs more packages ({error.name or error}). Run:"
                " pip install 'taintwatch[fleet]'"
            ) from error
        except ValueError as error:
            raise ConfigError(f"[evidence] media: {error}.") from error

    def prepare(self) -> None:
        """Make the folder, where the store has such."""
        self._files.makedirs(self._root, exist_ok=True)

    def media_of(self, event_id: str) -> Media | None:
        """Return what there is of an alert, if anything."""
        try:
            place = f"{self._root}/{_checked(event_id)}"
            self._files.invalidate_cache(place)
            found = self._files.ls(place, detail=True)
        except (OSError, ValueError):
            return None
        return self._media(event_id, found) if found else None

    def all(self, known: Iterable[str]) -> Iterator[Media]:
        """Yield what there is of these alerts, by one listing of the store."""
        wanted = set(known)
        self._files.invalidate_cache(self._root)
        by_event: dict[str, list[dict[str, Any]]] = {}
        for path, info in self._files.find(self._root, detail=True).items():
            event_id = PurePosixPath(path).parent.name
            if event_id in wanted:
                by_event.setdefault(event_id, []).append(info)
        for event_id, found in sorted(by_event.items()):
            yield self._media(event_id, found)

    def put(self, event_id: str, name: str, make: Callable[[Path], object]) -> None:
        """Keep what `make` writes: made here, then sent; a store shows a file only when it is whole."""
        with tempfile.TemporaryDirectory(prefix="taintwatch-media-") as folder:
            path = Path(folder) / name
            make(path)
            place = f"{self._root}/{_checked(event_id)}"
            self._files.makedirs(place, exist_ok=True)
            self._files.put_file(str(path), f"{place}/{name}")

    def local(self, event_id: str, name: str, scratch: Path) -> Path | None:
        """Fetch a file to `scratch`."""
        target = scratch / f"{_checked(event_id)}-{name}"
        try:
            self._files.get_file(f"{self._root}/{event_id}/{name}", str(target))
        except FileNotFoundError:
            return None
        return target

    def remove(self, event_id: str) -> None:
        """Remove an alert's files."""
        try:
            self._files.rm(f"{self._root}/{_checked(event_id)}", recursive=True)
        except FileNotFoundError:
            return

    def remove_unfinished(self) -> None:
        """Do nothing: a file is there when it is whole."""

    def free_bytes(self) -> int:
        """Return a number that no limit reaches."""
        return ENDLESS

    def _media(self, event_id: str, found: list[dict[str, Any]]) -> Media:
        files = sorted(
            (
                MediaFile(PurePosixPath(info["name"]).name, self._files.unstrip_protocol(info["name"]), info["size"])
                for info in found
                if info["type"] == "file"
            ),
            key=lambda file: file.name,
        )
        changed = max((_changed_ns(info) for info in found), default=0)
        return Media(event_id, tuple(files), sum(file.bytes for file in files), changed)


def media_store_of(address: str) -> MediaStore:
    """Return where `[evidence] media` says that pictures lie: a folder that daemons share, or a URL of fsspec's."""
    return RemoteMedia(address) if "://" in address else LocalMedia(Path(address), shared=True)


def _checked(event_id: str) -> str:
    if EVENT_ID.fullmatch(event_id) is None:
        raise ValueError(f"{event_id!r} cannot name a folder")
    return event_id


def _look(folder: Path) -> Media:
    paths = sorted(path for path in folder.iterdir() if path.suffix != PART)
    files = tuple(MediaFile(path.name, str(path), path.stat().st_size) for path in paths)
    return Media(folder.name, files, sum(file.bytes for file in files), folder.stat().st_mtime_ns)


def _changed_ns(info: dict[str, Any]) -> int:
    """Return when a file was changed, as far as the store says: by name and type they differ."""
    when = info.get("LastModified", info.get("mtime", info.get("created", 0)))
    seconds = when.timestamp() if isinstance(when, datetime) else float(when or 0)
    return round(seconds * 1e9)
