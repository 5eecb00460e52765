"""Run a fleet of simulated cameras, kill a node, the broker and the database in turn, and count what was recorded.

    python -m benchmarks.fleet --cameras 200 [--json docs/results/fleet.json]

PostgreSQL, NATS, Ray's node processes and the cameras are processes of this machine, started and ended here. The model
is a tiny one that all share: what is measured is the fleet, not a network.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import psutil

from benchmarks.fleet.cameras import schedule_attacks
from benchmarks.fleet.score import score, stream_keys
from benchmarks.fleet.site import FleetSite
from benchmarks.timed_run import all_held
from taintwatch.evidence.chain import verify_chain
from taintwatch.evidence.postgres_history import PostgresHistory
from taintwatch.evidence.reader import AlertReader
from taintwatch_calibration.results import write_json

__all__ = ["main", "run_fleet"]

ATTACK_S, GAP_S = 30.0, 25.0
START_S = 600.0  # until all cameras run, on a busy machine
CITY = 4000
BACK_S = 10.0  # what is promised of cameras whose node was killed


def run_fleet(
    cameras: int, nodes: int, per_group: int, part_s: float, folder: Path, tell: Callable[[str], None]
) -> dict[str, Any]:
    """Run for about six times `part_s` after the start; return what was measured, JSON-ready."""
    names = [f"camera{number:04}" for number in range(cameras)]
    with ExitStack() as stack:
        site = FleetSite(folder, names, nodes, per_group, stack)
        began = time.monotonic()
        if site.wait(lambda status: _running(status) == cameras, START_S) is None:
            raise RuntimeError(f"only {_running(site.status())} of {cameras} cameras run after {START_S:.0f} s")
        tell(f"{cameras} cameras run after {time.monotonic() - began:.0f} s")
        each = max(1, int(5 * part_s / (ATTACK_S + GAP_S)))
        attacks = schedule_attacks(names, time.time() + 2.0, time.time() + 2.0 + 5 * part_s, each, ATTACK_S, GAP_S)
        site.write_schedule(attacks)
        rows: list[dict[str, Any]] = []
        before, cpu = _frames(site.status()), _cpu_s()
        first = _memory(site.status())
        time.sleep(part_s)
        frames, used_s = _frames(site.status()) - before, _cpu_s() - cpu
        tell(f"{frames / part_s:.0f} frames/s with {used_s / part_s:.2f} cores; a node is killed")
        rows.append(_node_killed(site, cameras, tell))
        time.sleep(part_s / 2)
        rows.append(_restarted(site, "broker", site.broker.kill, site.broker.start, part_s, tell))
        rows.append(_restarted(site, "database", site.database.kill, site.database.start, part_s, tell))
        time.sleep(max(0.0, max(attack.end_s for attack in attacks) + 20.0 - time.time()))
        drained = site.wait(_drained, 120.0)
        status = site.status()
        clean = site.stop_fleet() == 0
        history = PostgresHistory(site.database.url)
        stack.callback(history.close)
        alerts = AlertReader(history).alerts()
        found = score(attacks, alerts)
        with history.read() as session:
            kept = {
                (row["event_id"], row["instance"], row["sequence"])
                for row in session.rows("SELECT event_id, instance, sequence FROM records")
            }
        stream = stream_keys(site.broker.url)
        chain = verify_chain(history, site.public)
    rate = frames / part_s
    per_core = frames / used_s if used_s > 0 else float("nan")
    last = _memory(status)
    grown = {group: last[group] - size for group, size in first.items() if group in last}
    return {
        "cameras": cameras,
        "attacks": found.attacks,
        "recorded_once": found.recorded_once,
        "continued": found.continued,
        "cut_short": found.cut_short,
        "missed": list(found.missed),
        "twice": list(found.twice),
        "unexplained": list(found.unexplained),
        "nodes": nodes,
        "groups": len(status["groups"]),
        "rows": rows,
        "records": len(kept),
        "stream_records": len(set(stream)),
        "stream_missing": len(kept - set(stream)),
        "stream_repeats": len(stream) - len(set(stream)),
        "chain_findings": list(chain.findings),
        "drained": drained is not None,
        "stopped_cleanly": clean,
        "frames_per_s": round(rate, 1),
        "frames_per_core_s": round(per_core, 1),
        "group_memory_mb": round(max(last.values()) / 1e6, 1),
        "most_grown_mb": round(max(grown.values(), default=0) / 1e6, 1),
        "estimate": _estimate(per_core, max(last.values()) / per_group),
        "machine": {
            "cpus": os.cpu_count(),
            "load": [round(value, 1) for value in os.getloadavg()],
            "python": platform.python_version(),
        },
    }


def _node_killed(site: FleetSite, cameras: int, tell: Callable[[str], None]) -> dict[str, Any]:
    """Kill a node and wait until each camera is judged again, wherever."""
    on = {group["group"]: group["node"] for group in site.status()["groups"]}
    gone = site.kill_node()
    lost = sorted(group for group, node in on.items() if node == gone)
    count = sum(len(group["cameras"]) for group in site.status()["groups"] if group["group"] in lost)

    def back(status: dict[str, Any]) -> bool:
        moved = [each for each in status.get("groups", ()) if each["group"] in lost]
        return all(each["node"] not in (None, gone) and each.get("frames", 0) > 0 for each in moved)

    took = site.wait(lambda status: back(status) and _running(status) == cameras, START_S)
    tell(f"{count} cameras of {len(lost)} groups are back after {took and round(took, 1)} s")
    return {"killed": "node", "cameras": count, "back_s": None if took is None else round(took, 1)}


def _restarted(
    site: FleetSite,
    what: str,
    kill: Callable[[], None],
    start: Callable[[], None],
    part_s: float,
    tell: Callable[[str], None],
) -> dict[str, Any]:
    """Kill a server, start it again after a while, and wait until nothing waits for it."""
    tell(f"the {what} is killed")
    kill()
    time.sleep(part_s / 2)
    waited = {key: sum(group.get(key, 0) for group in site.status()["groups"]) for key in ("waiting", "undelivered")}
    start()
    took = site.wait(_drained, 120.0)
    tell(f"the {what} was away for {part_s / 2:.0f} s; all is delivered {took and round(took, 1)} s after its start")
    return {"killed": what, "away_s": part_s / 2, **waited, "caught_up_s": None if took is None else round(took, 1)}


def _estimate(per_core: float, bytes_per_camera: float) -> dict[str, Any]:
    return {
        "cameras": CITY,
        "cores": round(CITY / per_core, 1),
        "memory_gb": round(CITY * bytes_per_camera / 1e9, 1),
        "assumes": "1 frame/s of small snapshots, the tiny model, groups as large as here, linear growth, no pictures "
        "kept, cores in full use; a real network adds its own time per frame",
    }


def _drained(status: dict[str, Any]) -> bool:
    groups = status.get("groups", ())
    return bool(groups) and all(group.get("waiting", 1) == 0 and group.get("undelivered", 1) == 0 for group in groups)


def _running(status: dict[str, Any]) -> int:
    return sum(camera["state"] == "running" for group in status.get("groups", ()) for camera in group["cameras"])


def _frames(status: dict[str, Any]) -> int:
    return sum(int(group.get("frames", 0)) for group in status["groups"])


def _memory(status: dict[str, Any]) -> dict[str, int]:
    return {f"{group['group']}@{group['node']}": int(group.get("resident_bytes", 0)) for group in status["groups"]}


def _cpu_s() -> float:
    """Return the processor time of all groups' processes so far, in seconds."""
    total = 0.0
    for process in psutil.process_iter(["cmdline"]):
        if any("GroupService" in part for part in process.info["cmdline"] or ()):
            times = process.cpu_times()
            total += times.user + times.system
    return total


