"""Copies of alerts to take along: a folder or a zip file, whole or not at all."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from taintwatch.evidence.folder import EvidenceFolder
from taintwatch.evidence.listing import as_object
from taintwatch.evidence.reader import AlertReader, Kept
from taintwatch_models.errors import UsageError

__all__ = ["export_alerts"]


def export_alerts(folder: EvidenceFolder, wanted: Sequence[Kept], target: Path) -> None:
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


def _write_folder(folder: EvidenceFolder, wanted: Sequence[Kept], made: Path) -> None:
    made.mkdir(mode=0o700)
    for name, source in _files(folder, wanted):
        (made / name).parent.mkdir(mode=0o700, exist_ok=True)
        shutil.copyfile(source, made / name)
        (made / name).chmod(0o600)
    (made / "alerts.json").write_text(_summary(folder, wanted), encoding="utf-8")
    (made / "alerts.json").chmod(0o600)


def _write_zip(folder: EvidenceFolder, wanted: Sequence[Kept], made: Path) -> None:
    descriptor = os.open(made, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "w+b") as stream, zipfile.ZipFile(stream, "w") as archive:
        for name, source in _files(folder, wanted):
            archive.write(source, name)  # stored: pictures and clips are compressed already
        archive.writestr("alerts.json", _summary(folder, wanted), zipfile.ZIP_DEFLATED)


def _files(folder: EvidenceFolder, wanted: Sequence[Kept]) -> Iterator[tuple[str, Path]]:
    for kept in wanted:
        media = folder.media_of(kept.event_id)
        for path in () if media is None else media.files:
            if not path.is_file():
                continue  # the daemon has just removed it, to make room
            yield f"{kept.event_id}/{path.name}", path


def _summary(folder: EvidenceFolder, wanted: Sequence[Kept]) -> str:
    reader = AlertReader(folder.database)
    objects = []
    for kept in wanted:
        media = folder.media_of(kept.event_id)
        shown = as_object(kept, media, reader.records(kept.event_id))
        shown["files"] = [f"{kept.event_id}/{path.name}" for path in (() if media is None else media.files)]
        objects.append(shown)
    return json.dumps(objects, ensure_ascii=False, indent=1) + "\n"
