"""All cameras at a glance: those watched here, and those of other daemons and sites that the history knows of."""

from __future__ import annotations

import time
from typing import Any

from taintwatch.cameras.camera_status import CameraStatus
from taintwatch.evidence.folder import EvidenceFolder
from taintwatch.evidence.reader import AlertReader, CameraAlerts
from taintwatch.web.live import LiveState

__all__ = ["CameraList"]

DAY_NS = 86_400_000_000_000
NOT_WATCHED = frozenset({"lost", "stale", "waiting", "failed", "stopped"})
BEING_STARTED = frozenset({"connecting", "loading", "starting", "moving"})


class CameraList:
    """Answers for the page's list of cameras. Any thread may ask."""

    def __init__(self, live: LiveState, folder: EvidenceFolder | None, site: str) -> None:
        """`folder` None: no alert is kept, so that only the cameras watched here are known."""
        self._live = live
        self._folder = folder
        self._site = site

    def all(self) -> list[dict[str, Any]]:
        """Return the cameras, the worst first: open alerts, not watched, alerts of a day. JSON-ready.

        Raises `TaintwatchError`.
        """
        status = self._live.status[1]
        here = {(self._site, each.camera): each for each in (() if status is None else status.cameras)}
        since_ns = time.time_ns() - DAY_NS
        kept = [] if self._folder is None else AlertReader(self._folder.history).cameras(since_ns)
        known = {(each.site, each.camera): each for each in kept}
        rows = [_row(*name, known.get(name), here.get(name)) for name in dict.fromkeys((*known, *here))]
        return sorted(rows, key=_badness)


def _badness(row: dict[str, Any]) -> tuple[int, int, int, str, str]:
    away = 0 if row["state"] in NOT_WATCHED else 1 if row["state"] in BEING_STARTED else 2
    return (-row["open"], away, -row["recent"], row["site"], row["camera"])


def _row(site: str, name: str, kept: CameraAlerts | None, status: CameraStatus | None) -> dict[str, Any]:
    """A camera that another daemon watches has no state: the history knows of its alerts alone."""
    return {
        "site": site,
        "camera": name,
        "state": None if status is None else str(status.state),
        "fps": None if status is None else status.fps,
        "reason": None if status is None else status.reason,
        "alerts": 0 if kept is None else kept.alerts,
        "open": 0 if kept is None else kept.open,
        "recent": 0 if kept is None else kept.recent,
        "last_ms": None if kept is None else kept.last_wall_ns // 1_000_000,
    }
