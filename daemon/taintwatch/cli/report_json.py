"""What `taintwatch run --json` prints: one JSON object a line, the last a summary."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any, TextIO

from taintwatch.cameras.camera_status import CameraStatus
from taintwatch.records import Alert
from taintwatch.status import RunStatus, Summary
from taintwatch_models.classifier import ModelCard

__all__ = ["JsonReporter"]


class JsonReporter:
    """Prints `started`, `alert`, `status` (every `status_s` seconds) and `summary` objects, named by their `kind`."""

    def __init__(
        self, out: TextIO, *, status_s: float, quiet: bool = False, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """`quiet` leaves out the statuses."""
        self._out = out
        self._status_s = status_s
        self._quiet = quiet
        self._clock = clock
        self._next = clock() + status_s

    def started(self, card: ModelCard, cameras: Sequence[CameraStatus], endpoint: str | None) -> None:
        self._print(
            {
                "kind": "started",
                "model": card.name,
                "model_hash": card.model_hash,
                "provider": card.provider,
                "endpoint": endpoint,
                "cameras": {camera.camera: camera.source for camera in cameras},
            }
        )

    def alert(self, alert: Alert) -> None:
        self._print({"kind": "alert", **asdict(alert)})

    def progress(self, status: RunStatus) -> None:
        now = self._clock()
        if not self._quiet and now >= self._next:
            self._next = now + self._status_s
            self._print({"kind": "status", **asdict(status)})

    def finished(self, summary: Summary) -> None:
        self._print({"kind": "summary", **asdict(summary)})

    def _print(self, record: Mapping[str, Any]) -> None:
        # Flushed line by line: whoever reads a pipe wants an alert now.
        self._out.write(json.dumps(record, allow_nan=False) + "\n")
        self._out.flush()