def promises(result: dict[str, Any]) -> dict[str, bool]:
    """Return each promise and whether it held."""
    node = next(row for row in result["rows"] if row["killed"] == "node")
    return {
        "every attack in the history exactly once": result["recorded_once"] == result["attacks"],
        f"cameras back within {BACK_S:g} s": node["back_s"] is not None and node["back_s"] <= BACK_S,
        "the stream has every record once": result["stream_missing"] == result["stream_repeats"] == 0,
        "every chain holds": not result["chain_findings"],
        "nothing waits at the end": result["drained"],
    }


def main() -> int:
    """Run, print the table, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cameras", type=int, default=200, help="how many [default: 200]")
    parser.add_argument("--nodes", type=int, default=4, help="Ray's node processes [default: 4]")
    parser.add_argument("--per-group", type=int, default=25, help="cameras of one process [default: 25]")
    parser.add_argument("--part", type=float, default=30.0, help="seconds between two faults [default: 30]")
    parser.add_argument("--json", type=Path, default=Path("docs/results/fleet.json"), help="where the JSON goes")
    parser.add_argument("--keep", type=Path, help="an empty folder to work in, kept afterwards with the logs")
    given = parser.parse_args()
    start = time.monotonic()

    def tell(line: str) -> None:
        print(f"{time.monotonic() - start:6.0f} s  {line}", flush=True)

    with tempfile.TemporaryDirectory(prefix="taintwatch-fleet-") as temporary:
        folder = (given.keep or Path(temporary)).absolute()
        folder.mkdir(parents=True, exist_ok=True)
        result = run_fleet(given.cameras, given.nodes, given.per_group, given.part, folder, tell)
    for key, value in result.items():
        print(f"{key:22}{value}")
    write_json(given.json, result)
    return 0 if all_held(promises(result)) else 1


if __name__ == "__main__":
    sys.exit(main())
