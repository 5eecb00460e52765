"""How much there is to watch, where a source knows it: what a progress line needs for its share and its ETA."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import av

from taintwatch.config.sections import Config
from taintwatch.sources.images import IMAGE_SUFFIXES, files_below
from taintwatch.status import RunStatus

__all__ = ["Extent", "clock_time", "extent_of", "videos_extent"]


@dataclass(frozen=True, slots=True)
class Extent:
    """The whole of a run, in frames or in seconds of the file; one of them is None."""

    frames: int | None = None
    seconds: float | None = None

    def words(self, status: RunStatus) -> str:
        """Return the share that is done and the time that is left."""
        if self.seconds is not None:
            share = (status.media_s or 0.0) / self.seconds
            place = f"{clock_time(status.media_s or 0.0)} of {clock_time(self.seconds)}"
        else:
            share = status.frames / (self.frames or 1)
            place = f"of {self.frames}"
        share = min(1.0, max(0.0, share))
        if share == 0.0 or status.seconds <= 0:
            return place
        return f"{place}  {share:.0%}  {clock_time(status.seconds * (1 - share) / share)} left"


def extent_of(config: Config) -> Extent | None:
    """Return how much a run of `config` has to watch; None where it is without end or not known beforehand."""
    if config.limits.max_frames is not None:
        return Extent(frames=config.limits.max_frames)
    if len(config.camera) != 1 or config.camera[0].loop:
        return None
    path = Path(config.camera[0].source)
    if path.is_dir():
        images = len(files_below(path, IMAGE_SUFFIXES))
        return Extent(frames=images) if images else None
    return _video(path) if path.is_file() else None


def videos_extent(files: Sequence[Path]) -> Extent | None:
    """Return how many seconds of footage there are, as the files' headers state them; None where none does."""
    lengths = [found.seconds or 0.0 for file in files if (found := _video(file)) is not None]
    return Extent(seconds=sum(lengths)) if lengths else None


def clock_time(seconds: float) -> str:
    """Return `1:02:03`, `2:03` or `2.3 s`."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def _video(path: Path) -> Extent | None:
    """Return a video's length as its header states it."""
    try:
        with av.open(str(path)) as container:
            duration = container.duration
    except (av.FFmpegError, OSError, ValueError):
        return None  # opening it as a source will say what is wrong
    return Extent(seconds=duration / av.time_base) if duration else None
