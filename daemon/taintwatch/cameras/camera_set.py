"""Several cameras as one: their frames, batched as they are ready together."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence

from taintwatch.cameras.camera import Camera
from taintwatch.cameras.camera_status import CameraStatus
from taintwatch_models.errors import SourceError, UsageError
from taintwatch_models.records import Frame

__all__ = ["CameraSet"]


class CameraSet:
    """Cameras that run beside one another; a dead one neither stops nor slows the rest. Used by one thread."""

    def __init__(self, cameras: Sequence[Camera], *, gather_s: float = 0.0) -> None:
        """`gather_s`: how long a frame waits for those of the other cameras, so that they share a batch.

        Raises `UsageError` where there is no camera, or two have the same name.
        """
        self._gather_s = gather_s
        _check_names(cameras)
        self._cameras = tuple(cameras)
        self._changed = threading.Condition()
        self._turn = 0
        """The camera that is asked first next time: everyone's turn comes, also where batches are small."""
        self._failure_told = False
        self._started = False
        self._leaving: tuple[Camera, ...] = ()
        """Removed cameras whose threads have not ended yet."""

    @property
    def finished(self) -> bool:
        """Whether every source ended, every frame was taken, and a failure of all of them was told by `next_batch`."""
        with self._changed:
            return self._all_finished() and (self._failure_told or self._common_failure() is None)

    def start(self) -> None:
        """Start every camera's thread."""
        self._started = True
        for camera in self._cameras:
            camera.start(self._changed)

    def change(self, removed: Sequence[str], added: Sequence[Camera]) -> tuple[Camera, ...]:
        """Let the cameras named in `removed` go and take in new ones, which start at once where the others have.

        Nobody waits: the thread of a removed camera ends when the call at hand does. A new camera may have the name of
        a removed one. Returns the removed cameras. Raises `UsageError` where none would be left, or two would have one
        name; then nothing is changed.
        """
        gone = tuple(camera for camera in self._cameras if camera.name in removed)
        cameras = (*(camera for camera in self._cameras if camera not in gone), *added)
        _check_names(cameras)
        for camera in gone:
            camera.ask_to_stop()
        for camera in added if self._started else ():
            camera.start(self._changed)
        with self._changed:
            self._cameras, self._turn = cameras, 0
            self._leaving = tuple(camera for camera in (*self._leaving, *gone) if not camera.join(0.0))
        return gone

    def stop(self, timeout_s: float = 2.0) -> bool:
        """Stop every camera, within `timeout_s` altogether; return whether all threads ended.

        A thread that hangs in a read is left behind; it gives nothing more and does not keep the process alive.
        """
        give_up = time.monotonic() + timeout_s
        for camera in self._cameras:
            camera.ask_to_stop()
        self._failure_told = True  # nobody waits for it any more
        threads = (*self._cameras, *self._leaving)
        ended = [camera.join(max(0.0, give_up - time.monotonic())) for camera in threads]
        return all(ended)

    def statuses(self) -> tuple[CameraStatus, ...]:
        """Return where each camera stands, in the order given."""
        return tuple(camera.status() for camera in self._cameras)

    def next_batch(self, max_batch: int, wait_s: float) -> list[Frame]:
        """Return the frames that are ready, at most `max_batch`; empty after `wait_s` without any, or at the end.

        At most one frame of each live camera; of a file as many consecutive ones as there is room for. Raises the
        `SourceError` of the (first) source, once, where none of the sources could be opened and all gave up for good.
        """
        with self._changed:
            if self._changed.wait_for(self._worth_waking, timeout=wait_s) and self._gather_s > 0:
                self._changed.wait_for(lambda: self._gathered(max_batch), timeout=self._gather_s)
            batch = self._take(max_batch)
            failure = None if batch or self._failure_told else self._common_failure()
            self._failure_told |= failure is not None
        if failure is not None:
            raise failure
        return batch

    def _worth_waking(self) -> bool:
        return any(camera.ready for camera in self._cameras) or self._all_finished()

    def _gathered(self, max_batch: int) -> bool:
        """Whether a batch is full, or every camera that can still give something has given it."""
        ready = sum(camera.ready for camera in self._cameras)
        return ready >= max_batch or all(camera.ready or camera.finished for camera in self._cameras)

    def _all_finished(self) -> bool:
        return all(camera.finished for camera in self._cameras)

    def _take(self, max_batch: int) -> list[Frame]:
        """Take one frame of each camera in turn, round after round, until the batch is full or nothing is ready."""
        order = self._cameras[self._turn :] + self._cameras[: self._turn]
        self._turn = (self._turn + 1) % len(self._cameras)
        batch: list[Frame] = []
        while True:
            before = len(batch)
            for camera in order:
                frame = camera.take() if len(batch) < max_batch else None
                if frame is not None:
                    batch.append(frame)
            if len(batch) == before:
                return batch

    def _common_failure(self) -> SourceError | None:
        failures = [camera.failure for camera in self._cameras]
        return failures[0] if all(failure is not None for failure in failures) else None


def _check_names(cameras: Sequence[Camera]) -> None:
    names = [camera.name for camera in cameras]
    if not names:
        raise UsageError("there is no camera to watch: give at least one source")
    for name in names:
        if names.count(name) > 1:
            raise UsageError(f"two cameras are named {name!r}: give each its own name")
