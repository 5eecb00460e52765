"""How the fleet stands, in a file beside `fleet run`: what `fleet status` reads, without asking the cluster."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from taintwatch.config.sections import Config
from taintwatch.references import state_folder
from taintwatch_models.errors import TaintwatchError, UsageError
from taintwatch_models.storage import write_atomically

__all__ = ["read_status", "status_lines", "status_path", "write_status"]

OLD_S = 15.0  # it is written every second: then nobody writes it any more
STATE_ORDER = ("waiting", "failed", "lost", "stale", "starting", "loading", "moving", "connecting", "running")


def status_path(config: Config) -> Path:
    """Return where the file lies."""
    if config.fleet.status_file is not None:
        return Path(config.fleet.status_file)
    return state_folder(config) / f"fleet-{config.site}.json"


def write_status(path: Path, status: Mapping[str, Any]) -> None:
    """Write the file, whole or not at all, for its owner alone. Raises `UsageError` where it cannot be written."""
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_atomically(path, json.dumps(status).encode() + b"\n", mode=0o600)
    except OSError as error:
        raise UsageError(
            f"{path} cannot be written: {error.strerror}. Give [fleet] status_file another one."
        ) from error


def read_status(path: Path, wall_ns: int | None = None) -> dict[str, Any]:
    """Return the last status. Raises `TaintwatchError` where no fleet runs, or none ever did here."""
    try:
        status: dict[str, Any] = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise TaintwatchError(f"no fleet runs here: there is no {path}; start it with `taintwatch fleet run`") from None
    except (OSError, ValueError) as error:
        raise TaintwatchError(f"{path} cannot be read: {error}") from error
    age_s = ((time.time_ns() if wall_ns is None else wall_ns) - status["wall_ns"]) / 1e9
    if age_s > OLD_S:
        raise TaintwatchError(f"the fleet does not run any more: {path} was written {age_s:.0f} s ago")
    return status


def status_lines(status: Mapping[str, Any]) -> Iterator[str]:
    """Yield the status for people: a line in all, one for each machine, one for each camera, the worst first."""
    rows = [(camera, group) for group in status["groups"] for camera in group["cameras"]]
    running = sum(camera["state"] == "running" for camera, _ in rows)
    yield f"{status['fleet']}: {running} of {len(rows)} cameras running, on {len(status['nodes'])} machines"
    for node in status["nodes"]:
        yield f"  {node['host']} ({node['node'][:8]}): {node['groups']} of {node['room']} groups"
    for camera, group in sorted(rows, key=lambda row: (_rank(row[0]["state"]), row[0]["camera"])):
        where = "nowhere" if group["host"] is None else f"{group['host']} ({group['node'][:8]})"
        fps = f"{camera['fps']:.1f} frames/s" if camera.get("fps") is not None else ""
        why = camera.get("reason") or group.get("reason") or ""
        yield "  ".join(part for part in (camera["camera"], camera["state"], where, group["group"], fps, why) if part)


def _rank(state: str) -> int:
    return STATE_ORDER.index(state) if state in STATE_ORDER else len(STATE_ORDER)
