"""Webcams through Video4Linux2, whose calls may hang."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, Protocol, TypeVar

import cv2
import numpy as np

from taintwatch.sources.images import as_bgr
from taintwatch.sources.source import Grab, SourceSettings
from taintwatch_models.errors import BadFrame, SourceError

__all__ = ["Capture", "WebcamSource", "Worker", "v4l2_capture"]

T = TypeVar("T")


class Worker:
    """Runs one call after the other in a daemon thread of its own.

    After a time-out the thread may still be inside the call that hung: `finish` it and make a new worker.
    """

    def __init__(self, name: str) -> None:
        self._jobs: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    @property
    def alive(self) -> bool:
        """Whether its thread still runs: before it is finished, and while a call hangs."""
        return self._thread.is_alive()

    def call(self, job: Callable[[], T], timeout_s: float) -> T:
        """Return what `job` returns, or raise what it raises. Raises `TimeoutError` after `timeout_s`."""
        answers: SimpleQueue[tuple[T, None] | tuple[None, Exception]] = SimpleQueue()

        def answer() -> None:
            try:
                answers.put((job(), None))
            except Exception as error:
                answers.put((None, error))

        self._jobs.put(answer)
        try:
            result, failure = answers.get(timeout=timeout_s)
        except Empty:
            raise TimeoutError from None
        if failure is not None:
            raise failure
        return result  # type: ignore[return-value]  # the pair's other half is None

    def finish(self, last: Callable[[], None]) -> None:
        """Run `last` as soon as the call at hand returns, then end the thread. Does not wait."""
        self._jobs.put(last)
        self._jobs.put(None)

    def _run(self) -> None:
        while (job := self._jobs.get()) is not None:
            job()


MOST_HANGING = 4  # calls, each in a thread of its own: then it is waited until one returns


class Capture(Protocol):
    """The part of `cv2.VideoCapture` that is used."""

    def isOpened(self) -> bool: ...  # noqa: N802 - OpenCV's name

    def read(self) -> tuple[bool, Any]: ...

    def release(self) -> None: ...


def v4l2_capture(device: str, settings: SourceSettings) -> Capture:
    """Open a device node with OpenCV's V4L2 back end, with as little buffering as it can, and ask for a format."""
    if not Path(device).exists():
        raise SourceError(f"there is no camera {device}: plug it in, or see `v4l2-ctl --list-devices`")
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)  # what failed is said once, in our own words
    capture = cv2.VideoCapture(device, cv2.CAP_V4L2)
    if settings.pixel_format is not None:  # before the size: some sizes are there in one format only
        capture.set(cv2.CAP_PROP_FOURCC, cv2.VideoWriter.fourcc(*settings.pixel_format))
    wanted = {
        cv2.CAP_PROP_FRAME_WIDTH: settings.width,
        cv2.CAP_PROP_FRAME_HEIGHT: settings.height,
        cv2.CAP_PROP_FPS: settings.capture_fps,
        cv2.CAP_PROP_BUFFERSIZE: 1,
    }
    for setting, value in wanted.items():
        if value is not None:
            capture.set(setting, value)
    return capture


class WebcamSource:
    """A camera at `/dev/video*`. OpenCV's calls have no time-out of their own (`read()` can hang): they run aside."""

    live = True

    def __init__(
        self,
        device: int | str,
        settings: SourceSettings | None = None,
        *,
        capture_factory: Callable[[str, SourceSettings], Capture] = v4l2_capture,
    ) -> None:
        self._device = f"/dev/video{device}" if isinstance(device, int) else device
        self._settings = settings or SourceSettings()
        self._capture_factory = capture_factory
        self._worker: Worker | None = None
        self._captures: list[Capture] = []
        """The open capture. A list, shared with the worker: an open that returns too late must still be released."""
        self._left: list[Worker] = []
        """Workers that were told to end; those whose call hangs have not yet."""

    @property
    def description(self) -> str:
        """The device node."""
        return self._device

    def open(self) -> None:
        """Open the device. Raises `SourceError` within the open time-out."""
        self.close()
        self._left = [worker for worker in self._left if worker.alive]
        if len(self._left) >= MOST_HANGING:
            raise SourceError(f"{self._device} hangs: {len(self._left)} earlier calls have not returned; unplug it")
        worker, captures = Worker(f"webcam {self._device}"), list[Capture]()
        self._worker, self._captures = worker, captures
        try:
            opened = worker.call(lambda: self._open_into(captures), self._settings.open_timeout_s)
        except TimeoutError:
            self.close()
            raise SourceError(f"{self._device} did not open within {self._settings.open_timeout_s:g} s") from None
        except SourceError:
            self.close()
            raise
        if not opened:
            self.close()
            raise SourceError(f"{self._device} cannot be opened: is it in use, or is its group (video) not yours?")

    def read(self) -> Grab | None:
        """Return the next picture. Raises `SourceError` where none came within the read time-out."""
        if self._worker is None or not self._captures:
            raise SourceError(f"{self._device} is not open")
        try:
            ok, image = self._worker.call(self._captures[0].read, self._settings.read_timeout_s)
        except TimeoutError:
            raise SourceError(f"{self._device} gave no picture for {self._settings.read_timeout_s:g} s") from None
        if not ok:
            raise SourceError(f"{self._device} gave no picture: is it still plugged in?")
        if image is None:
            raise BadFrame(f"{self._device} gave an empty picture")
        return Grab(as_bgr(np.asarray(image)))

    def close(self) -> None:
        """Release the device: at once, or as soon as a call that hangs returns."""
        if self._worker is None:
            return
        captures = self._captures

        def release() -> None:
            for capture in captures:
                capture.release()

        self._worker.finish(release)
        self._left.append(self._worker)
        self._worker, self._captures = None, []

    def _open_into(self, captures: list[Capture]) -> bool:
        captures.append(self._capture_factory(self._device, self._settings))
        return captures[0].isOpened()
