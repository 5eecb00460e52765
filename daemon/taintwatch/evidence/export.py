"""Stored alerts as text, as JSON, and as copies to take along: a folder or a zip file, whole or not at all."""

from __future__ import annotations

import json
import os
import re
import shutil
import tempfile
import time
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any

from taintwatch.alerts.lines import pretty_line
from taintwatch.alerts.messages import Message, as_json
from taintwatch.csv_rows import csv_row
from taintwatch.evidence.folder import EvidenceFolder
from taintwatch.evidence.media_store import Media
from taintwatch.evidence.reader import AlertReader, StoredAlert
from taintwatch.printable import printable
from taintwatch_models.errors import UsageError

__all__ = ["CSV_COLUMNS", "as_object", "csv_line", "export_alerts", "moment_ns", "one_line", "record_lines"]


def export_alerts(folder: EvidenceFolder, wanted: Sequence[StoredAlert], target: Path) -> None:
    """Write `alerts.json` and `EVENT_ID/...` to `target`: a .zip file, else a folder; readable by the user alone.

    Raises `UsageError` where `target` is there already or cannot be written, `TaintwatchError` for a damaged database.
    """
    if target.exists():
        raise UsageError(f"{target} is there already. Give a new name.")
    try:
        with tempfile.TemporaryDirectory(prefix=f".{target.name}.", dir=target.parent) as scratch:
            made = Path(scratch) / "export"
            if target.suffix == ".zip":
                _write_zip(folder, wanted, made)
            else:
                _write_folder(folder, wanted, made)
            made.rename(target)
    except OSError as error:
        raise UsageError(f"{target} cannot be written: {error.strerror or error}.") from error


def _write_folder(folder: EvidenceFolder, wanted: Sequence[StoredAlert], made: Path) -> None:
    made.mkdir(mode=0o700)
    for name, source in _files(folder, wanted):
        (made / name).parent.mkdir(mode=0o700, exist_ok=True)
        shutil.copyfile(source, made / name)
        (made / name).chmod(0o600)
    (made / "alerts.json").write_text(_summary(folder, wanted), encoding="utf-8")
    (made / "alerts.json").chmod(0o600)


def _write_zip(folder: EvidenceFolder, wanted: Sequence[StoredAlert], made: Path) -> None:
    descriptor = os.open(made, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "w+b") as stream, zipfile.ZipFile(stream, "w") as archive:
        for name, source in _files(folder, wanted):
            archive.write(source, name)  # stored: pictures and clips are compressed already
        archive.writestr("alerts.json", _summary(folder, wanted), zipfile.ZIP_DEFLATED)


def _files(folder: EvidenceFolder, wanted: Sequence[StoredAlert]) -> Iterator[tuple[str, Path]]:
    with tempfile.TemporaryDirectory(prefix="taintwatch-media-") as scratch:
        for kept in wanted:
            media = folder.media_of(kept.event_id)
            for file in () if media is None else media.files:
                path = folder.media.local(kept.event_id, file.name, Path(scratch))
                if path is None:
                    continue  # the daemon has just removed it, to make room
                yield f"{kept.event_id}/{file.name}", path


def _summary(folder: EvidenceFolder, wanted: Sequence[StoredAlert]) -> str:
    reader = AlertReader(folder.history)
    objects = []
    for kept in wanted:
        media = folder.media_of(kept.event_id)
        shown = as_object(kept, media, reader.records(kept.event_id))
        shown["files"] = [f"{kept.event_id}/{file.name}" for file in (() if media is None else media.files)]
        objects.append(shown)
    return json.dumps(objects, ensure_ascii=False, indent=1) + "\n"


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


def one_line(kept: StoredAlert, media: Media | None) -> str:
    """Return one alert on one line: id, time, camera, state, label, score, duration, and what files there are."""
    files = "" if media is None else "  " + " ".join(file.stem for file in media.files)
    lasted = max(0, kept.wall_ns - kept.raised_wall_ns) / 1e9
    return (
        f"{kept.event_id[:12]}  {_time(kept.raised_wall_ns)}  {kept.camera}  {kept.state:<11}  "
        f"{printable(kept.label_name)}  score {kept.score:.3g}  {lasted:.1f} s{files}"
    )


def as_object(kept: StoredAlert, media: Media | None, records: Sequence[Message] | None = None) -> dict[str, Any]:
    """Return one alert as a JSON-ready object; with its records, as they were published, where they are given."""
    summary: dict[str, Any] = asdict(kept)
    summary["files"] = [] if media is None else [file.address for file in media.files]
    if records is not None:
        summary["published"] = [json.loads(as_json(record)) for record in records]
    return summary


CSV_COLUMNS = (
    "event_id", "site", "camera", "state", "raised", "until", "label_name", "score", "records", "record_bytes", "files",
)  # fmt: skip
"""Times are ISO 8601 with the zone; `until`: of the frame that the last record speaks of; `files` are parted by a |."""


def csv_line(kept: StoredAlert, media: Media | None) -> str:
    """Return one alert as a record of CSV, in the order of `CSV_COLUMNS`."""
    values = as_object(kept, media)
    values |= {"raised": _time(kept.raised_wall_ns), "until": _time(kept.wall_ns), "files": "|".join(values["files"])}
    return csv_row([values[name] for name in CSV_COLUMNS])


def record_lines(kept: StoredAlert, media: Media | None, records: Sequence[Message]) -> Iterator[str]:
    """Yield one alert in full, for people."""
    yield f"{kept.event_id}  {kept.site}/{kept.camera}  {kept.state}  raised {_time(kept.raised_wall_ns)}"
    for record in records:
        yield f"  {pretty_line(record).plain}"
    for file in () if media is None else media.files:
        yield f"  {file.address}  ({file.bytes} bytes)"


def _time(wall_ns: int) -> str:
    try:
        return datetime.fromtimestamp(wall_ns / 1e9).astimezone().isoformat(" ", "seconds")
    except (OverflowError, OSError, ValueError):
        return "----"
