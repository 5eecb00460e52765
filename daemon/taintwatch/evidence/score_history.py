"""The scores around an alert: one for each frame, from some seconds before it is raised to some after it is over."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from dataclasses import dataclass, field

from taintwatch.records import Alert, AlertState
from taintwatch_models.records import Frame, Verdict

__all__ = ["BEFORE_MS", "MOST", "ScoreDocument", "ScoreHistory"]

BEFORE_MS, AFTER_MS = 10_000, 5_000
STEP_MS = 90  # at most about eleven points a second
MOST = 600  # points of an alert: of one that lasts, every second is left out, then every second of the rest
FIRST_WRITE_MS, LAST_WRITE_MS = 2_000, 30_000  # after the raising; the time between two grows up to this
SILENT_MS, LOST_MS = 15_000, 600_000  # then a subject is let go; one whose alert is open later
LOOK_MS = 1_000

Point = tuple[int, float, float]
"""(wall clock in milliseconds, score, threshold)."""


@dataclass(frozen=True, slots=True)
class ScoreDocument:
    """The history of one alert as it is kept."""

    event_id: str
    text: bytes
    """JSON: `camera`, `subject` and `points` ([milliseconds, score, threshold] each)."""


@dataclass(slots=True)
class _Track:
    """What is remembered of one subject of one camera; of bounded size."""

    points: list[Point] = field(default_factory=list)
    event_id: str | None = None
    step_ms: int = STEP_MS
    write_ms: int = 0
    """When the history is written next."""
    wait_ms: int = FIRST_WRITE_MS
    until_ms: int | None = None
    """When the history of an alert that is over ends; None: it is not over."""
    seen_ms: int = 0

    def silent(self, now_ms: int) -> bool:
        """Whether nothing came for so long that nothing more is expected."""
        is_open = self.event_id is not None and self.until_ms is None
        return now_ms - self.seen_ms > (LOST_MS if is_open else SILENT_MS)


class ScoreHistory:
    """Follows the scores of every subject, and gives the history of an alert as it grows. Used by one thread only.

    Of several detectors the verdict that is farthest above its threshold counts.
    """

    def __init__(self) -> None:
        self._tracks: dict[tuple[str, str | None], _Track] = {}
        self._next_look_ms = 0

    def see(self, frame: Frame, verdicts: Iterable[Verdict], alert: Alert | None) -> list[ScoreDocument]:
        """Take the verdicts of a frame and the alert that came of it; return what is to be written now."""
        key, now_ms = (frame.camera, frame.subject), frame.wall_ns // 1_000_000
        found = self._let_go(now_ms)
        track = self._tracks.setdefault(key, _Track())
        track.seen_ms = now_ms
        if alert is not None and alert.state is AlertState.RAISED:
            found += _document(key, track)  # of an alert that ended without a frame of its own
            written = now_ms + FIRST_WRITE_MS
            self._tracks[key] = track = _Track(track.points, alert.event_id, write_ms=written, seen_ms=now_ms)
        _add(track, now_ms, verdicts)
        if alert is not None and alert.state.is_end:
            track.until_ms = now_ms + AFTER_MS
        if track.event_id is None:
            while track.points and track.points[0][0] < now_ms - BEFORE_MS:
                del track.points[0]
        elif track.until_ms is not None and now_ms >= track.until_ms:
            found += _document(key, track)
            newest = [point for point in track.points if point[0] >= now_ms - BEFORE_MS]
            self._tracks[key] = _Track(newest, seen_ms=now_ms)
        elif now_ms >= track.write_ms:
            found += _document(key, track)
            track.wait_ms = min(2 * track.wait_ms, LAST_WRITE_MS)
            track.write_ms = now_ms + track.wait_ms
        return found

    def close(self) -> list[ScoreDocument]:
        """Forget all; return what is to be written of every alert that is not over for long."""
        tracks, self._tracks = self._tracks, {}
        return [document for key, track in tracks.items() for document in _document(key, track)]

    def _let_go(self, now_ms: int) -> list[ScoreDocument]:
        """Forget subjects that have left, now and then; return what is to be written of their alerts."""
        if 0 <= self._next_look_ms - now_ms <= LOOK_MS:
            return []
        self._next_look_ms = now_ms + LOOK_MS
        keys = [key for key, track in self._tracks.items() if track.silent(now_ms)]
        return [document for key in keys for document in _document(key, self._tracks.pop(key))]


def _add(track: _Track, now_ms: int, verdicts: Iterable[Verdict]) -> None:
    known = [each for each in verdicts if each.checked and math.isfinite(each.score) and math.isfinite(each.threshold)]
    last = track.points[-1][0] if track.points else now_ms - track.step_ms
    if not known or 0 <= now_ms - last < track.step_ms:
        return
    strongest = max(known, key=lambda each: (each.score - each.threshold) / max(abs(each.threshold), 1e-9))
    track.points.append((now_ms, round(strongest.score, 3), round(strongest.threshold, 3)))
    if len(track.points) > MOST:
        track.points = track.points[::2]
        track.step_ms *= 2


def _document(key: tuple[str, str | None], track: _Track) -> list[ScoreDocument]:
    if track.event_id is None or not track.points:
        return []
    told = {"camera": key[0], "subject": key[1], "points": track.points}
    return [ScoreDocument(track.event_id, json.dumps(told).encode())]
