"""A camera: one thread around a source, and the frames that wait to be taken."""

from __future__ import annotations

import logging
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable

from structlog.contextvars import bind_contextvars

from taintwatch.cameras.camera_status import CameraState, CameraStatus
from taintwatch.cameras.pacing import Backoff, RateLimit
from taintwatch.deadlines import Deadline
from taintwatch.sources.images import as_bgr
from taintwatch.sources.source import Grab, NotYet, Source
from taintwatch_models.errors import AccessDenied, BadFrame, SourceError, UsageError
from taintwatch_models.records import Frame, read_only

__all__ = ["Camera"]

_log = logging.getLogger(__name__)

DENIED_FIRST_S, DENIED_CAP_S = 60.0, 900.0  # between attempts with a wrong password: cameras lock accounts
GRACE_S = 10.0  # beyond a call's own time-out: a busy machine, a host name that must be resolved


class Camera:
    """Reads a source in a thread of its own and keeps what is to be taken next.

    Of a live source it keeps the newest frame only and counts the replaced ones; a failure is retried for ever. Of a
    file it keeps every frame, at most `queue` at a time: the thread waits until there is room.
    """

    def __init__(
        self,
        name: str,
        source: Source,
        *,
        fps: float | None = None,
        stale_after_s: float = 10.0,
        queue: int = 8,
        backoff: Backoff | None = None,
        call_limit_s: float = 10.0,
        deadline: Deadline | None = None,
        clock_ns: Callable[[], int] = time.monotonic_ns,
        wall_clock_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        """`fps` limits the rate: of a live source by its clock, of a file by media time. Raises `UsageError`.

        `call_limit_s`: the longest that opening, or reading one picture, may take by the source's own time-outs;
        `deadline` is missed where it takes much longer; not by a camera that waits for its next attempt.
        """
        if fps is not None and not 0.0 < fps < float("inf"):
            raise UsageError(f"camera {name}: fps is {fps:g}; it must be above 0")
        if queue < 1 or not stale_after_s > 0.0:
            raise UsageError(
                f"camera {name}: queue is {queue} and stale_after_s {stale_after_s:g}; both must be above 0"
            )
        self.name = name
        self._source = source
        self._limit = RateLimit(fps)
        self._stale_after_ns = int(stale_after_s * 1e9)
        self._room = 1 if source.live else queue
        self._backoff = backoff or Backoff()
        self._denied_backoff = Backoff(first_s=DENIED_FIRST_S, cap_s=DENIED_CAP_S)
        self._call_limit_s = call_limit_s + GRACE_S
        self.deadline = deadline or Deadline(f"camera {name}")
        self._clock_ns = clock_ns
        self._wall_clock_ns = wall_clock_ns
        # Everything below is shared between threads and touched only while `_changed` is held.
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._waiting: deque[Frame] = deque()
        self._stopping = False
        self._state = CameraState.CONNECTING
        self._error: SourceError | None = None
        self._last_error: str | None = None
        self._captured = self._delivered = self._dropped = self._skipped = self._bad = 0
        self._opened = 0
        self._opened_ns = 0
        self._last_frame_ns: int | None = None

    @property
    def live(self) -> bool:
        """Whether only its newest frame matters."""
        return self._source.live

    @property
    def failure(self) -> SourceError | None:
        """Why a file source gave nothing at all, once that is known."""
        return self._error

    @property
    def finished(self) -> bool:
        """Whether its source ended (or it was stopped) and every frame was taken."""
        return self._state in (CameraState.ENDED, CameraState.STOPPED) and not self._waiting

    @property
    def ready(self) -> bool:
        """Whether a frame waits to be taken."""
        return bool(self._waiting)

    def start(self, changed: threading.Condition | None = None) -> None:
        """Start the thread. `changed` is notified of every frame and every change of state."""
        if self._thread is not None:
            raise RuntimeError(f"camera {self.name} was started before")
        if changed is not None:
            self._changed = changed
        self._thread = threading.Thread(target=self._run, name=f"camera {self.name}", daemon=True)
        self._thread.start()

    def take(self) -> Frame | None:
        """Return the next frame, or None where none waits."""
        with self._changed:
            if not self._waiting:
                return None
            self._delivered += 1
            frame = self._waiting.popleft()
            if not self.live:
                self._changed.notify_all()  # there is room again
            return frame

    def ask_to_stop(self) -> None:
        """Tell the thread to end; whatever it waits for ends at once, a read when its time-out is up."""
        with self._changed:
            self._stopping = True
            self._waiting.clear()
            self._state = CameraState.STOPPED
            self._changed.notify_all()

    def join(self, timeout_s: float) -> bool:
        """Wait for the thread; return whether it ended. One that hangs in a read ends with the process."""
        if self._thread is None:
            return True
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def status(self) -> CameraStatus:
        """Return where it stands now."""
        with self._changed:
            now_ns = self._clock_ns()
            last_ns = self._last_frame_ns
            return CameraStatus(
                camera=self.name,
                state=self._state_at(now_ns),
                source=self._source.description,
                dropped=self._dropped,
                frame_age_s=None if last_ns is None else (now_ns - last_ns) / 1e9,
                reason=self._last_error,
                reconnects=max(0, self._opened - 1),
                captured=self._captured,
                delivered=self._delivered,
                skipped=self._skipped,
                bad=self._bad,
            )

    def _state_at(self, now_ns: int) -> CameraState:
        if self._state is not CameraState.RUNNING or not self.live:
            return self._state
        heard_ns = max(self._opened_ns, self._last_frame_ns or 0)
        return CameraState.STALE if now_ns - heard_ns > self._stale_after_ns else CameraState.RUNNING

    # What follows runs in the camera's thread.

    def _run(self) -> None:
        bind_contextvars(camera=self.name)  # names it in every line that this thread logs
        try:
            while not self._stopping:
                failure = self._watch_once()
                if failure is None:
                    return
                self._wait(self._note_failure(failure))
        finally:
            self._source.close()
            self.deadline.disarm()

    def _watch_once(self) -> SourceError | None:
        """Open the source and take its pictures; return why a live one must be retried, or None at the end."""
        failure: SourceError
        try:
            self.deadline.arm(self._call_limit_s)
            self._source.open()
            self._note_open()
            self._capture()
        except SourceError as error:
            # Without its traceback, which holds this frame, which holds it: such a ring keeps a broken stream's decoder
            # and its threads until the garbage collector comes by.
            failure = error.with_traceback(None)
        except Exception as error:  # the main of this thread: one broken source must not stop the others
            failure = SourceError(f"{self._source.description} failed unexpectedly: {_where(error)}")
        else:
            self._set_state(CameraState.ENDED)
            return None
        self._source.close()
        if self.live:
            return failure
        self._end_with(failure)
        return None

    def _capture(self) -> None:
        """Take pictures until the source ends or the camera is stopped. Raises `SourceError`."""
        while not self._stopping:
            try:
                self.deadline.arm(self._call_limit_s)
                grab = self._source.read()
                if grab is None:
                    return
                self._accept(grab)
            except NotYet:
                continue
            except BadFrame as error:
                self._note_bad(str(error))

    def _accept(self, grab: Grab) -> None:
        now_ns, wall_ns = self._clock_ns(), self._wall_clock_ns()
        image = read_only(as_bgr(grab.image))
        self._denied_backoff.reset()
        self._backoff.reset()  # only a picture proves that it works: some cameras accept and then say nothing
        limit_s = now_ns / 1e9 if self.live else grab.media_s
        wanted = limit_s is None or self._limit.lets_through(limit_s)
        with self._changed:
            # A stream's own clock starts anew with each connection, and some run at another speed than the world.
            media_s = None if self.live else grab.media_s
            frame = Frame(self.name, self._captured, image, now_ns, wall_ns, media_s)
            self._captured += 1
            self._last_frame_ns = now_ns
            if not wanted:
                self._skipped += 1
                return
            self._put(frame)

    def _put(self, frame: Frame) -> None:
        if self.live:
            self._dropped += len(self._waiting)
            self._waiting.clear()
        else:
            self.deadline.disarm()  # whoever takes the frames may take its time; a deadline of its own says how much
            self._changed.wait_for(lambda: self._stopping or len(self._waiting) < self._room)
        if not self._stopping:
            self._waiting.append(frame)
            self._changed.notify_all()

    def _note_open(self) -> None:
        with self._changed:
            self._opened += 1
            self._opened_ns = self._clock_ns()
        self._set_state(CameraState.RUNNING)
        _log.info("camera %s: open (%s)", self.name, self._source.description)

    def _note_bad(self, reason: str) -> None:
        with self._changed:
            self._bad += 1
            self._last_error = reason
            first = self._bad == 1
        _log.log(logging.WARNING if first else logging.DEBUG, "camera %s: bad frame skipped: %s", self.name, reason)

    def _note_failure(self, failure: SourceError) -> float:
        """Record why a live camera failed; return how long to wait, in seconds."""
        denied = isinstance(failure, AccessDenied)
        wait_s = (self._denied_backoff if denied else self._backoff).next_s()
        with self._changed:
            self._last_error = str(failure)
        self._set_state(CameraState.LOST)
        _log.warning("camera %s: %s; next attempt in %.1f s", self.name, failure, wait_s)
        return wait_s

    def _end_with(self, failure: SourceError) -> None:
        with self._changed:
            self._last_error = str(failure)
            if self._captured == 0:
                self._error = failure
        self._set_state(CameraState.ENDED)
        _log.warning("camera %s: %s", self.name, failure)

    def _set_state(self, state: CameraState) -> None:
        with self._changed:
            if not self._stopping:
                self._state = state
            self._changed.notify_all()

    def _wait(self, seconds: float) -> None:
        self.deadline.arm(seconds + GRACE_S)
        with self._changed:
            self._changed.wait_for(lambda: self._stopping, timeout=seconds)


def _where(error: Exception) -> str:
    """Name an unexpected error by type and place: its text might hold an address with a password."""
    last = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__} in {last.filename}:{last.lineno}"
