"""Benign frames for calibrating: read from any source, laid onto the classifier's input, split in two fairly."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from taintwatch.sources.factory import open_source
from taintwatch.sources.images import FolderSource
from taintwatch_models.errors import BadFrame, UsageError
from taintwatch_models.preprocessing import Preprocessing

__all__ = ["BenignFrames", "batches_of", "read_benign", "split_in_blocks"]

_BLOCKS = 10


@dataclass(frozen=True, slots=True, eq=False)
class BenignFrames:
    """Frames that hold no attack, as the classifier sees them."""

    pixels: NDArray[np.uint8]
    """(frames, height, width, 3), in the model's channel order."""
    footage: bool
    """True: neighbours are alike (video); False: each is its own photograph."""
    bad: int
    """Frames that could not be used."""
    description: str


def read_benign(
    spec: str,
    preprocessing: Preprocessing,
    *,
    most: int = 2000,
    report: Callable[[int], None] | None = None,
) -> BenignFrames:
    """Read at most `most` frames from a folder, video or stream.

    A long video is thinned evenly: when the store is full, every other frame is dropped and from then on only every
    second (fourth, ...) is kept. `report` is told how many frames were read. Raises `SourceError`; `UsageError` where
    nothing could be used.
    """
    source = open_source(spec)
    kept: list[NDArray[np.uint8]] = []
    read, bad, step = 0, 0, 1
    source.open()
    try:
        while True:
            try:
                grab = source.read()
                if grab is None:
                    break
                pixels = preprocessing.pixels(grab.image) if read % step == 0 else None
            except BadFrame:
                bad += 1
                continue
            read += 1
            if pixels is not None:
                kept.append(pixels)
            if len(kept) > most:
                kept = kept[::2]
                step *= 2
                if source.live:
                    break
            if report is not None:
                report(read)
    finally:
        source.close()
    if not kept:
        raise UsageError(f"{source.description}: no usable frame was found ({bad} could not be read)")
    return BenignFrames(np.stack(kept), not isinstance(source, FolderSource), bad, source.description)


def batches_of(
    pixels: NDArray[np.uint8], preprocessing: Preprocessing, size: int = 16
) -> Iterator[tuple[int, NDArray[np.float32]]]:
    """Yield where each batch of (N, H, W, 3) pixels starts, and the model's inputs, (at most `size`, 3, H, W)."""
    for start in range(0, len(pixels), size):
        yield start, preprocessing.normalise(pixels[start : start + size])


def split_in_blocks(frames: BenignFrames, seed: int = 0) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return the indices to calibrate on and those held out, about half each.

    Photographs are drawn at random. Footage is cut into blocks of time that go to the two sides in turn: neighbouring
    frames are nearly the same, and a random draw would put copies on both sides.
    """
    count = len(frames.pixels)
    if frames.footage:
        blocks = np.array_split(np.arange(count), min(_BLOCKS, count))
        return np.concatenate(blocks[::2]), np.concatenate([np.empty(0, np.intp), *blocks[1::2]])
    order = list(range(count))
    random.Random(seed).shuffle(order)  # noqa: S311 (a reproducible split, not a secret)
    half = (count + 1) // 2
    return np.array(sorted(order[:half]), np.intp), np.array(sorted(order[half:]), np.intp)
