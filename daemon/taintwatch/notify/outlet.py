"""A bounded queue and a thread behind it: whoever offers never waits, and what is not sent is counted."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from taintwatch.cameras.camera_status import CameraStatus
from taintwatch.records import Alert
from taintwatch_models.records import Frame

__all__ = ["Departure", "Item", "Notice", "Outcome", "Outlet", "OutletStats"]

_log = logging.getLogger(__name__)

MOST = 500  # notices that may wait
MOST_FRAMES = 8  # of them with their picture: at 1080p each has 6 MB
FIRST_WAIT_S, LONGEST_WAIT_S = 1.0, 60.0
REMEMBERED = 1000  # alerts that notified nobody when they were raised


@dataclass(frozen=True, slots=True, eq=False)
class Notice:
    """An alert's record, with the frame that gave rise to it where there is one."""

    alert: Alert
    frame: Frame | None = None


@dataclass(frozen=True, slots=True)
class Departure:
    """A camera that was taken away."""

    camera: str


Item = Notice | CameraStatus | Departure


class Outcome(Enum):
    """What became of one item."""

    SENT = "sent"
    LATER = "later"
    """The other side is away: it is tried again."""
    REFUSED = "refused"
    """Trying again cannot help."""
    LEFT = "left"
    """Nothing was to be sent."""


@dataclass(frozen=True, slots=True)
class OutletStats:
    """Counts since the start."""

    name: str
    sent: int
    refused: int
    """Notices that the other side will not have."""
    dropped: int
    """Notices that had no room in the queue, or were left at the end."""
    snoozed: int
    """Notices that were not sent because their camera is snoozed."""
    failures: int
    """Attempts that failed and were repeated."""
    waiting: int


class Outlet:
    """Hands items to `send` one after the other, in a thread of its own; what must wait is tried again, ever later."""

    def __init__(
        self,
        name: str,
        send: Callable[[Item], Outcome],
        *,
        is_snoozed: Callable[[str], bool] = lambda camera: False,
        most: int = MOST,
        first_wait_s: float = FIRST_WAIT_S,
        longest_wait_s: float = LONGEST_WAIT_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.name = name
        self._send, self._is_snoozed, self._clock = send, is_snoozed, clock
        self._most, self._first_wait_s, self._longest_wait_s = most, first_wait_s, longest_wait_s
        self._queue: deque[Item] = deque()
        self._changed = threading.Condition()
        self._give_up: float | None = None
        self._hushed: deque[str] = deque(maxlen=REMEMBERED)
        self._sent = self._refused = self._dropped = self._snoozed = self._failures = 0
        self._thread = threading.Thread(target=self._run, name=f"notify {name}", daemon=True)
        self._thread.start()

    def offer(self, item: Item) -> None:
        """Take an item; the oldest goes, and is counted, where there is no room. Never blocks."""
        with self._changed:
            if self._give_up is not None:
                return
            if isinstance(item, CameraStatus):  # the newest of a camera is all that counts
                self._forget_status(item.camera)
            if len(self._queue) >= self._most:
                self._lose(self._queue.popleft())
            self._queue.append(item)
            self._let_frames_go()
            self._changed.notify()

    def stats(self) -> OutletStats:
        """Return the counts so far. Any thread may ask."""
        return OutletStats(
            self.name, self._sent, self._refused, self._dropped, self._snoozed, self._failures, len(self._queue)
        )

    def close(self, timeout_s: float) -> None:
        """Send what waits, within `timeout_s`; the rest is dropped, and said. May be called again."""
        with self._changed:
            if self._give_up is None:
                self._give_up = self._clock() + timeout_s
            self._changed.notify()
        self._thread.join(timeout_s + 1.0)
        with self._changed:
            left = sum(isinstance(item, Notice) for item in self._queue)
            self._queue.clear()
        if left:
            self._dropped += left
            _log.warning("%s: %d notices were not sent when the daemon stopped", self.name, left)

    def _forget_status(self, camera: str) -> None:
        for item in [one for one in self._queue if isinstance(one, CameraStatus) and one.camera == camera]:
            self._queue.remove(item)

    def _lose(self, item: Item) -> None:
        if isinstance(item, Notice):
            self._dropped += 1
            if self._dropped == int(10 ** (len(str(self._dropped)) - 1)):  # 1, 10, 100, ...
                _log.warning("%s: a notice had no room in the queue (%d so far)", self.name, self._dropped)

    def _let_frames_go(self) -> None:
        """Keep the pictures of the newest few that wait: the others are told without."""
        kept = 0
        for index in range(len(self._queue) - 1, -1, -1):
            item = self._queue[index]
            if isinstance(item, Notice) and item.frame is not None:
                kept += 1
                if kept > MOST_FRAMES:
                    self._queue[index] = Notice(item.alert)

    def _run(self) -> None:
        wait_s = self._first_wait_s
        while (item := self._next()) is not None:
            outcome = self._handle(item)
            if outcome is Outcome.LATER:
                self._failures += 1
                self._put_back(item)
                if not self._pause(wait_s):
                    return
                wait_s = min(2 * wait_s, self._longest_wait_s)
                continue
            wait_s = self._first_wait_s
            if isinstance(item, Notice):
                self._sent += outcome is Outcome.SENT
                self._refused += outcome is Outcome.REFUSED

    def _next(self) -> Item | None:
        with self._changed:
            while not self._queue:
                if self._give_up is not None:
                    return None
                self._changed.wait()
            return None if self._is_over() else self._queue.popleft()

    def _handle(self, item: Item) -> Outcome:
        if isinstance(item, Notice) and self._hushes(item):
            self._snoozed += 1
            return Outcome.LEFT
        return self._send(item)

    def _hushes(self, notice: Notice) -> bool:
        """Whether nobody is to hear of it: its camera is snoozed, or was when it was raised."""
        event_id = notice.alert.event_id
        if event_id in self._hushed:
            return True
        if notice.alert.state.is_end or not self._is_snoozed(notice.alert.camera):
            return False
        self._hushed.append(event_id)
        return True

    def _put_back(self, item: Item) -> None:
        with self._changed:
            newer = isinstance(item, CameraStatus) and any(
                isinstance(one, CameraStatus) and one.camera == item.camera for one in self._queue
            )
            if newer:
                return
            if len(self._queue) >= self._most:
                self._lose(item)
            else:
                self._queue.appendleft(item)

    def _pause(self, seconds: float) -> bool:
        """Wait; return whether there is time for another attempt."""
        until = self._clock() + seconds
        with self._changed:
            while (left := until - self._clock()) > 0 and self._give_up is None:
                self._changed.wait(left)
            if self._give_up is not None and not self._is_over():
                self._changed.wait(min(0.1, max(0.0, self._give_up - self._clock())))
            return not self._is_over()

    def _is_over(self) -> bool:
        return self._give_up is not None and self._clock() >= self._give_up
