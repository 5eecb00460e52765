"""The default check as it is timed: learnt from one part of some footage, run on the rest, and at its worst."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.speed.stages import frames_of
from taintwatch_models.detection.general import general_pictures
from taintwatch_models.detection.learning import LEAST_FRAMES, learn
from taintwatch_models.detection.looks import CombinedRadar
from taintwatch_models.detection.reference import Reference, read_reference
from taintwatch_models.errors import UsageError
from taintwatch_models.model_files import SecondLookLimits
from taintwatch_models.onnx_session import SessionSettings
from taintwatch_models.radar_file import RadarFile
from taintwatch_models.records import Frame, read_only
from taintwatch_models.shared_looks import SharedLooks

__all__ = ["DefaultCheck", "Footage", "reference_for"]

_SITE = LEAST_FRAMES
_THINNED = 8
"""Of the general pictures every so many-th is learnt from: enough for times."""
_NOTHING = read_only(np.zeros((1, 1, 3), np.uint8))


@dataclass(frozen=True, slots=True, eq=False)
class Footage:
    """Benign frames of one video, (n, H, W, 3) each in the model's channel order."""

    site: NDArray[np.uint8]
    """Of the first half, thinned: what is learnt from."""
    later: NDArray[np.uint8]
    """The second half, one after the other."""
    name: str
    fps: float

    @classmethod
    def read(cls, video: Path, radar: RadarFile, *, most: int = 1200, fps: float = 10.0) -> Footage:
        """Read a video's first frames. Raises `SourceError`, `UsageError`."""
        if not video.is_file():
            raise UsageError(f"{video}: no such footage; give a benign video with --footage")
        pictures, _ = frames_of(video, most)
        if len(pictures) < 2 * _SITE:
            raise UsageError(f"{video}: {len(pictures)} frames are too few; give at least {2 * _SITE}")
        pixels = np.stack([radar.info.preprocessing.pixels(picture) for picture in pictures])
        half = len(pixels) // 2
        return cls(pixels[:half][:: half // _SITE], pixels[half:], video.name, fps)

    def batch(self, step: int, cameras: int) -> tuple[NDArray[np.uint8], list[Frame]]:
        """Return what so many cameras show at one moment: each plays the same scene, from another place on."""
        rows = [(step + camera * len(self.later) // cameras) % len(self.later) for camera in range(cameras)]
        frames = [_frame(f"camera{camera}", step / self.fps) for camera in range(cameras)]
        return self.later[rows], frames


def reference_for(radar: RadarFile, footage: Footage, known: Path | None, threads: int) -> tuple[Reference, float]:
    """Read the reference, or learn one; return it and the processor seconds that this took.

    `known`: the file beside the model, used where it is there.
    """
    start = time.process_time()
    if known is not None and known.is_file():
        return read_reference(known, radar.info.source_sha256), 0.0
    general = general_pictures(radar.info.preprocessing)[::_THINNED]
    found = learn(radar, footage.site, general, description=footage.name, threads=threads)
    return found, time.process_time() - start


class DefaultCheck:
    """`combined` as the daemon runs it before live cameras: second looks shared by events, or each frame at its worst.

    At its worst every frame is of a new event that deserves a second look; its share of the time is then all that
    bounds it, counted by a clock that runs while this check does.
    """

    def __init__(
        self, radar: RadarFile, reference: Reference, session: SessionSettings, *, worst: bool = False,
        share: float | None = None, clock: Callable[[], float] = time.perf_counter,
    ) -> None:  # fmt: skip
        """`share` of the time that second looks may take; None: all that they need."""
        self._clock = _OwnTime(clock)
        self._worst, self._seen = worst, 0
        if worst:
            reference = replace(reference, gate=-np.inf)
        self._run = SharedLooks(CombinedRadar(radar, reference, session), SecondLookLimits(share=share), self._clock)
        self.frames = self.deserving = self.taken = self.waiting = 0
        self._run.warm_up(1)
        if worst and share is not None:
            self._spend_what_is_saved()

    def __call__(self, inputs: NDArray[np.float32], frames: list[Frame]) -> dict[str, Any]:
        """Judge a batch and count what became of its second looks."""
        if self._worst:
            frames = [replace(frame, camera=f"new{self._seen + row}") for row, frame in enumerate(frames)]
            self._seen += len(frames)
        with self._clock:
            outputs = self._run.of_frames(inputs, frames)
        deserving, looked, shared = (outputs[f"combined_{name}"] for name in ("deserving", "looked", "shared"))
        self.frames += len(frames)
        self.deserving += int(deserving.sum())
        self.taken += int((looked & ~shared).sum())
        self.waiting += int((deserving & ~looked).sum())
        return dict(outputs)

    def _spend_what_is_saved(self) -> None:
        """Judge until the first look waits: what was saved up while nothing happened is no part of the worst case."""
        inputs = np.zeros((1, 3, *self._run.info.preprocessing.size), np.float32)
        while not self.waiting:
            self(inputs, [_frame("new", 0.0)])
        self.frames = self.deserving = self.taken = self.waiting = 0

    def shares(self) -> dict[str, float]:
        """Return of all frames which deserved a second look, for which one was taken, and which wait; JSON-ready."""
        return {
            f"{name}_share": round(getattr(self, name) / max(1, self.frames), 4)
            for name in ("deserving", "taken", "waiting")
        }


class _OwnTime:
    """A clock that stands still while others run."""

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock, self._before, self._since = clock, 0.0, 0.0
        self._running = False

    def __call__(self) -> float:
        return self._before + (self._clock() - self._since if self._running else 0.0)

    def __enter__(self) -> None:
        self._since, self._running = self._clock(), True

    def __exit__(self, *_: object) -> None:
        self._before, self._running = self(), False


def _frame(camera: str, media_s: float) -> Frame:
    return Frame(camera, 0, _NOTHING, round(media_s * 1e9), 0, media_s)
