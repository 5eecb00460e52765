"""Images: reading a file, what a picture must be to become a frame, and folders of them."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from taintwatch.sources.source import Grab
from taintwatch_models.errors import BadFrame, SourceError

__all__ = ["IMAGE_SUFFIXES", "FolderSource", "as_bgr", "files_below", "read_image"]

IMAGE_SUFFIXES = frozenset({".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"})


def files_below(folder: Path, suffixes: frozenset[str]) -> tuple[Path, ...]:
    """Return the files below `folder` (at any depth, hidden ones left out) with one of `suffixes`, sorted by path."""
    found = (
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in suffixes
        and path.is_file()
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    )
    return tuple(sorted(found))


def read_image(path: Path, flags: int = cv2.IMREAD_COLOR) -> NDArray[np.uint8]:
    """Return the image, turned as its EXIF says; `flags` are `cv2.imdecode`'s. Raises `BadFrame`."""
    try:
        data = np.fromfile(path, dtype=np.uint8)
    except OSError as error:
        raise BadFrame(f"{path} cannot be read: {error.strerror}") from error
    if data.size == 0:
        raise BadFrame(f"{path} is empty (0 bytes)")
    try:
        image = cv2.imdecode(data, flags)
    except cv2.error:  # such as more pixels than OpenCV accepts
        image = None
    if image is None:
        raise BadFrame(f"{path} is not an image that can be decoded")
    return np.asarray(image)


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
