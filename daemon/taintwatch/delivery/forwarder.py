"""The durable outbox: a thread that hands a daemon's records to a broker, and notes in the history how far it is.

The records are the outbox. What the broker has not confirmed is sent again, after whatever restart: at least once.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from taintwatch.evidence.history import History, Session
from taintwatch_models.errors import TaintwatchError

__all__ = ["DeliveryStats", "Forwarder", "OutgoingRecord", "Sink"]

_log = logging.getLogger(__name__)

AT_ONCE = 100  # records handed over together
TICK_S = 0.25
FIRST_WAIT_S, LONGEST_WAIT_S = 0.5, 15.0  # before a broker that failed is tried again

NEXT = """
SELECT id, topic, instance, sequence, event_id, json FROM records
WHERE daemon = :daemon AND id > :after ORDER BY id LIMIT :limit
"""
REACHED = "SELECT id FROM deliveries WHERE daemon = :daemon AND sink = :sink"
NOTE = """
INSERT INTO deliveries (daemon, sink, id) VALUES (:daemon, :sink, :id)
ON CONFLICT (daemon, sink) DO UPDATE SET id = excluded.id
"""


@dataclass(frozen=True, slots=True)
class OutgoingRecord:
    """One stored record on its way out."""

    id: int
    topic: str
    instance: str
    sequence: int
    event_id: str
    json: str

    @property
    def key(self) -> str:
        """What a broker tells repeats by: the event, and which record of it this is."""
        return f"{self.event_id}.{self.instance}.{self.sequence}"


class Sink(Protocol):
    """A broker. Used by the forwarder's thread alone; every failure is a `TaintwatchError`."""

    name: str
    """Names its place in the history: stays the same over restarts."""

    def send(self, records: Sequence[OutgoingRecord]) -> None:
        """Hand the records over, in order, and return when the broker has all of them on its disk."""
        ...

    def idle(self) -> None:
        """Do what a connection needs while nothing is sent. Called a few times a second; takes milliseconds."""
        ...

    def close(self) -> None:
        """Let go of the broker."""
        ...


@dataclass(frozen=True, slots=True)
class DeliveryStats:
    """Counts since the start."""

    sink: str
    sent: int
    """Records that the broker confirmed."""
    failures: int
    """Attempts that failed."""
    lost: int
    """Records that were removed from the history before they could be sent."""
    waiting: int
    """Records that are stored and not confirmed."""
    trouble: str | None
    """Why nothing can be sent now; None where all is well."""


class Forwarder:
    """Sends what one daemon stores to one sink. A new sink begins with what is stored from then on."""

    def __init__(
        self,
        history: History,
        daemon: str,
        sink: Sink,
        *,
        stored: Callable[[], int],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`stored`: the number of the newest record, so that the history is asked only where there is something."""
        self._history = history
        self._daemon = daemon
        self._sink = sink
        self._stored = stored
        self._first = stored()
        self._clock = clock
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._reached: int | None = None
        self._sent = self._failures = self._lost = 0
        self._trouble: str | None = None
        self._wait_s = FIRST_WAIT_S
        self._not_before = 0.0
        self._thread = threading.Thread(target=self._run, name=f"delivery {sink.name}", daemon=True)

    def start(self) -> None:
        """Begin to send."""
        self._thread.start()

    def wake(self) -> None:
        """Something was stored: send it now."""
        self._wake.set()

    def stats(self) -> DeliveryStats:
        """Return the counts so far. Any thread may ask."""
        waiting = max(0, self._stored() - (self._first if self._reached is None else self._reached))
        return DeliveryStats(self._sink.name, self._sent, self._failures, self._lost, waiting, self._trouble)

    def close(self, timeout_s: float = 2.0) -> None:
        """Send what there is still time for, and stop. What is left is sent after the next start."""
        self._stopping.set()
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join(timeout_s)

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._wake.wait(TICK_S)
            self._wake.clear()
            self.step()
        self._not_before = 0.0
        self.step()
        self._sink.close()

    def step(self) -> None:
        """Send all that waits, if the broker takes it. Never raises."""
        if self._clock() < self._not_before:
            return
        try:
            while self._send_some():
                pass
            self._sink.idle()
        except TaintwatchError as error:
            self._failed(error)
            return
        self._wait_s = FIRST_WAIT_S
        if self._trouble is not None:
            _log.info("alerts go to %s again", self._sink.name)
        self._trouble = None

    def _send_some(self) -> bool:
        """Send the next records and note it; return whether there may be more."""
        if self._reached is None:
            self._reached = self._history.write(self._begin)
        stored = self._stored()
        if stored <= self._reached:
            return False
        with self._history.read() as session:
            values = {"daemon": self._daemon, "after": self._reached, "limit": AT_ONCE}
            records = [OutgoingRecord(**row) for row in session.rows(NEXT, values)]
        if records:
            self._sink.send(records)
        last = records[-1].id if records else stored
        self._lost += last - self._reached - len(records)
        self._history.write(lambda session: session.change(NOTE, self._place(last)))
        self._reached = last
        self._sent += len(records)
        return True

    def _begin(self, session: Session) -> int:
        rows = session.rows(REACHED, {"daemon": self._daemon, "sink": self._sink.name})
        if rows:
            return int(rows[0]["id"])
        session.change(NOTE, self._place(self._first))
        return self._first

    def _place(self, number: int) -> dict[str, object]:
        return {"daemon": self._daemon, "sink": self._sink.name, "id": number}

    def _failed(self, error: TaintwatchError) -> None:
        self._failures += 1
        if self._trouble is None:
            _log.error("alerts wait in the history, %s takes none: %s", self._sink.name, error)
        self._trouble = str(error)
        self._not_before = self._clock() + self._wait_s
        self._wait_s = min(LONGEST_WAIT_S, 2 * self._wait_s)
