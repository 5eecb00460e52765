"""Alerts as the page shows them and sends them: from the store where there is one, else from memory."""

from __future__ import annotations

import json
import shutil
import tempfile
import zipfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.responses import FileResponse, Response
from starlette.types import Receive, Scope, Send

from taintwatch.alerts.messages import as_json
from taintwatch.evidence.annotations import Annotation, Annotations
from taintwatch.evidence.audit import AuditLog
from taintwatch.evidence.export import export_alerts
from taintwatch.evidence.folder import CLIP, FRAME, OVERLAY, SCORES, EvidenceFolder
from taintwatch.evidence.media import encode_jpeg, shrink
from taintwatch.evidence.media_store import LocalMedia
from taintwatch.evidence.reader import AlertReader, Filter, StoredAlert
from taintwatch.records import Alert, AlertState
from taintwatch.review.judgements import Judgements
from taintwatch.web.live import LiveState, finite
from taintwatch_models.errors import BadFrame, TaintwatchError, UsageError
from taintwatch_models.image_file import read_image

__all__ = ["FILES", "AlertRepository", "Exports", "Passing", "summary_of"]

FILES = {"clip": CLIP, "frame": FRAME, "overlay": OVERLAY, "scores": SCORES}
_THUMBNAIL_WIDTH, _THUMBNAIL_QUALITY = 240, 80  # twice the width in the list, for fine screens


