"""Benign frames of a camera as it is now: watched for a while, thinned in time, and what was left out said."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np

from taintwatch.assembly import model_settings, source_settings
from taintwatch.config.load import load_config
from taintwatch.frame_sample import FrameSample
from taintwatch.references import References, state_folder
from taintwatch.sources.factory import open_source
from taintwatch.sources.source import NotYet, Source
from taintwatch_calibration.benign import BenignFrames
from taintwatch_models.detection.learning import LEAST_FRAMES
from taintwatch_models.errors import BadFrame, SourceError, UsageError
from taintwatch_models.model_files import ModelSettings
from taintwatch_models.preprocessing import Preprocessing

__all__ = ["CameraToLearn", "LiveFrames", "Seconds", "camera_to_learn", "planned_frames", "watch_benign"]

_MOST = 5000
"""Pictures are kept in memory until they are learnt: 5000 of 224 x 224 are 750 MB."""
_REST_S = 1.0
"""Between two tries of a camera that was lost, and two looks at one that has nothing new."""
_UNITS = {"ms": 1e-3, "s": 1.0, "m": 60.0, "": 1.0}


class Seconds(click.ParamType):  # type: ignore[type-arg] # generic in newer releases alone
    """A time like 500ms, 1s or 2m; seconds where no unit is given."""

    name = "time"

    def convert(self, value: str | float, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Return seconds."""
        if isinstance(value, int | float):
            return float(value)
        number = value.strip().rstrip("ms")
        try:
            seconds = float(number) * _UNITS[value.strip()[len(number) :]]
        except (ValueError, KeyError):
            seconds = 0.0
        if not 0 < seconds < float("inf"):
            self.fail(f"{value!r} is no time like 500ms, 1s or 2m", param, ctx)
        return seconds


@dataclass(frozen=True, slots=True)
class CameraToLearn:
    """A camera of a daemon's configuration: what is learnt of it goes where that daemon looks for it."""

    settings: ModelSettings
    source: Source
    state: Path
    name: str

    def reference(self, model_hash: str) -> Path:
        """Return where the daemon keeps what it learnt of this camera."""
        return References(self.state, model_hash).path(self.name)


def camera_to_learn(config: Path, name: str) -> CameraToLearn:
    """Find a camera in a configuration. Raises `ConfigError`, `SourceError`, `UsageError`."""
    loaded = load_config(config)
    section = next((each for each in loaded.camera if each.name == name), None)
    if section is None:
        known = ", ".join(each.name for each in loaded.camera) or "none"
        raise UsageError(f"{config} has no camera {name!r}; it has: {known}")
    source = open_source(section.source, source_settings(section))
    return CameraToLearn(model_settings(loaded), source, state_folder(loaded), name)


def planned_frames(minutes: float, every_s: float) -> int:
    """Return how many frames that makes. Raises `UsageError` where these are too few to learn from, or too many."""
    count = round(minutes * 60 / every_s)
    if count < LEAST_FRAMES:
        raise UsageError(
            f"{minutes:g} minutes with a frame every {every_s:g} s are {count} frames, and at least {LEAST_FRAMES} are "
            "learnt from: give more --minutes or a shorter --every"
        )
    if count > _MOST:
        raise UsageError(
            f"{minutes:g} minutes with a frame every {every_s:g} s are {count} frames, and at most {_MOST} are kept: "
            "give a longer --every"
        )
    return count


@dataclass(frozen=True, slots=True)
class LiveFrames:
    """What was kept of a camera, and why the rest was not."""

    frames: BenignFrames
    read: int
    early: int
    lost: int
    """How often the camera was lost meanwhile."""
    every_s: float

    def sentence(self) -> str:
        """One sentence for people."""
        reasons = [f"{self.early} came before the next was due (one every {self.every_s:g} s)"]
        if self.frames.bad:
            reasons.append(f"{self.frames.bad} could not be used")
        lost = f"; the camera was lost {self.lost} time{'s' if self.lost > 1 else ''}" if self.lost else ""
        return f"kept {len(self.frames.pixels)} of {self.read} frames: {', '.join(reasons)}{lost}"


def watch_benign(
    source: Source,
    preprocessing: Preprocessing,
    minutes: float,
    every_s: float,
    report: Callable[[int], None] = lambda kept: None,
    *,
    clock_ns: Callable[[], int] = time.monotonic_ns,
    sleep: Callable[[float], None] = time.sleep,
) -> LiveFrames:
    """Watch for so long, or to a recording's end (whose own time counts). `report` is told how many frames are kept.

    A camera that is lost is opened again. Raises `SourceError` where it cannot be opened at first, `UsageError` where
    no frame could be used or the source knows no time.
    """
    sample = FrameSample(round(every_s * 1e9), planned_frames(minutes, every_s))
    read = lost = bad = 0
    source.open()
    end_ns = clock_ns() + round(minutes * 60e9)
    try:
        while not sample.full and (not source.live or clock_ns() < end_ns):
            try:
                grab = source.read()
            except BadFrame:
                read, bad = read + 1, bad + 1
                continue
            except NotYet:
                sleep(_REST_S)
                continue
            except SourceError:
                if not source.live:
                    raise
                lost += 1
                _open_again(source, end_ns, clock_ns, sleep)
                continue
            if grab is None:
                break
            read += 1
            now_ns = clock_ns() if source.live else _media_ns(source, grab.media_s)
            if sample.due(now_ns) and sample.take(now_ns, grab.image, preprocessing):
                report(len(sample.pixels))
    finally:
        source.close()
    if not sample.pixels:
        raise UsageError(f"{source.description}: of {read} frames none could be used")
    frames = BenignFrames(np.stack(sample.pixels), True, bad + sample.unusable, source.description)
    return LiveFrames(frames, read, sample.early, lost, every_s)


def _open_again(source: Source, end_ns: int, clock_ns: Callable[[], int], sleep: Callable[[float], None]) -> None:
    """Try until it is open, or the time is over."""
    source.close()
    while clock_ns() < end_ns:
        sleep(_REST_S)
        try:
            source.open()
        except SourceError:
            continue
        return


def _media_ns(source: Source, media_s: float | None) -> int:
    if media_s is None:
        raise UsageError(f"{source.description} knows no time to thin by; give it with --benign, all of it is taken")
    return round(media_s * 1e9)
