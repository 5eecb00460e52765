"""The background worker that writes pictures and clips. It never makes anyone wait."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from taintwatch.evidence.folder import CLIP, FRAME, OVERLAY, SCORES, EvidenceFolder
from taintwatch.evidence.media import ClipBuffer, PictureError, encode_jpeg, overlay, write_clip
from taintwatch.evidence.retention import RetentionJob
from taintwatch.evidence.score_history import ScoreDocument
from taintwatch.records import Alert, AlertState, Moment, elapsed_ns, moment_of
from taintwatch_models.records import Frame

__all__ = ["ClipSettings", "Recorder", "RecorderStats"]

_log = logging.getLogger(__name__)

QUEUE = 16  # frames that may wait; at 1080p each has 6 MB
DOCUMENTS = 64  # histories of scores that may wait, of 20 kB at most; a later one of an alert holds all of an earlier
TICK_S = 0.5
SILENT_S = 5.0  # beyond the end of a clip: a camera that gives nothing for so long gives this clip nothing more
FORGET_S = 60.0  # then what was seen last of a silent camera is let go


@dataclass(frozen=True, slots=True)
class ClipSettings:
    """What clips are like. No clip is made where both times are 0."""

    before_s: float = 3.0
    after_s: float = 5.0
    fps: float = 10.0
    width: int = 640

    @property
    def wanted(self) -> bool:
        return self.before_s + self.after_s > 0


@dataclass(frozen=True, slots=True)
class RecorderStats:
    """Counts since the start."""

    pictures: int
    """Alerts whose frame and overlay were written."""
    clips: int
    dropped: int
    """Frames that the worker had no time for."""
    lost: int
    """Alerts without pictures because the worker had no time even for them."""
    failures: int
    """Pictures, clips and histories of scores that could not be written."""
    without_room: int
    """Pictures and clips left out because the disk is too full."""
    waiting: int
    alive: bool


@dataclass(frozen=True, slots=True, eq=False)
class _Item:
    frame: Frame
    alert: Alert | None


class Recorder:
    """Takes frames from one thread, writes in its own. What does not fit into its queue is dropped and counted."""

    def __init__(
        self,
        folder: EvidenceFolder,
        retention: RetentionJob,
        clips: ClipSettings,
        *,
        tick: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`tick` is called in the worker about twice a second; `clock` is monotonic, in seconds."""
        self._folder = folder
        self._retention = retention
        self._settings = clips
        self._tick = tick
        self._clock = clock
        self._next_tick = clock()
        self._last_offered: dict[str, Moment] = {}
        self._queue: deque[_Item] = deque()
        self._documents: dict[str, ScoreDocument] = {}
        self._changed = threading.Condition()
        self._stopping = False
        self._give_up: float | None = None
        self._clip_buffers: dict[str, ClipBuffer] = {}
        self._heard: dict[str, float] = {}
        self._pictures = self._clips = self._dropped = self._lost = self._failures = self._without_room = 0
        self._thread = threading.Thread(target=self._run, name="recorder", daemon=True)
        self._thread.start()

    def offer(self, frame: Frame, alert: Alert | None) -> None:
        """Give a frame, with the alert that it gave rise to, if any. Costs microseconds."""
        raised = alert is not None and alert.state is AlertState.RAISED
        if not raised and not self._is_due(frame):
            return
        self._last_offered[frame.camera] = moment_of(frame)
        with self._changed:
            if len(self._queue) >= QUEUE and not self._make_room(raised):
                return
            self._queue.append(_Item(frame, alert if raised else None))
            self._changed.notify()

    def keep(self, document: ScoreDocument) -> None:
        """Give the history of an alert's scores, in place of an earlier one; it is written within half a second or so.

        One that has no room beside those that wait is left out, and counted as a failure.
        """
        with self._changed:
            if len(self._documents) < DOCUMENTS or document.event_id in self._documents:
                self._documents[document.event_id] = document
            else:
                self._failures += 1

    def busy(self) -> frozenset[str]:
        """Return the ids of the alerts whose clip is being taken."""
        return frozenset(clip.event_id for clip in tuple(self._clip_buffers.values()) if clip.event_id is not None)

    def stats(self) -> RecorderStats:
        """Return the counts so far. Any thread may ask."""
        return RecorderStats(
            self._pictures,
            self._clips,
            self._dropped,
            self._lost,
            self._failures,
            self._without_room,
            len(self._queue),
            self._thread.is_alive(),
        )

    def close(self, timeout_s: float) -> bool:
        """Write what waits and the clips as far as they were taken; return whether that was done within `timeout_s`."""
        with self._changed:
            self._stopping = True
            self._give_up = self._clock() + timeout_s
            self._changed.notify()
        self._thread.join(timeout_s + 0.2)
        return not self._thread.is_alive() and not self._queue

    def _is_due(self, frame: Frame) -> bool:
        if not self._settings.wanted:
            return False
        last = self._last_offered.get(frame.camera)
        if last is None:
            return True
        elapsed = elapsed_ns(last, moment_of(frame))
        return elapsed < 0 or elapsed >= 0.99e9 / self._settings.fps

    def _make_room(self, raised: bool) -> bool:
        """Drop a plain frame: the one that is offered, or, where that is of a new alert, one that waits."""
        self._dropped += 1
        if not raised:
            return False
        plain = next((item for item in self._queue if item.alert is None), None)
        if plain is None:
            self._lost += 1
            return False
        self._queue.remove(plain)
        return True

    def _run(self) -> None:
        while (item := self._next()) is not None or not self._stopping:
            if item is not None:
                self._guarded(self._take, item)
            self._write_documents()
            if self._clock() >= self._next_tick:
                self._next_tick = self._clock() + TICK_S
                self._end_silent()
                self._tick()
        self._write_documents()
        for clip in self._clip_buffers.values():
            if clip.event_id is not None and not self._late():
                self._guarded(self._finish, clip)

    def _next(self) -> _Item | None:
        with self._changed:
            if not self._queue and not self._stopping:
                self._changed.wait(TICK_S)
            return self._queue.popleft() if self._queue and not self._late() else None

    def _late(self) -> bool:
        return self._give_up is not None and self._clock() > self._give_up

    def _write_documents(self) -> None:
        with self._changed:
            documents, self._documents = self._documents, {}
        for document in documents.values():
            if self._late():
                self._failures += 1
            else:
                self._guarded(self._write_document, document)

    def _write_document(self, document: ScoreDocument) -> None:
        if not self._retention.has_room(len(document.text)):
            self._without_room += 1
            return
        self._folder.put(document.event_id, SCORES, document.text)

    def _guarded(self, action: Callable[[Any], None], argument: _Item | ClipBuffer | ScoreDocument) -> None:
        try:
            action(argument)
        except (OSError, PictureError, ValueError) as error:
            self._failures += 1
            if self._failures == int(10 ** (len(str(self._failures)) - 1)):  # 1, 10, 100, ...
                _log.error("a picture or clip was not kept (%d so far): %s", self._failures, error)

    def _end_silent(self) -> None:
        """Write the clips of cameras that were lost or taken away meanwhile: perhaps because of what is on them."""
        now = self._clock()
        for camera, clip in tuple(self._clip_buffers.items()):
            silent_s = now - self._heard[camera]
            if clip.event_id is not None and silent_s > self._settings.after_s + SILENT_S:
                self._guarded(self._finish, clip)
            elif clip.event_id is None and silent_s > FORGET_S:
                del self._clip_buffers[camera], self._heard[camera]

    def _take(self, item: _Item) -> None:
        frame = item.frame
        moment = moment_of(frame)
        self._heard[frame.camera] = self._clock()
        settings = self._settings
        clip = self._clip_buffers.get(frame.camera)
        if clip is None:
            clip = ClipBuffer(settings.before_s, settings.after_s, settings.width, settings.fps)
            self._clip_buffers[frame.camera] = clip
        if settings.wanted:
            clip.add(moment, frame.image)
        if item.alert is not None:
            if clip.event_id is not None:
                self._finish(clip)  # a new attack: the clip of the last one ends here
            if settings.wanted:
                clip.begin(item.alert.event_id, moment)
            self._write_pictures(frame, item.alert)
        if clip.finished(moment):
            self._finish(clip)

    def _write_pictures(self, frame: Frame, alert: Alert) -> None:
        pictures = {FRAME: encode_jpeg(frame.image), OVERLAY: encode_jpeg(overlay(frame.image, alert))}
        if not self._retention.has_room(sum(map(len, pictures.values()))):
            self._without_room += 1
            return
        for name, jpeg in pictures.items():
            self._folder.put(alert.event_id, name, jpeg)
        self._pictures += 1

    def _finish(self, clip: ClipBuffer) -> None:
        if clip.event_id is None:
            return
        event_id, pictures = clip.event_id, clip.end()
        if not self._retention.has_room(sum(len(picture.jpeg) for picture in pictures)):
            self._without_room += 1
            return
        self._folder.put_made(event_id, CLIP, lambda path: write_clip(path, pictures))
        self._clips += 1
