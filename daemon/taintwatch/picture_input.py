"""Pictures as the Python API takes them, one or many benign ones."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from taintwatch.sources.factory import open_source
from taintwatch.sources.images import IMAGE_SUFFIXES, as_bgr, files_below
from taintwatch_models.errors import SourceError, UsageError
from taintwatch_models.image_file import read_image
from taintwatch_models.preprocessing import Preprocessing

__all__ = ["BenignPixels", "Colours", "Image", "Picture", "benign_pixels", "read_picture"]

Image: TypeAlias = NDArray[np.uint8]
Picture: TypeAlias = str | Path | Image
"""A file, or (height, width, 3) uint8 in the channel order that is said beside it; grey and alpha are accepted."""
Colours: TypeAlias = Literal["rgb", "bgr"]


@dataclass(frozen=True, slots=True, eq=False)
class BenignPixels:
    """Pictures as a model sees them."""

    pixels: Image
    """(n, height, width, 3), in the model's channel order."""
    footage: bool
    """Whether neighbouring ones are alike."""
    description: str


def read_picture(picture: Picture, colours: Colours) -> Image:
    """Return a picture as (height, width, 3) uint8, blue-green-red. Raises `BadFrame`."""
    if not isinstance(picture, np.ndarray):
        return as_bgr(read_image(Path(picture)))
    image = as_bgr(picture)
    if picture.ndim == 3 and picture.shape[2] >= 3 and colours == "rgb":
        return np.ascontiguousarray(image[:, :, ::-1])
    return image


def benign_pixels(
    benign: str | Path | Iterable[Picture], preprocessing: Preprocessing, colours: Colours, most: int
) -> BenignPixels:
    """Read a folder, a video or pictures, thinned evenly to `most`. Raises `SourceError`, `BadFrame`, `UsageError`."""
    if most < 1:
        raise UsageError(f"most is {most}; it must be at least 1")
    footage, description = False, "pictures"
    if isinstance(benign, str | Path):
        path, description = Path(benign), str(benign)
        below = files_below(path, IMAGE_SUFFIXES) if path.is_dir() else ()
        footage = not below
        benign = below or _frames(path)
    pixels = (preprocessing.pixels(read_picture(one, "bgr" if footage else colours)) for one in benign)
    thinned = _thinned(pixels, most)
    if not thinned:
        raise SourceError(f"{description}: there is no picture in it")
    return BenignPixels(np.stack(thinned), footage, description)


def _frames(path: Path) -> Iterator[Image]:
    source = open_source(str(path))
    if source.live:
        raise UsageError(f"{path} never ends; record some minutes of it and learn from the video")
    source.open()
    try:
        while (grab := source.read()) is not None:
            yield as_bgr(grab.image)
    finally:
        source.close()


def _thinned(pictures: Iterable[Image], most: int) -> list[Image]:
    """Take every picture, then every second, then every fourth, ..., so that more than half of `most` remain."""
    taken: list[Image] = []
    stride = 1
    for index, picture in enumerate(pictures):
        if index % stride:
            continue
        if len(taken) == most:
            taken, stride = taken[::2], 2 * stride
            if index % stride:
                continue
        taken.append(picture)
    return taken
