"""A score sequence: what the detector said of every frame of one stream, and what was really there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from benchmarks.votes.scenes import LIGHTS

__all__ = ["Half", "Halves", "Stream", "halves", "stream_from_json"]


@dataclass(frozen=True, slots=True)
class Stream:
    """One stream's scores. JSON-ready."""

    kind: str
    """`benign` (simulated), `footage` (real, benign) or `attack`."""
    name: str
    scores: tuple[float, ...]
    """One for each frame; larger is more suspicious. Empty where an attack fooled nobody and was not simulated."""
    light: str = ""
    appears: int = 0
    """Attack: first frame with the patch."""
    fooled: tuple[bool, ...] = ()
    """Attack: for each frame whether the patch is there and the label is wrong."""
    patch: str = ""
    how: str = ""
    size: float = 0.0
    """Attack: the patch's side as a fraction of the picture's height."""

    @property
    def succeeds(self) -> bool:
        """Whether at least half of the frames with the patch are fooled."""
        shown = self.fooled[self.appears :]
        return bool(shown) and 2 * sum(shown) >= len(shown)

    @property
    def first_fooled(self) -> int:
        """The first fooled frame. Raises `ValueError` where none is."""
        return self.fooled.index(True)

    def suspicious(self, threshold: float) -> NDArray[np.bool_]:
        """Return for each frame whether its score exceeds `threshold`, as a detector decides it."""
        return np.asarray(self.scores, np.float64) > threshold


def stream_from_json(document: Mapping[str, Any]) -> Stream:
    """Return the stream that `dataclasses.asdict` made the document of."""
    plain = dict(document)
    for name in ("scores", "fooled"):
        plain[name] = tuple(plain[name])
    return Stream(**plain)


@dataclass(frozen=True, slots=True)
class Half:
    """One half of the streams."""

    benign: tuple[Stream, ...]
    """Simulated and real."""
    attacks: tuple[Stream, ...]


Halves: TypeAlias = tuple[Half, Half]
"""The half that a policy is chosen on, and the one that it is reported on."""


def halves(streams: Sequence[Stream]) -> Halves:
    """Split the streams: benign ones by their number, so that each half has every light; attacks by their patch.

    No patch is in both halves.
    """
    patches = sorted({stream.patch for stream in streams if stream.kind == "attack"})
    videos = [stream.name for stream in streams if stream.kind == "footage"]

    def side(stream: Stream) -> int:
        if stream.kind == "attack":
            return patches.index(stream.patch) % 2
        if stream.kind == "footage":
            return videos.index(stream.name) % 2
        return int(stream.name) // len(LIGHTS) % 2  # they go through the lights in turn

    def half(which: int) -> Half:
        own = [stream for stream in streams if side(stream) == which]
        return Half(
            tuple(stream for stream in own if stream.kind != "attack"),
            tuple(stream for stream in own if stream.kind == "attack"),
        )

    return half(0), half(1)
