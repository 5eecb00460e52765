"""General pictures: benign, varied, and of no site. The bundled ones are rendered; a folder of photographs will do too.

What is learnt from one camera alone calls everything new an attack, so a reference always rests on general pictures
as well. Nobody's photographs are shipped: the bundled pictures are dead leaves with natural spectra, textures, shaded
shapes and letters (Lee, Mumford and Huang, Occlusion Models for Natural Images, IJCV 2001; Baradad et al., Learning to
See by Looking at Noise, NeurIPS 2021: such pictures carry the statistics that networks need), made by
`python -m benchmarks.general_pictures`.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from taintwatch_models.bundled import bundled_path
from taintwatch_models.errors import BadFrame, UsageError
from taintwatch_models.image_file import read_image
from taintwatch_models.preprocessing import Preprocessing

__all__ = ["RENDERED", "general_pictures", "pack", "unpack"]

RENDERED = "rendered"
"""What a reference says it used where no folder was given."""
_FILE = "general.npz"
_LEAST = 100
_MOST = 400
_SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".bmp"}


def pack(pictures: NDArray[np.uint8], quality: int = 88) -> dict[str, NDArray[np.generic]]:
    """Code (N, H, W, 3) RGB pictures as JPEG: one array of bytes, and where each ends in it."""
    coded = [cv2.imencode(".jpg", rgb[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])[1].ravel() for rgb in pictures]
    return {"bytes": np.concatenate(coded), "ends": np.cumsum([len(part) for part in coded])}


def unpack(path: Path) -> Iterator[NDArray[np.uint8]]:
    """Yield the pictures of a packed file, (H, W, 3) in OpenCV's channel order."""
    with np.load(path, allow_pickle=False) as stored:
        data, ends = stored["bytes"], stored["ends"]
    for coded in np.split(data, ends[:-1]):
        yield np.asarray(cv2.imdecode(coded, cv2.IMREAD_COLOR), np.uint8)


def general_pictures(preprocessing: Preprocessing, folder: Path | None = None) -> NDArray[np.uint8]:
    """Return general pictures as the classifier sees them, (n, H, W, 3) in the model's channel order.

    `folder`: photographs of the user's in place of the rendered ones, at least 100; at most 400 are taken, evenly.
    Raises `UsageError`.
    """
    if folder is None:
        return np.stack([preprocessing.pixels(picture) for picture in unpack(bundled_path(_FILE))])
    if not folder.is_dir():
        raise UsageError(f"--general {folder}: no such folder")
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in _SUFFIXES)
    if len(paths) > _MOST:
        paths = [paths[index] for index in np.linspace(0, len(paths) - 1, _MOST).round().astype(int)]
    found = [pixels for path in paths if (pixels := _pixels(path, preprocessing)) is not None]
    if len(found) < _LEAST:
        raise UsageError(
            f"--general {folder}: {len(found)} usable pictures are too few to stand for the world; give at least "
            f"{_LEAST} varied photographs, or leave --general out to use the rendered ones"
        )
    return np.stack(found)


def _pixels(path: Path, preprocessing: Preprocessing) -> NDArray[np.uint8] | None:
    try:
        return preprocessing.pixels(read_image(path))
    except BadFrame:
        return None
