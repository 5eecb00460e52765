"""Kept alerts as text and as JSON, and times as people type them."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any

from taintwatch.alerts.lines import pretty_line, printable
from taintwatch.alerts.messages import Message, as_json
from taintwatch.evidence.folder import Media
from taintwatch.evidence.reader import Kept
from taintwatch_models.errors import UsageError

__all__ = ["as_object", "moment_ns", "one_line", "record_lines"]

AGO = re.compile(r"(\d{1,6})([smhd])")
LATEST_NS = 2**63 - 1  # what the database can count: until the year 2262
SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


def moment_ns(what: str, text: str, now_ns: int | None = None) -> int:
    """Return `time.time_ns()` of a moment: ISO 8601, or a while ago (30m, 12h, 7d). Raises `UsageError`.

    `what` names the flag in the message.
    """
    try:
        moment = _moment_ns(text, time.time_ns() if now_ns is None else now_ns)
        if abs(moment) > LATEST_NS:
            raise OverflowError
    except (ValueError, OverflowError, OSError) as error:
        raise UsageError(
            f"{what}: {text!r} is no time. Give one like 2026-11-20, 2026-11-20T14:30, 30m or 7d."
        ) from error
    return moment


def _moment_ns(text: str, now_ns: int) -> int:
    ago = AGO.fullmatch(text)
    if ago is not None:
        return now_ns - int(ago[1]) * SECONDS[ago[2]] * 1_000_000_000
    return round(datetime.fromisoformat(text).astimezone().timestamp()) * 1_000_000_000


def one_line(kept: Kept, media: Media | None) -> str:
    """Return one alert on one line: id, time, camera, state, label, score, duration, and what files there are."""
    files = "" if media is None else "  " + " ".join(path.stem for path in media.files)
    lasted = max(0, kept.wall_ns - kept.raised_wall_ns) / 1e9
    return (
        f"{kept.event_id[:12]}  {_time(kept.raised_wall_ns)}  {kept.camera}  {kept.state:<11}  "
        f"{printable(kept.label_name)}  score {kept.score:.3g}  {lasted:.1f} s{files}"
    )


def as_object(kept: Kept, media: Media | None, records: Sequence[Message] | None = None) -> dict[str, Any]:
    """Return one alert as a JSON-ready object; with its records, as they were published, where they are given."""
    summary: dict[str, Any] = asdict(kept)
    summary["files"] = [] if media is None else [str(path) for path in media.files]
    if records is not None:
        summary["published"] = [json.loads(as_json(record)) for record in records]
    return summary


def record_lines(kept: Kept, media: Media | None, records: Sequence[Message]) -> Iterator[str]:
    """Yield one alert in full, for people."""
    yield f"{kept.event_id}  {kept.site}/{kept.camera}  {kept.state}  raised {_time(kept.raised_wall_ns)}"
    for record in records:
        yield f"  {pretty_line(record).plain}"
    for path in () if media is None else media.files:
        yield f"  {path}  ({path.stat().st_size} bytes)"


def _time(wall_ns: int) -> str:
    try:
        return datetime.fromtimestamp(wall_ns / 1e9).astimezone().isoformat(" ", "seconds")
    except (OverflowError, OSError, ValueError):
        return "----"
