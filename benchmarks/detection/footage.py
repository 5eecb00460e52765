"""Real footage, evenly thinned, as the classifier sees it: learnt on its first half, measured on its second."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from taintwatch_models.preprocessing import Preprocessing

__all__ = ["read_clips"]

_SUFFIXES = {".mp4", ".avi", ".mkv", ".mov"}


def read_clips(data: Path, preprocessing: Preprocessing, each: int) -> dict[str, NDArray[np.uint8]]:
    """Return about twice `each` frames of every clip below DATA/videos and DATA/footage, in time: (n, H, W, 3).

    Clips with fewer than 200 usable frames are left out: a detector needs more to learn from.
    """
    found = {}
    for path in sorted(
        p for folder in ("videos", "footage") for p in (data / folder).glob("*") if p.suffix in _SUFFIXES
    ):
        frames = _frames(path, preprocessing, 2 * each)
        if len(frames) >= 260:
            found[path.stem] = np.stack(frames)
    return found


def _frames(path: Path, preprocessing: Preprocessing, most: int) -> list[NDArray[np.uint8]]:
    stream = cv2.VideoCapture(str(path))
    step = max(1, int(stream.get(cv2.CAP_PROP_FRAME_COUNT)) // most)
    frames, index = [], 0
    while True:
        there, frame = stream.read()
        if not there:
            break
        if index % step == 0:
            frames.append(preprocessing.pixels(np.asarray(frame, np.uint8)))
        index += 1
    stream.release()
    return frames
