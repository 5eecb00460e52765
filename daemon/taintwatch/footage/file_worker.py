"""One video file watched from end to end in a worker: what came of it, as JSON."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from taintwatch.alerts.incidents import AlertTracker
from taintwatch.assembly import make_voter, model_settings
from taintwatch.cameras.pacing import RateLimit
from taintwatch.config.sections import Config
from taintwatch.pipeline import watch
from taintwatch.records import Alert
from taintwatch.sources.images import as_bgr
from taintwatch.sources.source import OrientedSource
from taintwatch.sources.video import VideoSource
from taintwatch.status import Meter
from taintwatch_models.errors import BadFrame, SourceError
from taintwatch_models.loading import LoadedModel, load_model
from taintwatch_models.records import Frame, read_only

__all__ = ["FileFrames", "FileJob", "watch_file"]


@dataclass(frozen=True, slots=True)
class FileJob:
    """What a worker is given."""

    path: str
    config: str
    """The configuration as JSON, with the one camera whose settings hold."""


class FileFrames:
    """A video file as a `FrameSupply`: batches are as large as asked for, whatever the machine is doing.

    Decoding waits for the model and the other way round: the other cores work on other files, and the same frames share
    a batch in every run, so that results do not depend on the number of workers.
    """

    def __init__(
        self,
        camera: str,
        path: Path,
        *,
        fps: float | None = None,
        rotate: int = 0,
        flip: str | None = None,
        deinterlace: bool = False,
        clock_ns: Callable[[], int] = time.monotonic_ns,
        wall_clock_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        video = VideoSource(path, deinterlace=deinterlace)
        self._camera, self._limit = camera, RateLimit(fps)
        self._source = OrientedSource(video, rotate=rotate, flip=flip)
        self.skipped = 0
        """Frames left out by `fps`."""
        self._clock_ns, self._wall_clock_ns = clock_ns, wall_clock_ns
        self.finished = False
        self.given = 0
        self.bad = 0
        self.trouble: str | None = None
        """Why the file ended before its end, or could not be opened."""
        self.end_s = self.step_s = 0.0
        """Media time of the last picture, and from the one before it to it."""

    def open(self) -> None:
        """Open the file; one that cannot be opened is finished at once, and `trouble` says why."""
        try:
            self._source.open()
        except SourceError as error:
            self._end(str(error))

    def close(self) -> None:
        """Close the file."""
        self._source.close()

    def next_batch(self, max_batch: int, wait_s: float) -> list[Frame]:
        """Return the next `max_batch` frames, fewer at the end only."""
        batch: list[Frame] = []
        while len(batch) < max_batch and not self.finished:
            frame = self._next()
            if frame is not None:
                batch.append(frame)
        return batch

    def _next(self) -> Frame | None:
        try:
            grab = self._source.read()
        except BadFrame:
            self.bad += 1
            return None
        except SourceError as error:
            self._end(str(error))
            return None
        if grab is None:
            self.finished = True
            return None
        index, self.given = self.given, self.given + 1
        if grab.media_s is not None:
            self.step_s, self.end_s = max(0.0, grab.media_s - self.end_s), grab.media_s
            if not self._limit.lets_through(grab.media_s):
                self.skipped += 1
                return None
        image = read_only(as_bgr(grab.image))
        return Frame(self._camera, index, image, self._clock_ns(), self._wall_clock_ns(), grab.media_s)

    def _end(self, reason: str) -> None:
        self.finished, self.trouble, self.bad = True, reason, self.bad + 1


def watch_file(job: FileJob) -> dict[str, Any]:
    """Watch a file; return its counts and its alert records, JSON-ready. Raises what loading the model raises.

    Votes begin and end with the file: whatever is open at its end is cleared there. A file that cannot be read, or that
    breaks off, is told in `trouble` and counted as a bad frame.
    """
    config = Config.model_validate_json(job.config)
    section = config.camera[0]
    model = _model(job.config)
    supply = FileFrames(
        section.name,
        Path(job.path),
        fps=section.fps,
        rotate=section.rotate,
        flip=section.flip,
        deinterlace=section.deinterlace,
    )
    tracker = AlertTracker(update_every_s=config.publish.update_s)
    meter, alerts = Meter(), list[Alert]()
    supply.open()
    try:
        for steps in watch(
            supply,
            model.classifier,
            model.detectors,
            make_voter(config.vote, config.detectors),
            tracker,
            max_batch=config.limits.max_batch,
            wait_s=0.0,
            stopping=lambda: False,
        ):
            for step in steps:
                meter.see(step)
                alerts += [] if step.alert is None else [step.alert]
    finally:
        supply.close()
    alerts += tracker.close_all()
    card = model.classifier.card
    return {
        "path": job.path,
        "given": supply.given,
        "frames": meter.frames,
        "rejected": meter.rejected,
        "unchecked": meter.unchecked,
        "bad": supply.bad,
        "skipped": supply.skipped,
        "trouble": supply.trouble,
        "length_s": supply.end_s + supply.step_s,
        "provider": card.provider,
        "model": card.name,
        "alerts": [asdict(alert) for alert in alerts],
    }


@lru_cache(maxsize=1)
def _model(config: str) -> LoadedModel:
    """Load the model once for all the files of a worker, on one core."""
    return load_model(model_settings(Config.model_validate_json(config)))