class AlertRepository:
    """Reads alerts, and writes what people say of them. Any thread may call."""

    def __init__(
        self, live: LiveState, folder: EvidenceFolder | None, audit: AuditLog, acknowledged_h: float = 24.0
    ) -> None:
        """`folder` None: no alert is kept, so that only those of this start are known. The rest as in `Judgements`."""
        self._live = live
        self._folder = folder
        self._annotations = None if folder is None else Annotations(folder.history)
        self._judgements = None if folder is None else Judgements(folder, audit, acknowledged_h=acknowledged_h)

    @property
    def keeps_alerts(self) -> bool:
        """Whether alerts outlive this start."""
        return self._folder is not None

    def alerts(self, wanted: Filter) -> list[dict[str, Any]]:
        """Return summaries, newest first. Raises `TaintwatchError`."""
        if self._folder is None:
            return [summary_of(alert) | {"files": []} for alert in reversed(self._remembered(wanted))]
        kept = AlertReader(self._folder.history).alerts(wanted)
        ids = [one.event_id for one in kept]
        latest, annotations = self._latest(ids), self._annotations_of(ids)
        here = isinstance(self._folder.media, LocalMedia)  # a store on the network is not asked for hundreds
        return [
            _summary(one, latest.get(one.event_id), annotations.get(one.event_id))
            | {"files": self._files(one.event_id) if here else []}
            for one in reversed(kept)
        ]

    def alert(self, event_id: str) -> dict[str, Any]:
        """Return all of one alert: its summary, its records and which files there are. Raises `UsageError`."""
        if self._folder is None:
            records = [alert for _, alert in self._live.alerts_since(0) if alert.event_id == event_id]
            if not records:
                raise _unknown(event_id)
            return summary_of(records[-1]) | {"records": [{"body": asdict(alert)} for alert in records], "files": []}
        messages = AlertReader(self._folder.history).records(event_id)
        if not messages or not isinstance(messages[-1].body, Alert):
            raise _unknown(event_id)
        annotation = self._annotations_of([event_id]).get(event_id)
        return summary_of(messages[-1].body, annotation) | {
            "records": [json.loads(as_json(message)) for message in messages],
            "files": self._files(event_id),
        }

    def _files(self, event_id: str) -> list[str]:
        """Return which kinds of files there are of an alert."""
        media = None if self._folder is None else self._folder.media_of(event_id)
        names = {file.name for file in (() if media is None else media.files)}
        return [kind for kind, name in FILES.items() if name in names]

    def file(self, event_id: str, kind: str, scratch: Path) -> Path | None:
        """Return a picture or the clip of an alert, where it is there; fetched to `scratch` where it is not here."""
        if self._folder is None or kind not in FILES:
            return None
        try:
            return self._folder.media.local(event_id, FILES[kind], scratch)
        except (OSError, ValueError):
            return None

    def thumbnail(self, event_id: str) -> bytes | None:
        """Return an alert's overlay as a small JPEG, for the list; None: there is none that can be read."""
        with tempfile.TemporaryDirectory(prefix="taintwatch-media-") as scratch:
            path = self.file(event_id, "overlay", Path(scratch))
            try:
                whole = None if path is None else read_image(path)
            except BadFrame:
                whole = None
        return None if whole is None else encode_jpeg(shrink(whole, _THUMBNAIL_WIDTH), _THUMBNAIL_QUALITY)

    @property
    def judgements(self) -> Judgements:
        """What people say of alerts. Raises `UsageError` where none is kept."""
        if self._judgements is None:
            raise UsageError("Alerts are not kept, so nothing can be said of them: give [evidence] a folder.")
        return self._judgements

    def review(self) -> dict[str, Any]:
        """Return what is dismissed and snoozed now. JSON-ready; times in milliseconds. Raises `TaintwatchError`."""
        if self._judgements is None:
            return {"dismissals": [], "snoozes": {}}
        return {
            "dismissals": [
                asdict(one) | {
                    "created_ms": one.created_wall_ns // 1_000_000,
                    "until_ms": None if one.until_wall_ns is None else one.until_wall_ns // 1_000_000,
                }
                for one in self._judgements.dismissals.all()
            ],
            "snoozes": {camera: until // 1_000_000 for camera, until in self._judgements.snoozes.all().items()},
        }  # fmt: skip

    def export(self, wanted: Filter, scratch: Path) -> Path:
        """Write the alerts with their evidence and notes as a zip file below `scratch`. Raises `TaintwatchError`."""
        if self._folder is None:
            raise UsageError("Alerts are not kept: give [evidence] a folder.")
        kept = AlertReader(self._folder.history).alerts(wanted)
        target = Path(tempfile.mkdtemp(dir=scratch)) / "alerts.zip"
        export_alerts(self._folder, kept, target)
        annotations = self._annotations_of([one.event_id for one in kept])
        with zipfile.ZipFile(target, "a") as archive:
            archive.writestr(
                "notes.json", json.dumps({key: asdict(annotation) for key, annotation in annotations.items()}, indent=1)
            )
        return target

    def close(self) -> None:
        """Close the history. May be called again."""
        if self._folder is not None:
            self._folder.history.close()

    def _annotations_of(self, ids: Iterable[str]) -> dict[str, Annotation]:
        return {} if self._annotations is None else self._annotations.of(ids)

    def _latest(self, ids: Sequence[str]) -> dict[str, Alert]:
        """Return the last record of each of these alerts; a damaged one is left out."""
        if self._folder is None:
            return {}
        found = AlertReader(self._folder.history).latest(ids)
        return {event_id: message.body for event_id, message in found.items() if isinstance(message.body, Alert)}

    def _remembered(self, wanted: Filter) -> list[Alert]:
        latest = {alert.event_id: alert for _, alert in self._live.alerts_since(0)}
        found = [alert for alert in latest.values() if _is_wanted(alert, wanted)]
        return sorted(found, key=lambda alert: alert.raised_wall_ns)[-wanted.limit :]


def summary_of(alert: Alert, annotation: Annotation | None = None) -> dict[str, Any]:
    """Return what the list and the timeline say of an alert. JSON-ready; times in milliseconds."""
    annotation = annotation or Annotation()
    ended = alert.state.is_end
    return {
        "event_id": alert.event_id,
        "camera": alert.camera,
        "state": alert.state.value,
        "raised_ms": alert.raised_wall_ns // 1_000_000,
        "ended_ms": alert.wall_ns // 1_000_000 if ended else None,
        "label": alert.label_name,
        "recovered": alert.recovered_name,
        "confidence": finite(alert.confidence),
        "score": finite(alert.score),
        "threshold": finite(alert.threshold),
        "detectors": list(alert.detectors),
        "acknowledged_ms": None
        if annotation.acknowledged_wall_ns is None
        else annotation.acknowledged_wall_ns // 1_000_000,
        "judgement": annotation.judgement,
        "note": annotation.note,
    }


def _summary(kept: StoredAlert, alert: Alert | None, annotation: Annotation | None) -> dict[str, Any]:
    if alert is not None:
        return summary_of(alert, annotation)
    state = AlertState(kept.state)
    bare = Alert(
        kept.event_id, state, kept.camera, (), kept.raised_wall_ns, kept.wall_ns, 0, 0, 0, None, 0, 0, kept.label_name,
        None, None, 0.0, kept.score, 0.0, None,
    )  # fmt: skip
    return summary_of(bare, annotation) | {"confidence": None, "threshold": None}


def _is_wanted(alert: Alert, wanted: Filter) -> bool:
    is_open = alert.state in (AlertState.RAISED, AlertState.UPDATED)
    return (
        (wanted.camera is None or alert.camera == wanted.camera)
        and (wanted.since_ns is None or alert.raised_wall_ns >= wanted.since_ns)
        and (wanted.until_ns is None or alert.raised_wall_ns < wanted.until_ns)
        and (wanted.state is None or (is_open if wanted.state == "open" else alert.state.value == wanted.state))
    )


def _unknown(event_id: str) -> UsageError:
    return UsageError(f"There is no alert {event_id[:64]}.")


MOST = 2  # at once: each may be as large as all the evidence


class Exports:
    """Makes them. Used by the page's event loop alone."""

    def __init__(self, repository: AlertRepository) -> None:
        self._repository = repository
        self._under_way = 0

    async def answer(self, wanted: Filter) -> Response:
        """Return an answer that sends the alerts and then removes the file. Raises `TaintwatchError`."""
        if self._under_way >= MOST:
            raise TaintwatchError("Other exports are on their way; try again later.")
        self._under_way += 1
        scratch = Path(tempfile.mkdtemp(prefix="taintwatch-export-"))
        try:
            target = await run_in_threadpool(self._repository.export, wanted, scratch)
        except BaseException:
            self._end(scratch)
            raise
        return Passing(target, lambda: self._end(scratch), filename="taintwatch-alerts.zip")

    def _end(self, scratch: Path) -> None:
        self._under_way -= 1
        shutil.rmtree(scratch, ignore_errors=True)


class Passing(FileResponse):
    """A file whose end is told once it was sent, or once that broke off."""

    def __init__(self, target: Path, ended: Callable[[], None], **headers: Any) -> None:
        super().__init__(target, **headers)
        self._ended = ended

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._ended()
