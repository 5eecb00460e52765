"""Many cameras at once on one model: how long a frame waits for its verdict, and whether anything grows."""

from __future__ import annotations

import os
import resource
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.speed.timing import percentiles
from taintwatch.alerts.incidents import AlertTracker
from taintwatch.cameras.camera import Camera
from taintwatch.cameras.camera_set import CameraSet
from taintwatch.pipeline import watch
from taintwatch.sources.source import Grab, Source
from taintwatch.sources.video import VideoSource
from taintwatch.vote.policies import KofN
from taintwatch.vote.voter import Voter
from taintwatch_models.loading import load_model
from taintwatch_models.model_files import ModelSettings

__all__ = ["LiveVideo", "Loop", "watched"]


class Loop:
    """A live source that shows decoded pictures again and again at a fixed rate: no decoding, no rendering."""

    live = True

    def __init__(self, pictures: Sequence[NDArray[np.uint8]], fps: float, shift_s: float) -> None:
        self._pictures, self._period, self._shift = pictures, 1 / fps, shift_s
        self._start, self._given = 0.0, 0
        self.description = "bench"

    def open(self) -> None:
        """Start the clock."""
        self._start, self._given = time.monotonic() + self._shift, 0

    def read(self) -> Grab:
        """Wait for the next picture's time and give it."""
        time.sleep(max(0.0, self._start + self._given * self._period - time.monotonic()))
        self._given += 1
        return Grab(self._pictures[self._given % len(self._pictures)].copy())

    def close(self) -> None:
        """Nothing is held open."""


class LiveVideo:
    """A live camera of which every picture is decoded: a video file again and again, each frame at its time."""

    live = True

    def __init__(self, path: Path, fps: float, shift_s: float) -> None:
        self._source, self._period, self._shift = VideoSource(path, loop=True), 1 / fps, shift_s
        self._start, self._given = 0.0, 0
        self.description = str(path)

    def open(self) -> None:
        """Open the file and start the clock."""
        self._source.open()
        self._start, self._given = time.monotonic() + self._shift, 0

    def read(self) -> Grab | None:
        """Wait for the next picture's time, decode it and give it. Where decoding is late, it goes on from there."""
        due = self._start + self._given * self._period
        now = time.monotonic()
        time.sleep(max(0.0, due - now))
        if now > due + self._period:
            self._start += now - due
        self._given += 1
        grab = self._source.read()
        return None if grab is None else Grab(grab.image)

    def close(self) -> None:
        """Close the file."""
        self._source.close()


def watched(
    settings: ModelSettings, sources: Sequence[Source], fps: float, seconds: float,
    *, max_batch: int, gather_ms: float = 0.0,
) -> dict[str, Any]:  # fmt: skip
    """Watch live cameras for some seconds; JSON-ready: delays, drops, what waits, memory and processor time.

    The first tenth, which starts threads and warms caches, does not count. `resident_mb_by_second`: memory over the
    time that counts, a sample a second.
    """
    loaded, cameras = load_model(settings), len(sources)
    supply = CameraSet(
        [Camera(f"camera{index}", source) for index, source in enumerate(sources)], gather_s=gather_ms / 1e3
    )
    voter, tracker = Voter(KofN(3, 5), detectors=settings.detectors), AlertTracker()
    memory: list[float] = []
    unchecked = 0
    delays: list[float] = []
    batches: list[int] = []
    start, half, before = time.monotonic(), 0.0, 0.0
    supply.start()
    spent = _processor_s()
    try:
        for steps in watch(
            supply, loaded.classifier, loaded.detectors, voter, tracker, max_batch=max_batch, wait_s=0.2,
            stopping=lambda: time.monotonic() - start > seconds,
        ):  # fmt: skip
            now = time.monotonic()
            if now - start > seconds / 10:  # the first tenth starts threads and warms caches
                before = before or _resident_mb()
                delays += [now * 1e3 - step.frame.captured_ns / 1e6 for step in steps]
                batches += [len(steps)] if steps else []
                unchecked += sum(any(not verdict.checked for verdict in step.verdicts) for step in steps)
                if now - start > seconds / 10 + len(memory):
                    memory.append(round(_resident_mb(), 2))
            half = half or (_resident_mb() if now - start > seconds / 2 else 0.0)
        spent = _processor_s() - spent
        statuses = supply.statuses()
    finally:
        supply.stop()
    return {
        "cameras": cameras,
        "fps_each": fps,
        "seconds": seconds,
        "delay_ms": percentiles(delays),
        "frames_per_second": round(len(delays) / (0.9 * seconds), 1),
        "dropped_share": round(sum(s.dropped for s in statuses) / max(1, sum(s.captured for s in statuses)), 4),
        "unchecked_share": round(unchecked / max(1, len(delays)), 4),
        "mean_batch": round(float(np.mean(batches)), 2),
        "resident_mb": [round(before, 1), round(half, 1), round(_resident_mb(), 1)],
        "resident_mb_by_second": memory,
        "cores_busy": round(spent / seconds, 2),
        "processor_ms_a_frame": round(1e3 * 0.9 * spent / max(1, len(delays)), 2),
        "load_1min": round(os.getloadavg()[0], 2),
    }


def _resident_mb() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def _processor_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime
