"""The rounds of the scripted attack: which of them was alerted, and what the daemon saw of one that was not."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from benchmarks.soaking.subscriber_log import SubscriberLog
from taintwatch.cameras.camera_status import CameraStatus

__all__ = ["Log", "Look", "lives", "lost_rounds"]

ROUND, ATTACKED = 100, range(40, 70)  # frames of a round, and those of it that show the attack: see `site.SIM`
PATIENCE = 5  # further frames, by which an attack must have been alerted: those of the vote


@dataclass(frozen=True, slots=True)
class Look:
    """Where the camera stood at one moment."""

    at_s: float
    status: CameraStatus


@dataclass(frozen=True, slots=True)
class Life:
    """One alert, in frames."""

    event_id: str
    raised: int
    ended: int | None
    """None: it is still open."""
    suspicious_frames: int


@dataclass(slots=True)
class Log:
    """What the daemon said of the camera, look by look."""

    camera: str
    looks: list[Look] = field(default_factory=list)

    def look(self, subscriber: SubscriberLog) -> None:
        """Note where it stands, where something new was said of it."""
        status = subscriber.status(self.camera)
        if status is not None and (not self.looks or self.looks[-1].status != status):
            self.looks.append(Look(time.monotonic(), status))

    @property
    def frames(self) -> range:
        """The frames that came from the first look to the last."""
        if not self.looks:
            return range(0)
        return range(self.looks[0].status.captured, self.looks[-1].status.captured)


def lives(alerts: Iterable[dict[str, Any]], camera: str) -> list[Life]:
    """Return the alerts of a camera, from the records that the daemon printed."""
    known: dict[str, Life] = {}
    for each in alerts:
        if each["camera"] == camera:
            ended = each["frame_index"] if each["state"] in ("cleared", "interrupted") else None
            known[each["event_id"]] = Life(
                each["event_id"], each["raised_frame_index"], ended, each["suspicious_frames"]
            )
    return list(known.values())


def lost_rounds(log: Log, alerts: Sequence[Life]) -> tuple[int, list[dict[str, Any]]]:
    """Return how many attacks were shown from beginning to end, and a row for each that had no alert of its own.

    The camera's frames are numbered, and none is left out, so that their numbers say what each shows.
    """
    first, last = log.frames.start // ROUND + 1, log.frames.stop // ROUND
    shown = range(first, last)
    rows = []
    for number in shown:
        attack = range(number * ROUND + ATTACKED.start, number * ROUND + ATTACKED.stop + PATIENCE)
        if not any(life.raised in attack for life in alerts):
            rows.append(_row(number, attack, log, alerts))
    return len(shown), rows


def _row(number: int, attack: range, log: Log, alerts: Sequence[Life]) -> dict[str, Any]:
    """Return what the daemon said while an attack was shown, from a round before it; frames count from its first."""
    before = range(attack.start - ROUND, attack.stop)
    looks = [look for look in log.looks if look.status.captured in before]
    return {
        "round": number,
        "alerts": [
            {
                "raised": life.raised - attack.start,
                "ended": None if life.ended is None else life.ended - attack.start,
                "suspicious_frames": life.suspicious_frames,
            }
            for life in alerts
            if life.raised < attack.stop and (life.ended is None or life.ended > before.start)
        ],
        "looks": [_numbers(look, attack.start, looks[0]) for look in looks],
    }


def _numbers(look: Look, start: int, first: Look) -> dict[str, Any]:
    status, base = look.status, first.status
    return {
        "s": round(look.at_s - first.at_s, 1),
        "frame": status.captured - start,
        "judged": status.frames - base.frames,
        "dropped": status.dropped - base.dropped,
        "rejected": status.rejected - base.rejected,
        "reconnects": status.reconnects - base.reconnects,
        "state": status.state.value,
        "arming": status.arming,
    }
