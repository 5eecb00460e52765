"""What a viewer is sent, for as long as it looks: pictures, statistics, statuses and alerts in one answer.

Records of two lengths (4 bytes each, big-endian), JSON and JPEG. Whatever is newest when there is room is sent, so
that a slow viewer sees fewer pictures and waits for nobody, and nobody for it.
"""

from __future__ import annotations

import asyncio
import json
import logging
import struct
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from typing import Any

from starlette.datastructures import QueryParams
from starlette.responses import PlainTextResponse
from starlette.types import Receive, Scope, Send

from taintwatch.evidence.media import PictureError
from taintwatch.status import RunStatus
from taintwatch.web.live import LiveState, Point
from taintwatch.web.previews import Preview, Previews
from taintwatch.web.repository import summary_of
from taintwatch_models.errors import TaintwatchError

__all__ = ["Audience", "AudienceStats", "pack"]

_log = logging.getLogger(__name__)

STUCK_S = 8.0  # a viewer that takes nothing for so long is let go
TOGETHER = 150.0  # pictures a second for all viewers together: beyond, each gets fewer
SLOWEST_S = 1.0
BEAT_S = 2.0  # something is sent at least this often, so that the page knows that we live


@dataclass(frozen=True, slots=True)
class AudienceStats:
    """Counts since the start. JSON-ready."""

    viewers: int
    refused: int
    """Turned away because there were as many as are allowed."""
    dropped: int
    """Let go because they took nothing."""
    sent: int
    """Previews sent."""
    skipped: int
    """Frames that a viewer was not shown, summed over viewers: a newer one came first."""
    encoded: int


@dataclass(slots=True)
class _Viewer:
    cameras: frozenset[str] | None
    """None: all."""
    pictures: bool
    reconstruction: bool
    alert: int
    status: int = 0
    points: dict[str, int] = field(default_factory=dict)
    seen: dict[str, int] = field(default_factory=dict)
    """Camera -> capture time of the picture that was sent last: not the picture, which would be held in memory."""


