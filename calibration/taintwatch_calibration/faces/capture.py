"""Where the photographs of a person come from: a folder or film, or a camera before which the person is guided."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from taintwatch.sources.source import Grab, Source, grabs_of
from taintwatch_models.errors import BadFrame

__all__ = ["STAGES", "guided", "photographs"]

STAGES = (
    "Look straight into the camera.",
    "Turn your head a little to the left.",
    "Turn your head a little to the right.",
    "Look straight again, in another light: switch a lamp on, or step towards the window.",
)
_EACH = 8  # usable pictures of a stage: 32 in all
_APART_S = 0.4
_LONGEST_S = 30.0  # of a stage

Picture = NDArray[np.uint8]


def photographs(source: Source) -> Iterator[Picture]:
    """Yield every picture of a source that ends. Raises `SourceError`."""
    source.open()
    try:
        while True:
            try:
                grab = source.read()
            except BadFrame:
                yield np.zeros((1, 1, 3), np.uint8)  # a file that is no picture has no face, and is counted so
                continue
            if grab is None:
                return
            yield grab.image
    finally:
        source.close()


def guided(
    source: Source,
    usable: Callable[[Picture], bool],
    say: Callable[[str], None],
    *,
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[Picture]:
    """Yield usable pictures from a camera, telling the person how to look: `_EACH` for each of the `STAGES`.

    A stage ends after `_LONGEST_S` seconds in any case. Raises `SourceError`.
    """
    source.open()
    try:
        for stage in STAGES:
            say(stage)
            yield from _stage(source, usable, clock)
    finally:
        source.close()


def _stage(source: Source, usable: Callable[[Picture], bool], clock: Callable[[], float]) -> Iterator[Picture]:
    kept = 0
    began = last = None
    for grab in grabs_of(source):
        now = _now(grab, clock)
        began = now if began is None else began
        if now - began > _LONGEST_S:
            return
        if last is None or now - last >= _APART_S:
            last = now
            if usable(grab.image):
                kept += 1
                yield grab.image
                if kept == _EACH:
                    return


def _now(grab: Grab, clock: Callable[[], float]) -> float:
    """Seconds: a film's own time, else the clock's."""
    return clock() if grab.media_s is None else grab.media_s
