"""Images: what a picture must be to become a frame, and folders of them."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from taintwatch.sources.source import Grab
from taintwatch_models.errors import BadFrame, SourceError
from taintwatch_models.image_file import read_image

__all__ = [
    "IMAGE_SUFFIXES",
    "FolderContent",
    "FolderSource",
    "as_bgr",
    "files_below",
    "list_folder",
]

IMAGE_SUFFIXES = frozenset({
    ".avif", ".bmp", ".heic", ".heif", ".jp2", ".jpe", ".jpeg", ".jpg", ".pbm", ".pgm", ".png", ".pnm", ".ppm",
    ".tif", ".tiff", ".webp",
})  # fmt: skip


@dataclass(frozen=True, slots=True)
class FolderContent:
    """The files below a folder, at any depth, sorted by path; hidden ones do not count."""

    images: tuple[Path, ...]
    videos: tuple[Path, ...]
    others: tuple[Path, ...]
    """Files whose suffix is of neither kind, and links that lead nowhere."""
    unreadable: tuple[str, ...]
    """Subfolders that may not be listed, each with the reason."""

    @property
    def watches_videos(self) -> bool:
        """Whether its videos are what is watched: wherever there are any, but for GIFs among images."""
        return bool(self.videos) and not (self.images and all(path.suffix.lower() == ".gif" for path in self.videos))

    def left_out(self) -> tuple[str, ...]:
        """Return what is not watched and why, one sentence a kind."""
        said = []
        beside = self.images if self.watches_videos else self.videos
        if beside:
            kind = "image" if self.watches_videos else "animation"
            said.append(f"{_counted(beside, kind)} left out: give a kind of files a folder of its own to watch them")
        return (*said, *self.unusable())

    def unusable(self) -> tuple[str, ...]:
        """Return what cannot be watched in any folder and why, one sentence a kind."""
        said = []
        if self.others:
            said.append(f"{_counted(self.others, 'file')} left out, by their names neither images nor videos")
        return (*said, *(f"{problem}, left out" for problem in self.unreadable))


def _counted(paths: tuple[Path, ...], noun: str) -> str:
    kinds = Counter(path.suffix.lower() or "no suffix" for path in paths)
    listed = ", ".join(kind for kind, _ in kinds.most_common(4)) + (", ..." if len(kinds) > 4 else "")
    return f"{len(paths)} {noun}{'' if len(paths) == 1 else 's'} ({listed}; {paths[0].name} the first)"


def list_folder(folder: Path, video_suffixes: frozenset[str]) -> FolderContent:
    """Return what is below `folder`."""
    images, videos, others = list[Path](), list[Path](), list[Path]()
    unreadable: list[str] = []

    def refused(error: OSError) -> None:
        unreadable.append(f"{error.filename} cannot be listed ({error.strerror})")

    for path in _files(folder, refused):
        suffix = path.suffix.lower()
        is_file = path.is_file()
        kind = images if suffix in IMAGE_SUFFIXES else videos if suffix in video_suffixes else others
        (kind if is_file else others).append(path)
    return FolderContent(tuple(sorted(images)), tuple(sorted(videos)), tuple(sorted(others)), tuple(unreadable))


def _files(folder: Path, refused: object) -> Iterator[Path]:
    for parent, folders, names in os.walk(folder, onerror=refused, followlinks=True):  # type: ignore[arg-type]
        folders[:] = [name for name in folders if not name.startswith(".")]
        yield from (Path(parent, name) for name in names if not name.startswith("."))


def files_below(folder: Path, suffixes: frozenset[str]) -> tuple[Path, ...]:
    """Return the files below `folder` (at any depth, hidden ones left out) with one of `suffixes`, sorted by path."""
    return tuple(sorted(path for path in _files(folder, None) if path.suffix.lower() in suffixes and path.is_file()))


def as_bgr(image: NDArray[np.generic]) -> NDArray[np.uint8]:
    """Return `image` as (height, width, 3) uint8 blue-green-red; grey and BGRA are converted.

    Raises `BadFrame` for anything else: another type, another number of channels, no pixels.
    """
    if image.dtype != np.uint8:
        raise BadFrame(f"the picture holds {image.dtype} values where uint8 is needed")
    if image.ndim not in (2, 3) or image.size == 0:
        raise BadFrame(f"the picture has the shape {image.shape} where (height, width, 3) is needed")
    channels = 1 if image.ndim == 2 else image.shape[2]
    if channels == 3:
        return np.asarray(image, dtype=np.uint8)
    if channels == 1:
        return np.asarray(cv2.cvtColor(image, cv2.COLOR_GRAY2BGR), dtype=np.uint8)
    if channels == 4:
        return np.asarray(cv2.cvtColor(image, cv2.COLOR_BGRA2BGR), dtype=np.uint8)
    raise BadFrame(f"the picture has {channels} channels where 3 (or 1, or 4 with alpha) are needed")


class FolderSource:
    """The images of a folder, once or in an endless loop. They carry no time."""

    live = False

    def __init__(self, paths: tuple[Path, ...], description: str, *, loop: bool = False) -> None:
        self._paths = paths
        self._description = description
        self._loop = loop
        self._next = 0
        self._given_in_round = 0

    @property
    def description(self) -> str:
        """The folder's path."""
        return self._description

    def open(self) -> None:
        """Start with the first image. Raises `SourceError` where there is none."""
        if not self._paths:
            raise SourceError(f"{self._description} holds no image: put some in, or check the path")
        self._next = self._given_in_round = 0

    def read(self) -> Grab | None:
        """Return the next image; None after the last. Raises `BadFrame` for one that cannot be decoded.

        Raises `SourceError` where not one image of a whole round could be decoded.
        """
        if self._next == len(self._paths):
            if self._given_in_round == 0:
                raise SourceError(f"{self._description}: none of its {len(self._paths)} images can be decoded")
            if not self._loop:
                return None
            self._next = self._given_in_round = 0
        path = self._paths[self._next]
        self._next += 1
        image = read_image(path)
        self._given_in_round += 1
        return Grab(image)

    def close(self) -> None:
        """Nothing is held open between images."""