class Audience:
    """Everybody who looks at the moment. Used by the page's event loop alone."""

    def __init__(
        self,
        live: LiveState,
        pictures: Previews,
        worker: ThreadPoolExecutor,
        *,
        fps: float,
        most: int,
        stopping: Callable[[], bool],
        stuck_s: float = STUCK_S,
    ) -> None:
        """`worker` has one thread: pictures are made there. `fps`, `most`: pictures a second, viewers."""
        self._live, self._pictures, self._worker = live, pictures, worker
        self._fps, self._most, self._stopping, self._stuck_s = fps, most, stopping, stuck_s
        self._status_record: tuple[int, bytes] = (0, b"")
        self._picture_records: dict[str, tuple[object, bytes]] = {}
        """Camera -> what was packed last, and what of: viewers that keep up all get the same."""
        self._viewers = self._refused = self._dropped = self._sent = self._skipped = 0

    def stats(self) -> AudienceStats:
        """Return the counts so far. Any thread may ask."""
        encoded = self._pictures.encoded
        return AudienceStats(self._viewers, self._refused, self._dropped, self._sent, self._skipped, encoded)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one viewer until it goes, is stuck, or the daemon stops."""
        if self._viewers >= self._most:
            self._refused += 1
            await PlainTextResponse("Too many viewers; try again later.\n", 503)(scope, receive, send)
            return
        self._viewers += 1
        gone = asyncio.create_task(_until_gone(receive))
        try:
            headers = [(b"content-type", b"application/octet-stream"), (b"x-accel-buffering", b"no")]
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            await self._show(_viewer(QueryParams(scope["query_string"]), self._live), send, gone)
        except (TimeoutError, OSError):
            self._dropped += 1
            _log.info("a viewer took nothing for %.0f s and was let go", self._stuck_s)
        finally:
            self._viewers -= 1
            gone.cancel()

    async def _show(self, viewer: _Viewer, send: Send, gone: asyncio.Task[None]) -> None:
        loop = asyncio.get_running_loop()
        beat = 0.0
        while not gone.done() and not self._stopping():
            began = loop.time()
            body = await self._news(viewer)
            if not body and began - beat > BEAT_S:
                body = pack({"kind": "beat"})
            if body:
                beat = began
                async with asyncio.timeout(self._stuck_s):
                    await send({"type": "http.response.body", "body": body, "more_body": True})
            await asyncio.wait([gone], timeout=max(0.005, began + self._interval_s() - loop.time()))
        if not gone.done():
            await send({"type": "http.response.body", "body": b"", "more_body": False})

    def _interval_s(self) -> float:
        return min(SLOWEST_S, max(1.0 / self._fps, self._viewers / TOGETHER))

    async def _news(self, viewer: _Viewer) -> bytes:
        """Return everything that this viewer has not been sent yet."""
        parts = []
        for number, alert in self._live.alerts_since(viewer.alert):
            viewer.alert = number
            parts.append(pack({"kind": "alert", "alert": summary_of(alert)}))
        number, status = self._live.status
        if status is not None and number != viewer.status:
            viewer.status = number
            parts.append(self._pack_status(number, status))
        if status is not None and viewer.pictures:
            for camera in status.cameras:
                if viewer.cameras is None or camera.camera in viewer.cameras:
                    parts.append(await self._picture(viewer, camera.camera))
        return b"".join(parts)

    async def _picture(self, viewer: _Viewer, camera: str) -> bytes:
        step = self._live.newest(camera)
        if step is None or viewer.seen.get(camera) == step.frame.captured_ns:
            return b""
        try:
            made = self._pictures.made(camera, step, viewer.reconstruction)
            picture, rebuilt = made or await self._made(camera, viewer.reconstruction)
        except (PictureError, TaintwatchError) as error:
            _log.debug("no picture of camera %s: %s", camera, error)
            return b""
        if picture is None or viewer.seen.get(camera) == picture.step.frame.captured_ns:
            return b""
        viewer.seen[camera] = picture.step.frame.captured_ns
        self._sent += 1
        before = viewer.points.get(camera, 0)
        points = self._live.points_since(camera, before)
        if points:
            viewer.points[camera] = points[-1].number
            self._skipped += points[-1].number - before - 1 if before else 0
        return self._pack_picture(camera, picture, rebuilt, points)

    async def _made(self, camera: str, reconstruction: bool) -> tuple[Preview | None, str | None]:
        return await asyncio.get_running_loop().run_in_executor(self._worker, self._make, camera, reconstruction)

    def _pack_status(self, number: int, status: RunStatus) -> bytes:
        if self._status_record[0] != number:
            names = frozenset(camera.camera for camera in status.cameras)
            self._pictures.forget_others(names)
            self._picture_records = {name: kept for name, kept in self._picture_records.items() if name in names}
            told = {"kind": "status", "status": asdict(status), "audience": asdict(self.stats())}
            self._status_record = number, pack(told)
        return self._status_record[1]

    def _pack_picture(self, camera: str, picture: Preview, rebuilt: str | None, points: list[Point]) -> bytes:
        of = (picture, rebuilt, points[0].number if points else 0, len(points))
        known = self._picture_records.get(camera)
        if known is None or known[0] != of:
            told = picture.told | {"kind": "picture", "camera": camera, "points": [_row(each) for each in points]}
            told |= {} if rebuilt is None else {"reconstruction": rebuilt}
            known = self._picture_records[camera] = of, pack(told, picture.jpeg)
        return known[1]

    def _make(self, camera: str, reconstruction: bool) -> tuple[Preview | None, str | None]:
        picture = self._pictures.of(camera)
        return picture, self._pictures.reconstruction(picture) if reconstruction and picture is not None else None


def pack(told: dict[str, Any], jpeg: bytes = b"") -> bytes:
    """Return one record of the stream."""
    text = json.dumps(told, allow_nan=False, separators=(",", ":")).encode()
    return struct.pack(">II", len(text), len(jpeg)) + text + jpeg


def _row(point: Point) -> list[Any]:
    return [point.frame, point.wall_ms, point.scores, round(point.level, 3), point.raised]


def _viewer(query: QueryParams, live: LiveState) -> _Viewer:
    """Read what a viewer wants. Alerts are told from now on; those before are asked for by themselves."""
    camera = query.get("camera")
    return _Viewer(
        cameras=None if camera is None else frozenset([camera]),
        pictures=query.get("pictures") != "0",
        reconstruction=query.get("reconstruction") == "1",
        alert=live.alert_number,
    )


async def _until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
